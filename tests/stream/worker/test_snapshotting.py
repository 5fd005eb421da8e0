"""A snapshot counts when it is on the disk and its rows are stored, and not a moment before."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from claimtrace.clock import ManualClock
from claimtrace.errors import StateError
from stream.worker import snapshotting
from stream.worker.interval import Interval
from stream.worker.observer import WorkerObserver
from stream.worker.parts import LogParts
from stream.worker.snapshotting import FEW_RECORDS, UNITS_A_RECORD, Snapshotting


class Store:
    """Is written when the test says so."""

    def __init__(self):
        self.told, self.done, self.reads = [], False, True

    def is_ready(self, arrays):
        return bool(arrays)

    def begin(self, plan, arrays):
        self.told.append(("begin", plan, sorted(arrays)))
        self.done = False
        return self.reads

    def is_written(self, *, wait=False):
        if isinstance(self.done, StateError):
            raise self.done
        return self.done or wait

    def publish(self):
        self.told.append("publish")

    def cancel(self):
        self.told.append("cancel")


class Heard(WorkerObserver):
    """The plans of snapshots that count."""

    def __init__(self):
        super().__init__()
        self.plans = []

    def snapshot(self, plan, seconds):
        self.plans.append((plan, seconds))


@pytest.fixture
def world():
    """Everything around: an engine at plan 5 whose house-keeping has 100 slices of 1,000 units."""
    clock, heard, said, stored = ManualClock(), Heard(), [], []
    engine = SimpleNamespace(
        plan=5,
        positions={("claims", 0): 3},
        arrays=lambda: {"a": np.zeros(10)},
        compaction=lambda: iter([1000] * 100),
    )
    ownership = SimpleNamespace(
        owned=frozenset(), coming_checkpoints=dict, is_stored=lambda plan, _: plan in stored
    )
    journal = SimpleNamespace(bookmark=lambda plan: plan)
    source = SimpleNamespace(bookmarks=lambda positions: b"%d" % len(positions))
    store = Store()
    heard.notify = said.append
    each = Snapshotting(
        engine, ownership, LogParts(source, journal, None), store, Interval(100, 1e9, clock),
        clock, lambda work: work(), heard,
    )  # fmt: skip
    return SimpleNamespace(
        snapshotting=each,
        store=store,
        engine=engine,
        stored=stored,
        heard=heard,
        said=said,
        clock=clock,
    )


def test_it_waits_for_the_disk_and_for_its_rows(world):
    world.snapshotting.end()
    world.snapshotting.begin()
    assert world.store.told == [("begin", 5, ["a", "journal", "marks", "source"])]
    world.engine.plan = 9
    world.snapshotting.end()
    world.stored.append(5)
    world.snapshotting.end()
    assert "publish" not in world.store.told, "it isn't on the disk"
    world.stored.clear()
    world.store.done = True
    world.snapshotting.end()
    assert "publish" not in world.store.told, "its rows aren't stored"
    assert world.snapshotting.is_written
    world.stored.append(5)
    world.clock.sleep(3)
    world.snapshotting.end()
    assert world.store.told[1:] == ["publish"]
    assert world.heard.plans == [(5, 3.0)]
    assert not world.snapshotting.is_under_way


def test_one_that_cannot_be_written_is_told_and_given_up(world):
    world.snapshotting.begin()
    world.store.done = StateError("the process was killed", where="snapshots")
    world.snapshotting.end()
    assert not world.snapshotting.is_under_way
    assert "the process was killed" in world.said[0]
    assert world.heard.plans == []


def test_batches_are_small_while_a_large_state_is_written(world, monkeypatch):
    world.snapshotting.begin()
    assert world.snapshotting.batch_limit(2000) == 2000
    world.snapshotting.cancel()
    monkeypatch.setattr(snapshotting, "LARGE_BYTES", 8)
    world.snapshotting.begin()
    assert world.snapshotting.batch_limit(2000) == FEW_RECORDS
    assert world.snapshotting.batch_limit(64) == 64
    world.store.done = True
    assert world.snapshotting.batch_limit(2000) == 2000
    world.snapshotting.cancel()
    world.store.reads = False
    world.snapshotting.begin()
    assert world.snapshotting.batch_limit(2000) == 2000, "a copy is written"


def test_house_keeping_rests_while_a_snapshot_is_written_and_is_paid_by_records(world):
    slices = iter([1000] * 100)
    world.engine.compaction = lambda: slices
    world.snapshotting.run_maintenance(10**6)
    assert len(list(slices)) == 100, "no round before the first snapshot"
    slices = iter([1000] * 100)
    world.snapshotting.begin()
    world.store.done = True
    world.stored.append(5)
    world.snapshotting.end()
    world.snapshotting.run_maintenance(1000)
    world.engine.plan = 6
    world.snapshotting.begin()
    world.snapshotting.run_maintenance(10**6)
    assert len(list(slices)) == 100 - UNITS_A_RECORD
