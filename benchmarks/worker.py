"""The worker as a person starts it: `claimtrace stream`, a process of its own, settings as usual.

It takes its batches as it sees fit, few records while it keeps up and many while it doesn't.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.canonical import drift_window_ms
from benchmarks.champion import NAME
from benchmarks.processes import Watched
from models.registry.adapters.folder import FolderRegistry

PLAIN: Final = ("claimtrace", "stream", "--json")
ROOT: Final = Path(__file__).resolve().parents[1]
END_TIMEOUT_S: Final = 60


@contextmanager
def worker(
    folder: Path,
    models: Path,
    policies: int,
    *,
    source: str = "local",
    module: Sequence[str] = PLAIN,
    group: str = "benchmark",
    broker: int = 0,
) -> Iterator[Watched]:
    """One that runs, in the canonical domain with its champion; ended in its own way at the end.

    What it says is in `said` and `errors` of its folder; `claimtrace stream` says it at its end.

    Args:
        folder: its own; on the local log the log is in it.
        models: the registry.
        policies: sets the width of a drift window.
        source: `local`, or `kafka://...`.
        module: what to run, with its arguments.
        group: the Kafka group.
        broker: its process id, to be told beside the worker's CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environ = {
        **os.environ,
        "CLAIMTRACE_SOURCE": source,
        "CLAIMTRACE_FOLDER": str(folder),
        "CLAIMTRACE_MODELS": str(models),
        "CLAIMTRACE_DOMAIN": "benchmarks.canonical",
        "CLAIMTRACE_STREAM__ALLOWED_LATENESS": "7d",
        "CLAIMTRACE_DRIFT__WINDOW": f"{drift_window_ms(policies)}ms",
        "CLAIMTRACE_KAFKA__GROUP": group,
        "CLAIMTRACE_KAFKA__COMPRESSION": "none",  # as the peers' clients have it by default
        "OMP_NUM_THREADS": "1",  # one core's work on one core
    }
    with (folder / "said").open("wb") as said, (folder / "errors").open("wb") as errors:
        running = subprocess.Popen(
            [sys.executable, "-m", *module], env=environ, cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=said, stderr=errors, start_new_session=True,  # a Ctrl-C is for us alone
        )  # fmt: skip
        try:
            yield Watched("worker", running, folder / "errors", broker)
        finally:
            end(running)


def end(running: subprocess.Popen[bytes]) -> None:
    """End a program in its own way, by force when that takes too long."""
    if running.poll() is None:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def make_champion_current(models: Path) -> None:
    """Have the alias `champion` name the canonical model: a worker takes it from there."""
    registry = FolderRegistry(models, NAME)
    if registry.alias("champion") is None:
        registry.move_alias("champion", 1, actor="benchmark", reason="measured", at_ms=0)
