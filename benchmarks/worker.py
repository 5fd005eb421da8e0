"""Run `claimtrace stream` as a process, with default settings, as a user does.

The worker chooses the size of its batches: small while it keeps up, large while it lags behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

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
    """Start a worker of the canonical domain with its model; at the end it gets a SIGTERM.

    Its standard output and standard error are the files `said` and `errors` in its folder.

    Args:
        folder: the worker's own; the embedded log is in it.
        models: the registry.
        policies: number of policies, which sets the width of a drift window.
        source: `local`, or `kafka://...`.
        module: the module to run, with its arguments.
        group: the Kafka group.
        broker: process id of the broker, whose CPU is measured beside the worker's; 0: none.
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
            stdout=said, stderr=errors, start_new_session=True,  # Ctrl-C reaches the benchmark only
        )  # fmt: skip
        try:
            yield Watched("worker", running, folder / "errors", broker)
        finally:
            end(running)


def end(running: subprocess.Popen[Any]) -> None:
    """End a process by SIGTERM; kill it when that takes longer than `END_TIMEOUT_S`."""
    if running.poll() is None:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def make_champion_current(models: Path) -> None:
    """Point the alias `champion`, which a worker loads, to the canonical model."""
    registry = FolderRegistry(models, NAME)
    if registry.alias("champion") is None:
        registry.move_alias("champion", 1, actor="benchmark", reason="measured", at_ms=0)
