"""Rows are appended beside the batches: nothing waits for them, and nothing is said too early."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa

from claimtrace.errors import StoreUnavailable
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.tables import SCHEMAS
from stream.adapters.process.background import DaemonThreads
from stream.adapters.snapshots.reached_file import ReachedFile
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World


class Slow:
    """An offline store that lets nothing in before it is told to, and then fails so many times."""

    def __init__(self, store: OfflineStore, failing: int = 0) -> None:
        self._store, self._failing = store, failing
        self.has_begun, self.may_go_on = Event(), Event()

    def append_once(self, table: str, rows: pa.Table, **versions: Any) -> bool:
        self.has_begun.set()
        assert self.may_go_on.wait(60)
        self._failing -= 1
        if self._failing >= 0:
            raise StoreUnavailable("no answer", where=table)
        return self._store.append_once(table, rows, **versions)

    def committed(self, table: str, writer: str) -> int:
        return self._store.committed(table, writer)


class SlowWorld(World):
    """A world with such a store; the same one for all of its processes."""

    slow: Slow

    def offline(self) -> Any:
        return self.slow


def a_world(folder: Path, failing: int = 0) -> SlowWorld:
    world = SlowWorld(folder, offline_every=50, snapshot_every=10**6, executor=DaemonThreads())
    world.slow = Slow(OfflineStore(folder / "offline"), failing)
    world.put(as_records(a_stream(5, 400)))
    return world


def rows_of(store: OfflineStore) -> dict[str, list[str]]:
    there = [table for table in store.tables() if table in SCHEMAS]
    return {
        table: sorted(map(repr, store.dataset(table).to_table().to_pylist())) for table in there
    }


def test_batches_go_on_while_rows_are_appended(tmp_path: Path) -> None:
    world = a_world(tmp_path / "slow")
    driver, log = world.start()
    while driver.step(25) and not world.slow.has_begun.wait(0):
        pass
    begun_at = driver.engine.plan
    assert world.slow.has_begun.wait(60)
    driver.step(10)
    driver.step(10)
    assert driver.engine.plan == begun_at + 2
    assert ReachedFile(world.folder / "reached").read() is None, "nothing is stored yet"
    world.slow.may_go_on.set()
    while driver.step(25):
        pass
    driver.finish()
    log.close()
    reached = ReachedFile(world.folder / "reached").read()
    assert reached is not None
    assert reached.plan == driver.engine.plan

    plain = World(tmp_path / "plain")
    plain.put(as_records(a_stream(5, 400)))
    plain.run()
    want = rows_of(OfflineStore(plain.folder / "offline"))
    assert len(want["decisions"]) > 100
    assert rows_of(OfflineStore(world.folder / "offline")) == want


def test_what_failed_beside_is_done_again_by_the_worker(tmp_path: Path) -> None:
    world = a_world(tmp_path, failing=3)
    world.slow.may_go_on.set()
    world.run()
    rows = rows_of(OfflineStore(world.folder / "offline"))
    assert len(rows["events"]) == 400
