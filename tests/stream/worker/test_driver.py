"""Killed at every step of the driver, and started again: as if nothing had happened."""

from __future__ import annotations

import inspect

import pytest

from claimtrace.errors import StateError
from claimtrace.events import Record
from claimtrace.limits import MAX_BATCH_BYTES, MAX_VALUE_BYTES
from stream.worker.driver import CRASH_POINTS, Driver
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import Crash, World


@pytest.fixture(scope="module")
def records():
    return as_records(a_stream(3, 240))


@pytest.fixture(scope="module")
def undisturbed(records, tmp_path_factory):
    world = World(tmp_path_factory.mktemp("undisturbed"))
    world.put(records)
    world.run()
    return world.outputs(), world.offline_rows(), world.state()


def crash_at(point: str, nth: int):
    seen = 0

    def crash(passed: str) -> None:
        nonlocal seen
        seen += passed == point
        if passed == point and seen == nth:
            raise Crash(point)

    return crash


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_at_any_step_leaves_no_trace(point, nth, records, undisturbed, tmp_path):
    world = World(tmp_path)
    world.put(records)
    with pytest.raises(Crash):
        world.run(crash_at(point, nth if point not in ("begun", "flushed", "snapshotted") else 1))
    world.run()
    outputs, rows, state = undisturbed
    assert world.outputs() == outputs
    assert world.offline_rows() == rows
    assert world.state() == state


def test_a_snapshot_without_its_journal_is_refused(records, tmp_path):
    world = World(tmp_path)
    world.put(records)
    world.run()
    (tmp_path / "journal").unlink()
    with pytest.raises(StateError, match="the journal ends before it"):
        world.run()


def test_a_batch_is_bounded_in_bytes_too(tmp_path):
    world = World(tmp_path)
    big = [Record("claims.filed", 0, i, None, b"x" * MAX_VALUE_BYTES, i) for i in range(300)]
    world.put(big)
    driver, log = world.start()
    sizes = []
    while taken := driver.step(2000):
        sizes.append(taken)
    log.close()
    assert sum(sizes) == 300
    assert max(sizes) * MAX_VALUE_BYTES <= MAX_BATCH_BYTES
    assert driver.counts.dead == 300


def test_a_driver_takes_few_parts() -> None:
    """What belongs together comes together: `LogParts`, `Stores`, `Cadence`."""
    assert len(inspect.signature(Driver).parameters) <= 8
