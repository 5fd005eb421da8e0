"""A follower has the state of the worker that it follows, and leaves no trace of itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from claimtrace.clock import ManualClock
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.embedded.journal_reader import JournalReader
from stream.adapters.embedded.log import EmbeddedSource
from stream.adapters.snapshots.snapshots import Snapshots
from stream.group.following import Following
from stream.worker.driver import Driver
from stream.worker.following import NoOutput, NoRows
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Stores
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.state_contents import contents
from tests.worlds.stream_folder import World


def follower(world: World, own: Path) -> tuple[Driver, Any]:
    log = world.open_log()
    source = EmbeddedSource(log, DOMAIN.topics, world.partitions, create=False)
    parts = LogParts(source, JournalReader(world.folder / "journal"), NoOutput(), Following())
    driver = Driver(
        world.engine(), parts, Stores(NoRows(), Snapshots(own, in_background=False)),
        Cadence((60, 1e9), (2**62, 1e12), 1e12), ManualClock(1_800_000_000_000), lambda: None,
        WorkerObserver(),
    )  # fmt: skip
    driver.recover()
    return driver, log


def applied(driver: Driver) -> int:
    steps = 0
    while driver.step(25):
        steps += 1
    return steps


def without_chains(driver: Driver) -> dict[str, Any]:
    """The state but for the heads of the chains, which only an owner of a partition has."""
    return {name: each for name, each in contents(driver.engine).items() if name != "chains"}


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".db-shm", ".db-wal")
        and not path.name.startswith("log.db-")
    }  # fmt: skip


def test_it_has_the_workers_state_after_every_plan(tmp_path: Path) -> None:
    world = World(tmp_path / "worker")
    records = as_records(a_stream(5, 260))
    world.put(records[:130])
    worker, log = world.start()
    worker.step(25)
    mine, other = follower(world, tmp_path / "own")
    for at in range(0, 260, 65):
        world.put(records[max(at, 130) : at + 65] if at >= 130 else [])
        while worker.step(25):
            applied(mine)
            assert mine.engine.plan == worker.engine.plan
        assert without_chains(mine) == without_chains(worker)
        assert mine.has_everything()
    worker.finish()
    mine.finish()
    log.close()
    other.close()
    assert mine.counts.records == 0, "it decides on nothing"


def test_it_begins_from_its_own_snapshot_and_writes_nowhere_else(tmp_path: Path) -> None:
    world = World(tmp_path / "worker")
    world.put(as_records(a_stream(6, 240)))
    world.run()
    before = digests(world.folder)
    first, log = follower(world, tmp_path / "own")
    first.finish()
    log.close()
    assert digests(world.folder) == before
    assert list((tmp_path / "own").glob("snapshot-*.bin"))
    again, log = follower(world, tmp_path / "own")
    replayed = again.engine.plan
    assert replayed == first.engine.plan
    assert without_chains(again) == without_chains(first)
    log.close()


def test_it_says_when_records_wait_that_nobody_has_planned(tmp_path: Path) -> None:
    world = World(tmp_path / "worker")
    records = as_records(a_stream(7, 120))
    world.put(records[:100])
    world.run()
    mine, log = follower(world, tmp_path / "own")
    assert applied(mine) == 0
    assert mine.has_everything()
    world.put(records[100:])
    assert applied(mine) == 0, "there is no plan for them: the worker has ended"
    assert not mine.has_everything()
    log.close()


def test_a_follower_that_was_given_something_to_write_fails(tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(AssertionError, match="emits nothing"):
        NoOutput().emit(3, [object()])  # type: ignore[list-item]
    with pytest.raises(AssertionError, match="stores nothing"):
        NoRows().append_once("decisions", [], versions={}, before={})  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="owns nothing"):
        Following().commit({("claims.filed", 0): None}, {})  # type: ignore[dict-item]
