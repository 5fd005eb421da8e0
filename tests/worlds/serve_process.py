"""A real `claimtrace serve`: a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

STARTED_S = 120.0
"""A loaded machine imports and compiles slowly."""
_ADDRESS = re.compile(r"https?://[0-9.]+:\d+")


class ServeProcess:
    """One server; `kill` ends it as a crash does, leaving the block as Ctrl-C does.

    Args:
        folder: of the data.
        log: the file for what it says.
        options: of the command.
        settings: by the names of their variables, without `CLAIMTRACE_`.
    """

    def __init__(
        self, folder: Path, log: Path, *options: str, settings: Mapping[str, str] | None = None
    ) -> None:
        environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
        environment |= {f"CLAIMTRACE_{k}": v for k, v in (settings or {}).items()}
        self._log, self._began = log, log.stat().st_size if log.exists() else 0
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "claimtrace", "--folder", str(folder), "serve",
                 "--listen", "127.0.0.1:0", *options],
                stdout=said, stderr=said, env=environment, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        self.client = httpx.Client(base_url=self._address(), timeout=60)

    def decide(self, claim: Mapping[str, Any] | bytes, wait_s: float = 30) -> httpx.Response:
        """Have a claim decided."""
        body = claim if isinstance(claim, bytes) else json.dumps(claim).encode()
        return self.client.post(
            "/v1/decisions", content=body, headers={"Prefer": f"wait={wait_s:g}"}
        )

    def decide_patiently(self, claim: Mapping[str, Any]) -> httpx.Response:
        """Repeat the request while the answer is none yet: kernels may be compiled meanwhile."""
        until_s = time.monotonic() + STARTED_S
        while (found := self.decide(claim)).status_code in (202, 503):
            assert time.monotonic() < until_s, found.text
            time.sleep(0.1)
        return found

    def until_ready(self) -> Self:
        """Wait until it answers as it should."""
        until_s = time.monotonic() + STARTED_S
        while self.client.get("/ready").status_code != 200:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until_s, self.client.get("/ready").text
            time.sleep(0.05)
        return self

    @property
    def said(self) -> str:
        """What it has said, with its log."""
        return self._log.read_bytes()[self._began :].decode(errors="replace")

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self.client.close()

    def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STARTED_S)
        finally:
            if self.process.poll() is None:
                self.kill()
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _address(self) -> str:
        until_s = time.monotonic() + STARTED_S
        while time.monotonic() < until_s:
            found = _ADDRESS.search(self.said)
            if found is not None:
                return found[0]
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"it doesn't say where it listens: {self.said}")
