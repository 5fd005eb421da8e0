"""De-duplication of events, and the facts about each claim that a later label needs.

The ledger has one row for each accepted event of a topic: the watermark at which the event was
admitted, a digest of its bytes, and for a claim the entities it counted for and its outcome so far.
An id is known until the watermark has advanced by `remember_ms`; after that the same id is a new
event with its own row. Compaction drops the oldest rows, but the answer whether an id is known
never depends on when compaction runs, because the look-up checks the age.

Rows are stored in a ring buffer: row r is at index r & (size - 1), where the size is a power of
two. So old rows can be dropped without moving the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.buffers.siphash import Key

from ..definitions.verdicts import NEVER_MS, UNKNOWN
from ..fields.interning import Interner, mark_live
from ..state_arrays import Arrays, below, under

NEW, DUPLICATE, CONFLICT = 0, 1, 2
NOT_APPLIED = np.iinfo(np.int64).min
"""The time of a claim that was too late to be applied: its labels change no entity either."""
_UNSEEN = np.iinfo(np.int64).min
"""The watermark of a row that has a number but no event yet."""

MIN_DROPPED = 1024
"""A pass through the index of ids isn't worth it for fewer dropped rows, or less than a quarter."""

ROWS_A_SLICE: Final = 16_384
_ROWS_A_UNIT: Final = 16
_COLUMNS: Final = ("_admitted", "_applied_times", "_contents", "_outcomes", "_entities")
_VERDICT_COLUMNS: Final = ("_decided", "_known")
"""Columns since edition 2, see `keep_verdicts`."""
_FILLS: Final = {"_admitted": _UNSEEN, "_decided": NEVER_MS, "_known": NEVER_MS}

_NO_COLUMN: Final = np.empty(0, np.int64)
BEGINNING = -(2**62)
"""The watermark before the first event; a difference from it still fits in 63 bits."""


class Admission(NamedTuple):
    """The result of `EventLedger.admit`, in columns of n: each event's status, row and watermark.

    The watermark is the newest event time up to and including the event.
    """

    statuses: NDArray[np.int8]
    rows: NDArray[np.int64]
    watermarks: NDArray[np.int64]


class EventLedger:
    """The accepted events of one topic.

    Args:
        key: the secret key of the index of ids.
        entities: the number of entity numbers in a row (0 for topics that are not claims).
        remember_ms: the time for which an id is known, back from the newest event time.
    """

    def __init__(self, key: Key, entities: int, remember_ms: int) -> None:
        self._ids = Interner(key)
        self._remember_ms = remember_ms
        self.watermark = BEGINNING
        self._base = 0
        self._next = 0
        self._indexed = 0
        """The index has no id with a row before this row."""
        self._admitted = np.full(1024, _UNSEEN, np.int64)
        self._applied_times = np.zeros(1024, np.int64)
        self._contents = np.zeros(1024, np.uint64)
        self._outcomes = np.zeros(1024, np.uint8)
        self._entities = np.zeros((entities, 1024), np.int32)
        self._decided = self._known = _NO_COLUMN
        self._columns: tuple[str, ...] = _COLUMNS

    def __len__(self) -> int:
        return self._next - self._base

    def admit(
        self, ids: Sequence[str], times: NDArray[np.int64], contents: NDArray[np.uint64]
    ) -> Admission:
        """Admit events in order; returns for each NEW, DUPLICATE or CONFLICT, its row, watermark.

        A known id with the same bytes is a duplicate; with different bytes it is a conflict. Only
        new events advance the watermark.

        Args:
            ids: event ids.
            times: event times in ms.
            contents: a digest of each event's bytes.
        """
        self._reserve(len(ids), self._next)
        rows = self._ids.numbers(ids)  # an interner counts up by one, and so do rows
        statuses = np.zeros(len(ids), np.int8)
        watermarks = np.empty(len(ids), np.int64)
        done = 0
        while True:
            columns = self._admitted, self._contents, self._outcomes
            done, self.watermark = _admit(
                done, rows, self._base, times, contents, self._remember_ms, self.watermark,
                columns, statuses, watermarks,
            )  # fmt: skip
            if done == len(ids):
                break
            # the id has expired: a new row for it, because labels of the old event need the old row
            rows[done:][rows[done:] == rows[done]] = self._ids.renumber(ids[done])
            self._reserve(0, len(self._ids))
        self._next = len(self._ids)
        return Admission(statuses, rows, watermarks)

    def look(
        self, ids: Sequence[str], times: NDArray[np.int64], contents: NDArray[np.uint64]
    ) -> Admission:
        """Return what `admit` would return for each event if it was the next one, alone.

        Nothing is changed. The rows are those of known ids, -1 for new events.

        Args:
            ids, times, contents: see `admit`.
        """
        rows = self.find(list(ids))
        at = rows & (self._admitted.size - 1)
        # of an id without a row the place is the last one, and what is read there isn't used
        known = (rows >= 0) & (self._admitted[at] > self.watermark - self._remember_ms)
        same = np.where(self._contents[at] == contents, DUPLICATE, CONFLICT)
        statuses = np.where(known, same, NEW).astype(np.int8)
        watermarks = np.where(known, self.watermark, np.maximum(self.watermark, times))
        return Admission(statuses, np.where(known, rows, -1), watermarks)

    def find(self, ids: list[str]) -> NDArray[np.int64]:
        """Return the newest row of each id, -1 for no row; `is_known` checks whether it expired."""
        rows = self._ids.find(ids)
        rows[rows < self._base] = -1
        return rows

    def is_known(self, row: int, watermark: int) -> bool:
        """Whether the event of a row is still known at a watermark, that is, hasn't expired."""
        if row < self._base:
            return False
        return int(self._admitted[self._at(row)]) > watermark - self._remember_ms

    def note_claims(
        self,
        rows: NDArray[np.int64],
        applied_times: NDArray[np.int64],
        entities: NDArray[np.int64],
    ) -> None:
        """Store what labels of claims need later.

        Args:
            rows: the claims' rows.
            applied_times: the event time at which each claim was applied, or NOT_APPLIED.
            entities: the claims' entity numbers [slots, n], -1 for none.
        """
        at = rows & (self._admitted.size - 1)
        self._applied_times[at] = applied_times
        self._entities[:, at] = entities

    def claim(self, row: int) -> tuple[int, NDArray[np.int32]]:
        """Return the time at which a claim was applied, and its entities."""
        at = self._at(row)
        return int(self._applied_times[at]), self._entities[:, at]

    def outcome(self, row: int) -> int:
        """Return a claim's outcome so far."""
        return int(self._outcomes[self._at(row)])

    def keep_verdicts(self) -> None:
        """Store from now on when each claim's outcome was decided and when it arrived.

        Outcomes until now were counted under edition 1: any later one replaces them.
        """
        if self._columns == _COLUMNS:
            self._columns = (*_COLUMNS, *_VERDICT_COLUMNS)
            self._decided, self._known = (
                np.full(self._admitted.size, NEVER_MS, np.int64) for _ in _VERDICT_COLUMNS
            )

    def verdict(self, row: int) -> tuple[int, int, int]:
        """Return a claim's outcome so far, when it was decided, and its log time, in ms.

        The times are `NEVER_MS` without an outcome, and for one that was counted under edition 1.
        """
        at = self._at(row)
        outcome = int(self._outcomes[at])
        # without an outcome the times may be those of an earlier row at this place
        if outcome == UNKNOWN or self._columns == _COLUMNS:
            return outcome, NEVER_MS, NEVER_MS
        return outcome, int(self._decided[at]), int(self._known[at])

    def set_verdict(self, row: int, outcome: int, decided_ms: int, known_ms: int) -> None:
        """Store the outcome that replaces a claim's outcome so far."""
        at = self._at(row)
        self._outcomes[at], self._decided[at], self._known[at] = outcome, decided_ms, known_ms

    def mark(self, slots: list[int], live: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the entities of all rows in some slots as live; yields units after each slice.

        Rows that are added between slices need no marks from here: looking up their entities has
        marked them.
        """
        for slot in slots:
            for rows in self._spans(self._base, self._next, ROWS_A_SLICE):
                mark_live(live, self._entities[slot, rows])
                yield ROWS_A_SLICE // _ROWS_A_UNIT

    def set_outcome(self, row: int, outcome: int) -> None:
        """Store the newest outcome of a claim."""
        self._outcomes[self._at(row)] = outcome

    def compaction(self) -> Iterator[int]:
        """Drop the rows of expired ids; yields the units of work after each slice."""
        for rows in self._spans(self._base, self._next, ROWS_A_SLICE):
            known = self._admitted[rows] > self.watermark - self._remember_ms
            expired = int(np.argmax(known)) if known.any() else known.size
            self._admitted[rows.start : rows.start + expired] = _UNSEEN
            self._base += expired
            yield ROWS_A_SLICE // _ROWS_A_UNIT
            if expired < known.size:
                break
        if self._base - self._indexed >= max(len(self) // 4, MIN_DROPPED):
            self._indexed = self._base
            yield from self._ids.drop_below(self._base)

    def arrays(self) -> Arrays:
        """Return all state, for a snapshot."""
        span = self._base, self._next, self._indexed, self.watermark
        return {
            **under("ids.", self._ids.arrays()),
            **{name[1:]: getattr(self, name) for name in self._columns},
            "span": np.array(span, np.int64),
        }

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot."""
        self._ids.restore(below("ids.", arrays))
        self._base, self._next, self._indexed, self.watermark = map(int, arrays["span"])
        has_verdicts = "decided" in arrays
        self._columns = (*_COLUMNS, *_VERDICT_COLUMNS) if has_verdicts else _COLUMNS
        for name in self._columns:
            setattr(self, name, np.array(arrays[name[1:]], getattr(self, name).dtype))

    def _at(self, row: int) -> int:
        return row & (self._admitted.size - 1)

    def _spans(self, first: int, last: int, most: int) -> Iterator[slice]:
        """Yield the indices of the rows [first, last), as slices of at most `most` rows.

        No slice wraps around the end of the ring. The ring may grow between two slices.
        """
        while first < last:
            at = self._at(first)
            count = min(most, last - first, self._admitted.size - at)
            yield slice(at, at + count)
            first += count

    def _reserve(self, more: int, rows: int) -> None:
        """Grow the ring, if needed, to hold all rows below `rows` and `more` rows after them."""
        needed, had = rows - self._base + more, self._admitted.size
        if needed <= had:
            return
        size = had
        while size < needed:
            size *= 2
        for name in self._columns:
            column = getattr(self, name)
            fill = _FILLS.get(name, 0)
            longer = np.zeros((*column.shape[:-1], size), column.dtype)
            if fill:
                longer[...] = fill
            for first in range(self._base // had * had, self._base + had, had):
                # the rows of one turn of the old ring are contiguous in the new ring
                low, high = max(first, self._base), min(first + had, self._base + had)
                to, count = low & (size - 1), high - low
                longer[..., to : to + count] = column[..., low - first : low - first + count]
            setattr(self, name, longer)


@kernel
def _admit(  # type: ignore[no-untyped-def]
    begin, rows, base, times, contents, remember_ms, watermark, columns, statuses, watermarks
):
    """Admit events from index `begin` up to the first expired id, or all.

    Returns the index of that event (or n) and the watermark before it.
    """
    admitted, row_contents, row_outcomes = columns
    mask = admitted.size - 1
    for i in range(begin, rows.size):
        if rows[i] < base:
            return i, watermark
        at = rows[i] & mask
        if admitted[at] != _UNSEEN:
            if admitted[at] <= watermark - remember_ms:
                return i, watermark
            statuses[i] = DUPLICATE if row_contents[at] == contents[i] else CONFLICT
            watermarks[i] = watermark
            continue
        statuses[i] = NEW
        watermark = max(watermark, times[i])
        watermarks[i] = watermark
        admitted[at] = watermark
        row_contents[at] = contents[i]
        row_outcomes[at] = 0
    return rows.size, watermark
