"""Kills of the pipeline with real processes: `python -m tests.worlds.pipeline_deaths FOLDER EVERY`.

With `EVERY` 1 a run is killed at every point of every step, and before every sync of its
publication; with 4 once in every step, at another point each, and before every fourth sync.

Each start of the run is a forked child, so that sixty kills cost no sixty imports; the parent
imports what they need and does nothing but fork and wait, because a fork after threads have begun
may hang.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb  # noqa: F401
import numpy as np
import pyarrow.dataset  # noqa: F401
import xgboost  # noqa: F401

import claimtrace_examples.auto_claims  # noqa: F401
import featurestore.offline.adapters.queries  # noqa: F401
from claimtrace.adapters.files import atomic_files
from cli.commands.pipeline.running import Asked, run_pipeline
from cli.wiring.workspace import Workspace
from models.calibration import fit_calibration
from models.registry.adapters import folder as registry_folder
from training.orchestration.runner import POINTS
from training.pipeline import STEPS

RUN = "one"
NAMES = [name for name, _ in STEPS]


def kill() -> None:
    """Kill this process as nothing in it can answer."""
    os.kill(os.getpid(), signal.SIGKILL)


def start(folder: Path, prepare: Callable[[], Callable[[str, str], None]]) -> int:
    """Run the pipeline in a child of its own; returns the status that it ended with."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            observe = prepare()
            workspace = Workspace.open(None, folder)
            asked = Asked(settings=workspace.settings, run=RUN)
            ran = run_pipeline(workspace, asked, quiet=True, observe=observe)
            code = 0 if ran.record.state == "done" else 3
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_point(point: str, step: str) -> Callable[[], Callable[[str, str], None]]:
    """Kill at a point of a step."""

    def observe(reached: str, name: str) -> None:
        if (reached, name) == (point, step):
            kill()

    return lambda: observe


def at_sync(number: int) -> Callable[[], Callable[[str, str], None]]:
    """Kill before the n-th time that something is synced to the disk after publishing began."""

    def prepare() -> Callable[[str, str], None]:
        left = [number]
        begun = [False]
        synced = os.fsync

        def fsync(handle: int) -> None:
            if begun[0]:
                left[0] -= 1
                if left[0] < 0:
                    kill()
            synced(handle)

        def observe(reached: str, name: str) -> None:
            begun[0] = begun[0] or (reached, name) == ("begun", "publish")

        for module in (atomic_files, registry_folder):
            module.os.fsync = fsync
        return observe

    return prepare


def die_at_points(folder: Path, every: int) -> int:
    """Kill one run at points of every step; returns how often it was killed."""
    killed = 0
    for place, name in enumerate(NAMES):
        for point in POINTS[place % every :: every]:
            ended = start(folder, at_point(point, name))
            assert ended in (0, -signal.SIGKILL), ended
            killed += ended != 0
            _check_nothing_half(folder)
    assert start(folder, lambda: lambda point, step: None) == 0
    return killed


def die_while_publishing(folder: Path, before: Path, every: int) -> int:
    """Kill a run before syncs of its publication; returns the number of the last but one tried."""
    assert start(before, at_point("begun", "publish")) == -signal.SIGKILL
    number = 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        ended = start(folder, at_sync(number))
        assert ended in (0, -signal.SIGKILL), ended
        _check_nothing_half(folder)
        if ended == 0:
            return number
        assert start(folder, lambda: lambda point, step: None) == 0
        acts = _acts(folder)
        assert acts == ["published", "moved"], (number, acts)
        number += every


def _acts(folder: Path) -> list[str]:
    return [entry.act for entry in _registry(folder).history()]


def _registry(folder: Path) -> registry_folder.FolderRegistry:
    return registry_folder.FolderRegistry(folder / "models", name="auto_claims")


def _check_nothing_half(folder: Path) -> None:
    """Every version that is seen is whole, and the champion is one of them."""
    registry = _registry(folder)
    for ref in registry.versions():
        registry.load(ref)
    champion = registry.alias("champion")
    assert champion is None or champion in registry.versions()
    assert all("interrupted" in problem for problem in registry.verify())


if __name__ == "__main__":
    flags = np.arange(40) % 2 == 1
    fit_calibration(flags * 1.0, flags).probabilities(flags * 1.0)  # compiles before the forks
    here, every = Path(sys.argv[1]), int(sys.argv[2])
    for each in ("points", "before"):
        shutil.copytree(here / "made", here / each)
    print("killed at points:", die_at_points(here / "points", every))
    print("killed in publish:", die_while_publishing(here / "syncs", here / "before", every))
