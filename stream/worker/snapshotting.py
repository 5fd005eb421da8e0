"""Snapshots beside the stream, and state maintenance between its batches.

    begin    the state as of a plan is handed to the store, which writes it while batches go on
    written  the snapshot is on the disk, but a restart doesn't use it yet
    end      all rows of its plans are appended: it is published, and older snapshots may go

A snapshot that is published before its rows are stored would lose them in a crash, because the
plans that it covers are not run again. So the snapshot waits until rows are appended as usual.

State maintenance (`Engine.tidy`) makes one round after each snapshot, a little with each batch, so
that it never makes a pause. While a snapshot is written no maintenance runs, because each page that
it moves would have to be copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final, NamedTuple

import msgspec
import numpy as np

from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError, StateError
from featurestore.state_arrays import Arrays

from ..engine.engine import Engine
from ..group.group import Checkpoint
from ..journal.plan import TopicPartition
from .interval import Interval
from .observer import WorkerObserver
from .ownership import Ownership
from .parts import LogParts, SnapshotStore
from .retry import Retry

UNITS_A_RECORD: Final = 16
"""Units of maintenance for each record, about .8 us of it while a round lasts: a round through 10
million entity-events then takes about as long as half a million records."""

LARGE_BYTES: Final = 64_000_000
FEW_RECORDS: Final = 125
"""While a child process reads a large state, each page is copied when it is first written to, at 2
to 3 us: 20 to 100 an event in the first batches. Small batches keep that below 50 ms."""

_STUCK_S: Final = 600.0
"""A snapshot that takes longer than this is cancelled."""


class _Unpublished(NamedTuple):
    """A snapshot that was begun."""

    plan: int
    from_s: float
    owned: Set[TopicPartition]
    copies_pages: bool
    """Whether a large state may be copied page by page while batches change it."""


class Snapshotting:
    """When snapshots begin and are published, and when state maintenance runs.

    Args:
        engine: has the state.
        ownership: knows which rows are stored.
        log: source and journal, whose bookmarks belong to a snapshot.
        store: keeps the snapshots.
        interval: between two snapshots.
        clock: measures them.
        retry: runs work until it succeeds.
        observer: told of each snapshot.
    """

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        log: LogParts,
        store: SnapshotStore,
        interval: Interval,
        clock: Clock,
        retry: Retry,
        observer: WorkerObserver,
    ) -> None:
        self._engine, self._ownership, self._log, self._store = engine, ownership, log, store
        self.interval, self._clock = interval, clock
        self._retry, self._observer = retry, observer
        self._unpublished: _Unpublished | None = None
        self._round: Iterator[int] | None = None
        self._owed = 0

    @property
    def is_under_way(self) -> bool:
        """Whether a snapshot was begun that is not published yet."""
        return self._unpublished is not None

    @property
    def is_due(self) -> bool:
        """Whether a snapshot should begin now, and can."""
        if not self.interval.due or self.is_under_way:
            return False
        return self._store.is_ready(self._engine.arrays())

    def begin(self) -> None:
        """Start to write the state as of this plan."""
        plan, from_s = self._engine.plan, self._clock.monotonic_s()
        arrays = self._engine.arrays() | self._positions()
        is_read = self._retry(lambda: self._store.begin(plan, arrays))
        copies_pages = is_read and sum(array.nbytes for array in arrays.values()) >= LARGE_BYTES
        self._unpublished = _Unpublished(plan, from_s, self._ownership.owned, copies_pages)
        self.interval.reset()
        self._observer.passed("begun")

    @property
    def is_written(self) -> bool:
        """Whether the snapshot that was begun is on the disk."""
        return self._unpublished is not None and self._is_written(wait=False)

    def end(self, *, wait: bool = False) -> None:
        """Publish the snapshot if it is written and its rows are stored; `wait` for the disk."""
        ready = self._unpublished
        if ready is None or not self._is_written(wait=wait):
            return
        if not self._ownership.is_stored(ready.plan, ready.owned):
            return
        self._observer.passed("flushed")
        self._retry(self._store.publish)
        self._unpublished = None
        self._observer.passed("snapshotted")
        self._observer.snapshot(ready.plan, self._clock.monotonic_s() - ready.from_s)
        if self._round is None:
            self._round, self._owed = self._engine.tidy(), 0

    def _is_written(self, *, wait: bool) -> bool:
        assert self._unpublished is not None
        try:
            if self._store.is_written(wait=wait):
                return True
            if self._clock.monotonic_s() - self._unpublished.from_s > _STUCK_S:
                self._store.cancel()
                raise StateError(f"not written after {_STUCK_S:g} s", where="snapshots")
        except ClaimtraceError as error:
            # the snapshot before it, and a longer replay, give the same state
            self._observer.notify(f"{error}: the next one will be written as usual")
            self._unpublished = None
        return False

    def batch_limit(self, records: int) -> int:
        """Return how many of `records` the next batch may have, so that copied pages are few."""
        copies = self._unpublished is not None and self._unpublished.copies_pages
        return min(records, FEW_RECORDS) if copies and not self.is_written else records

    def cancel(self) -> None:
        """Cancel an unpublished snapshot; returns when no background work is left."""
        self._store.cancel()
        self._unpublished = None

    def run_maintenance(self, records: int) -> None:
        """Run as much state maintenance as a batch of `records` pays for."""
        if self._round is None or self._unpublished is not None:
            return
        self._owed += records * UNITS_A_RECORD
        while self._owed > 0:
            done = next(self._round, None)
            if done is None:
                self._round = None
                return
            self._owed -= done

    def _positions(self) -> Arrays:
        """Return what a snapshot holds beside the engine's state: the bookmarks of source and
        journal, and the checkpoints as they will be when it is published."""
        checkpoints = sorted(self._ownership.coming_checkpoints().items())
        bookmark = self._log.journal.bookmark(self._engine.plan)
        source = self._log.source.bookmarks(self._engine.positions)
        return {
            "journal": np.array([bookmark]),
            "marks": np.frombuffer(msgspec.json.encode(checkpoints), np.uint8),
            "source": np.frombuffer(source, np.uint8),
        }


def bookmarks_in(arrays: Arrays) -> bytes:
    """Return the bookmarks of the source in a snapshot."""
    return arrays["source"].tobytes() if "source" in arrays else b""


def checkpoints_in(arrays: Arrays) -> dict[TopicPartition, Checkpoint]:
    """Return the checkpoints of all partitions as of a snapshot's publication."""
    written = arrays["marks"].tobytes() if "marks" in arrays else b"[]"
    return dict(msgspec.json.decode(written, type=list[tuple[TopicPartition, Checkpoint]]))
