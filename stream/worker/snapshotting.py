"""Snapshots beside the stream, and house-keeping between its batches.

    begin    the state as of a plan is handed to the store, which writes it while batches go on
    written  it is on the disk, but doesn't count yet
    end      nothing that it leaves out is left to append: it counts, and the older ones may go

A snapshot that counts before its rows are stored would lose them in a crash, because what it holds
isn't run again. So rows are appended when they are due anyhow, and the snapshot waits for them.

House-keeping (`Engine.tidy`) goes round once after each snapshot, a little with each batch: so
much for each record that it never makes a pause. While a snapshot is being written it rests,
because what it moves would have to be kept twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np

from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError, StateError
from featurestore.state_arrays import Arrays

from ..engine.engine import Engine
from ..group.group import Checkpoint
from ..journal.journal import Journal
from ..journal.plan import TopicPartition
from ..journal.source import Source
from .interval import Interval
from .observer import WorkerObserver
from .ownership import Ownership

UNITS_A_RECORD: Final = 16
"""House-keeping for each record, about .8 us of it while a round lasts: a round through 10 million
entity-events then takes about as long as half a million records."""

LARGE_BYTES: Final = 64_000_000
FEW_RECORDS: Final = 125
"""While a child reads a large state, each page is copied when it is first written to, at 2 to 3
us: 20 to 100 an event in the first batches. Small ones keep that below 50 ms."""

_STUCK_S: Final = 600.0
"""A snapshot that takes so long is given up."""


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    def is_ready(self, arrays: Arrays) -> bool:
        """Whether it takes no long wait to begin; if not, sees to it."""

    def begin(self, plan: int, arrays: Arrays) -> bool:
        """Begin to write the state as of a plan; the arrays may change once this returns.

        Returns whether they are read meanwhile, so that each page that changes is copied."""

    def is_written(self, *, wait: bool = False) -> bool:
        """Whether what was begun is durable."""

    def publish(self) -> object:
        """Have what was written be the newest snapshot."""

    def rest(self) -> None:
        """Leave what was begun, if anything was; nothing goes on behind the caller's back then."""

    def newest(self, fits: Callable[[Arrays], bool] = ...) -> tuple[int, Arrays] | None:
        """The newest whole snapshot that fits."""


class _UnderWay(NamedTuple):
    plan: int
    from_s: float
    owned: Set[TopicPartition]
    is_dear: bool
    """Whether much of a large state may be copied page by page."""


class Snapshotting:
    """When snapshots begin and end, and house-keeping runs.

    Args:
        every: how often.
        again: does something, and again while a store doesn't answer.
        said, crash: see `Driver`.
    """

    def __init__(
        self,
        engine: Engine,
        duty: Ownership,
        source: Source,
        journal: Journal,
        store: SnapshotStore,
        every: Interval,
        clock: Clock,
        again: Callable[[Callable[[], Any]], Any],
        said: Callable[[str], None],
        crash: Callable[[str], None],
        watching: WorkerObserver,
    ) -> None:
        self._engine, self._duty, self._store = engine, duty, store
        self._source, self._journal = source, journal
        self.every, self._clock, self._again = every, clock, again
        self._said, self._crash, self._watching = said, crash, watching
        self._under_way: _UnderWay | None = None
        self._round: Iterator[int] | None = None
        self._owed = 0

    @property
    def is_under_way(self) -> bool:
        """Whether a snapshot was begun that doesn't count yet."""
        return self._under_way is not None

    @property
    def is_due(self) -> bool:
        """Whether one should begin now, and can."""
        if not self.every.due or self.is_under_way:
            return False
        return self._store.is_ready(self._engine.arrays())

    def begin(self) -> None:
        """Have the state as of this plan written."""
        plan, from_s = self._engine.plan, self._clock.monotonic_s()
        arrays = self._engine.arrays() | self._surroundings()
        is_read = self._again(lambda: self._store.begin(plan, arrays))
        is_dear = is_read and sum(array.nbytes for array in arrays.values()) >= LARGE_BYTES
        self._under_way = _UnderWay(plan, from_s, self._duty.owned, is_dear)
        self.every.reset()
        self._crash("begun")

    @property
    def is_written(self) -> bool:
        """Whether what was begun is on the disk."""
        return self._under_way is not None and self._is_written(wait=False)

    def end(self, *, wait: bool = False) -> None:
        """Have what was begun count if it is ready; `wait` for it to be written."""
        ready = self._under_way
        if ready is None or not self._is_written(wait=wait):
            return
        if not self._duty.is_stored(ready.plan, ready.owned):
            return
        self._crash("flushed")
        self._again(self._store.publish)
        self._under_way = None
        self._crash("snapshotted")
        self._watching.snapshot(ready.plan, self._clock.monotonic_s() - ready.from_s)
        if self._round is None:
            self._round, self._owed = self._engine.tidy(), 0

    def _is_written(self, *, wait: bool) -> bool:
        assert self._under_way is not None
        try:
            if self._store.is_written(wait=wait):
                return True
            if self._clock.monotonic_s() - self._under_way.from_s > _STUCK_S:
                self._store.rest()
                raise StateError(f"not written after {_STUCK_S:g} s", where="snapshots")
        except ClaimtraceError as error:
            # the snapshot before it, and a longer replay, give the same state
            self._said(f"{error}: the next one will be written as usual")
            self._under_way = None
        return False

    def most(self, records: int) -> int:
        """How many of so many records the next batch should have."""
        is_dear = self._under_way is not None and self._under_way.is_dear
        return min(records, FEW_RECORDS) if is_dear and not self.is_written else records

    def rest(self) -> None:
        """Leave what can't count any more; nothing goes on behind the caller's back then."""
        self._store.rest()
        self._under_way = None

    def keep_house(self, records: int) -> None:
        """As much house-keeping as a batch of so many records pays for."""
        if self._round is None or self._under_way is not None:
            return
        self._owed += records * UNITS_A_RECORD
        while self._owed > 0:
            done = next(self._round, None)
            if done is None:
                self._round = None
                return
            self._owed -= done

    def _surroundings(self) -> Arrays:
        """What a snapshot knows beside the engine's state: where the log and the journal were, and
        the marks as they will be when it counts."""
        marks = msgspec.json.encode(sorted(self._duty.coming_marks().items()))
        return {
            "journal": np.array([self._journal.bookmark(self._engine.plan)]),
            "marks": np.frombuffer(marks, np.uint8),
            "source": np.frombuffer(self._source.bookmarks(self._engine.positions), np.uint8),
        }


def bookmarks_in(arrays: Arrays) -> bytes:
    """Where the source was."""
    return arrays["source"].tobytes() if "source" in arrays else b""


def marks_in(arrays: Arrays) -> dict[TopicPartition, Checkpoint]:
    """The marks as they were when a snapshot began to count."""
    written = arrays["marks"].tobytes() if "marks" in arrays else b"[]"
    return dict(msgspec.json.decode(written, type=list[tuple[TopicPartition, Checkpoint]]))
