"""A real MLflow server on 127.0.0.1, from packages of its own: the product needs none of them.

with Mlflow(folder) as server:
    HttpJson(server.address, "test")
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

from claimtrace.closing import Closing
from claimtrace.errors import StoreUnavailable
from tests.servers.broker import HOST, STARTER, dies_with_us, free_ports
from tests.servers.fetch import mlflow_packages

READY_TIMEOUT_S: Final = 240.0
"""Longest wait for the server: at first it makes its database, which takes half a minute."""


class Mlflow(Closing):
    """One server with a database and files in a folder; `with` starts and kills it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)

    @property
    def address(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            ServerMissing: its packages could not be fetched.
            StoreUnavailable: it doesn't answer.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ, "PYTHONPATH": str(mlflow_packages()), "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }  # fmt: skip
        command = [
            *dies_with_us(), sys.executable, "-m", "mlflow", "server", "--host", HOST,
            "--port", str(self.port), "--workers", "1", "--backend-store-uri",
            f"sqlite:///{self._folder}/mlflow.db", "--artifacts-destination",
            str(self._folder / "files"),
        ]  # fmt: skip
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = STARTER.submit(
                subprocess.Popen, command, cwd=self._folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            ).result()  # fmt: skip
        until_s = time.monotonic() + READY_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > until_s or self._process.poll() is not None:
                told = (self._folder / "mlflow.log").read_text(errors="replace")[-600:]
                raise StoreUnavailable(f"MLflow doesn't start: {told}", where=str(self._folder))
            time.sleep(0.2)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """Kill the server and its workers; harmless when it doesn't run."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self
