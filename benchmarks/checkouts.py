"""Another checkout of this project as a process that measures stretches with its own code.

A process has the checkout as working directory and `PYTHONPATH`, and keeps its compiled kernels in
the checkout's own cache. Nothing of a checkout is imported here, so it may be laid out in another
way; `benchmarks.stretches` says what it must have.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.command import say
from benchmarks.worker import end
from claimtrace.adapters.process.kernel_cache import VARIABLE as KERNELS_VARIABLE
from claimtrace.errors import StateError, UsageError

PROJECT: Final = "claimtrace"
PROGRAM: Final = Path(__file__).with_name("stretches.py")
TAIL_LINES: Final = 15


@dataclass(frozen=True)
class Checkout:
    """A folder with the project's files at some commit.

    Args:
        name: what the checkout is called in tables, such as `before`.
        folder: its top folder, absolute.
        python: the interpreter that its benchmark runs with.
    """

    name: str
    folder: Path
    python: Path

    @classmethod
    def open(cls, name: str, folder: Path) -> Checkout:
        """Check a folder, and choose its own environment if it has one.

        Raises:
            UsageError: the folder is no checkout of this project.
        """
        folder = folder.resolve()
        if not is_checkout(folder):
            raise UsageError(
                f"this is no checkout of {PROJECT}", where=str(folder),
                hint="name the top folder of a clone, with pyproject.toml and benchmarks/ in it",
            )  # fmt: skip
        own = folder / ".venv" / "bin" / "python"
        return cls(name, folder, own if own.exists() else Path(sys.executable))

    def commit(self) -> str:
        """Return the commit that is checked out, with a `+` when files differ from it."""
        told = self._git("describe", "--always", "--exclude=*", "--dirty=+")
        return told.strip() or "unknown commit"

    @contextmanager
    def started(self, sizes: Mapping[str, int]) -> Iterator[Side]:
        """Start the process of this checkout; it warms up before it answers the first request.

        An interrupt ends the process, and all that the process has started.
        """
        with tempfile.TemporaryFile() as errors:
            running = subprocess.Popen(
                [str(self.python), "-c", PROGRAM.read_text(encoding="utf-8")], cwd=self.folder,
                env=self._environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True,
                start_new_session=True,  # Ctrl-C reaches the child through `end` only
            )  # fmt: skip
            try:
                yield Side(self, running, errors, sizes)
            finally:
                end(running)
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(running.pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        """Return this process's environment, with the checkout's own imports and kernels."""
        inherited = {name: value for name, value in os.environ.items() if name != KERNELS_VARIABLE}
        roots = [self.folder, self.folder / "src"]
        return inherited | {"PYTHONPATH": os.pathsep.join(str(p) for p in roots if p.is_dir())}

    def _git(self, *words: str) -> str:
        try:
            asked = subprocess.run(["git", "-C", str(self.folder), *words], capture_output=True,
                                   text=True, check=True)  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            return ""
        return asked.stdout


class Side:
    """The running process of a checkout."""

    def __init__(
        self,
        checkout: Checkout,
        running: subprocess.Popen[str],
        errors: IO[bytes],
        sizes: Mapping[str, int],
    ) -> None:
        self.name = checkout.name
        self._checkout, self._running, self._errors = checkout, running, errors
        self._send(sizes)

    def warmed(self) -> int:
        """Wait until the stream is warm; returns the number of policies."""
        return int(self._answer()["policies"])

    def measure(self, stretches: Mapping[int, int]) -> list[dict[str, Any]]:
        """Measure one stretch of each batch size, of a number of events each."""
        self._send({str(batch): events for batch, events in stretches.items()})
        rates: list[dict[str, Any]] = self._answer()
        return rates

    def _send(self, request: Mapping[str, int]) -> None:
        assert self._running.stdin is not None
        with suppress(BrokenPipeError):  # the missing answer says why
            self._running.stdin.write(json.dumps(request) + "\n")
            self._running.stdin.flush()

    def _answer(self) -> Any:
        """Read one line of JSON.

        Raises:
            StateError: the process ended; the end of its errors was shown.
        """
        assert self._running.stdout is not None
        line = self._running.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            end(self._running)
            self._errors.seek(0)
            say(tail(self._errors.read().decode(errors="replace")))
            raise StateError(
                f"the benchmark of the checkout {self.name!r} ended with code "
                f"{self._running.returncode}", where=str(self._checkout.folder),
                hint="its benchmarks must have what benchmarks/stretches.py imports",
            ) from None  # fmt: skip


def is_checkout(folder: Path) -> bool:
    """Whether a folder has this project's `pyproject.toml` and its benchmarks."""
    try:
        described = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    named = described.get("project", {}).get("name")
    return named == PROJECT and (folder / "benchmarks" / "__main__.py").is_file()


def tail(errors: str) -> str:
    """Return the last lines of what a process wrote to standard error, indented.

    >>> print(tail("Traceback\\nValueError: no\\n"))
      Traceback
      ValueError: no
    """
    lines = errors.splitlines()[-TAIL_LINES:] or ["(nothing on standard error)"]
    return "\n".join(f"  {line}" for line in lines)
