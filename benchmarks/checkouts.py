"""Run the throughput benchmark of a checkout of this project, with the code of that checkout.

A run is a process of its own: its working directory and `PYTHONPATH` are the checkout's, and its
compiled kernels are kept in the checkout's own cache. Nothing of a checkout is imported here, so it
may be laid out in another way. Only its command lines are used:

    python -m benchmarks.throughput --json        figures on standard output; takes sizes
    python -m benchmarks --only throughput --json FILE    where the first one doesn't exist
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.command import say
from benchmarks.worker import end
from claimtrace.adapters.process.kernel_cache import VARIABLE as KERNELS_VARIABLE
from claimtrace.errors import StateError, UsageError

PROJECT: Final = "claimtrace"
TAIL_LINES: Final = 15


@dataclass(frozen=True)
class Checkout:
    """A folder with the project's files at some commit.

    Args:
        name: what the checkout is called in tables, such as `before`.
        folder: its top folder, absolute.
        python: the interpreter that its benchmark runs with.
        options: of `python -m benchmarks.throughput`; empty where there is no such module.
    """

    name: str
    folder: Path
    python: Path
    options: frozenset[str] = frozenset()

    @classmethod
    def open(cls, name: str, folder: Path) -> Checkout:
        """Check a folder, and ask its benchmark which options it has.

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
        bare = cls(name, folder, own if own.exists() else Path(sys.executable))
        return cls(name, folder, bare.python, bare._asked_options())

    def commit(self) -> str:
        """The commit that is checked out, with a `+` after it when files differ from it."""
        told = self._git("describe", "--always", "--exclude=*", "--dirty=+")
        return told.strip() or "unknown commit"

    def train(self, models: Path) -> None:
        """Publish the canonical model of this checkout into a folder."""
        self._run(["benchmarks.champion", str(models)])

    def measure(self, models: Path | None, sizes: Mapping[str, int]) -> dict[str, Any]:
        """Run the throughput benchmark once.

        Args:
            models: where `train` has published; None: the run trains a model for itself.
            sizes: option of `benchmarks.throughput` -> its value.

        Raises:
            StateError: the run failed or printed no figures; the end of its errors was shown.
        """
        chosen = [word for name, size in sizes.items() for word in (name, str(size))]
        if models is not None:
            chosen += ["--models", str(models)]
        if self.options:
            return self._figures(self._run(["benchmarks.throughput", "--json", *chosen]))
        with TemporaryDirectory() as folder:
            path = Path(folder) / "figures.json"
            self._run(["benchmarks", "--only", "throughput", "--json", str(path)])
            found = self._figures(path.read_text() if path.exists() else "")
        figures: dict[str, Any] = found["parts"]["throughput"]["figures"]
        return figures

    @property
    def trains(self) -> bool:
        """Whether a model can be trained once and told to each run."""
        return "--models" in self.options and (self.folder / "benchmarks/champion.py").exists()

    def _asked_options(self) -> frozenset[str]:
        if not (self.folder / "benchmarks" / "throughput.py").exists():
            return frozenset()
        return options_in(self._run(["benchmarks.throughput", "--help"]))

    def _figures(self, printed: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(printed)
        except ValueError:
            raise self._failed("printed no figures") from None
        return found

    def _run(self, module: Sequence[str]) -> str:
        """Run a module to its end; returns its standard output.

        An interrupt ends the process, and all that the process has started.
        """
        with TemporaryDirectory() as folder:
            errors_path = Path(folder) / "errors"
            with errors_path.open("wb") as errors:
                running = subprocess.Popen(
                    [str(self.python), "-m", *module], cwd=self.folder, env=self._environment(),
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                    start_new_session=True,  # Ctrl-C reaches the child through `end` only
                )  # fmt: skip
                try:
                    printed, _ = running.communicate()
                finally:
                    end(running)
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(running.pid, signal.SIGKILL)
            if running.returncode:
                say(tail(errors_path.read_text(errors="replace")))
                raise self._failed(f"ended with code {running.returncode}", module[0])
        return printed.decode()

    def _failed(self, how: str, module: str = "benchmarks.throughput") -> StateError:
        return StateError(
            f"`python -m {module}` of the checkout {self.name!r} {how}", where=str(self.folder),
            hint="run that command in that folder to see its whole output",
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        """This process's environment, with imports and compiled kernels from the checkout."""
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


def is_checkout(folder: Path) -> bool:
    """Whether a folder has this project's `pyproject.toml` and its benchmarks."""
    try:
        described = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    named = described.get("project", {}).get("name")
    return named == PROJECT and (folder / "benchmarks" / "__main__.py").is_file()


def options_in(help_text: str) -> frozenset[str]:
    """The options that the help of a command names.

    >>> sorted(options_in("usage: it [-h] [--json]\\n  --events-each EVENTS_EACH  of a batch"))
    ['--events-each', '--json']
    """
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_text))


def tail(errors: str) -> str:
    """The last lines of what a process wrote to standard error, indented.

    >>> print(tail("Traceback\\nValueError: no\\n"))
      Traceback
      ValueError: no
    """
    lines = errors.splitlines()[-TAIL_LINES:] or ["(nothing on standard error)"]
    return "\n".join(f"  {line}" for line in lines)
