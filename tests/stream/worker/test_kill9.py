"""Real processes that end without a word: at each named point, and whenever the outside likes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from claimtrace.errors import StateError
from stream.worker.driver import CRASH_POINTS
from tests.worlds.dying_driver import KILLED
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
BATCH = 25
NTH = {"begun": 2, "flushed": 2, "snapshotted": 1}
"""At other points it ends the third time; snapshots are rarer."""


class Left(NamedTuple):
    """What a run leaves on the disk."""

    outputs: Any
    rows: Any
    state: Any


def left_by(world: World) -> Left:
    return Left(world.outputs(), world.offline_rows(), world.state())


def check_same(found: Left, wanted: Left) -> None:
    """Byte for byte; one assertion each, so that a failure stays readable."""
    for name in Left._fields:
        for key, want in getattr(wanted, name).items():
            assert getattr(found, name)[key] == want, f"{name} {key}"


@pytest.fixture(scope="module")
def records() -> Any:
    return as_records(a_stream(8, 260))


@pytest.fixture(scope="module")
def undisturbed(records: Any, tmp_path_factory: pytest.TempPathFactory) -> Left:
    world = World(tmp_path_factory.mktemp("undisturbed"))
    world.put(records)
    world.run(batch=BATCH)
    return left_by(world)


def start(folder: Path, **orders: str) -> subprocess.Popen[str]:
    """The driver in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.worlds.dying_driver", str(folder), str(BATCH)],
        env={**os.environ, **orders}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(owner: subprocess.Popen[str], word: str) -> None:
    assert owner.stdout is not None
    while (line := owner.stdout.readline()) != f"{word}\n":
        assert line, owner.communicate()


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_process_that_ends_at_a_point_leaves_no_trace(
    point: str, records: Any, undisturbed: Left, tmp_path: Path
) -> None:
    world = World(tmp_path)
    world.put(records)
    ended = start(tmp_path, CRASH_AT=f"{point}:{NTH.get(point, 3)}")
    ended.communicate(timeout=120)
    assert ended.returncode == KILLED
    world.run(batch=BATCH)
    check_same(left_by(world), undisturbed)


def test_the_owner_of_a_folder_is_named_and_its_death_frees_it(
    records: Any, undisturbed: Left, tmp_path: Path
) -> None:
    world = World(tmp_path)
    world.put(records)
    owner = start(tmp_path, HOLD_AT="planned:2")
    try:
        wait_for(owner, "holding")
        second = start(tmp_path)
        _, said = second.communicate(timeout=120)
        assert second.returncode == StateError.exit_code
        assert f"in use by process {owner.pid}" in said
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    third = start(tmp_path)
    third.communicate(timeout=120)
    assert third.returncode == 0
    check_same(left_by(world), undisturbed)


@pytest.mark.parametrize("starts", [5, pytest.param(12, marks=pytest.mark.long)])
def test_killed_again_and_again_from_outside(tmp_path: Path, starts: int) -> None:
    rng = np.random.default_rng(9)
    records = as_records(a_stream(9, 1500))
    calm, world = World(tmp_path / "calm"), World(tmp_path / "killed")
    for each in (calm, world):
        each.put(records)
    calm.run(batch=BATCH)
    killed = 0
    for _ in range(starts):
        owner = start(world.folder)
        wait_for(owner, "started")
        time.sleep(float(rng.uniform(0.0, 0.25)))
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
        killed += owner.returncode == -signal.SIGKILL
    assert killed >= 2, "the runs ended before they could be killed"
    world.run(batch=BATCH)
    check_same(left_by(world), left_by(calm))
