"""Which events have been seen, and what a later label needs to know about each claim.

One row for each accepted event of a topic: the watermark at which it came, a digest of its bytes,
and for claims the entities it counted for and its outcome so far. An id is known until the
watermark has moved on by `remember_ms`; after that the same id is a new event, with a row of its
own. Rows leave from the old end, but whether an id is known never depends on when that
house-keeping runs, because the age is checked at the look-up.

Rows lie in a ring: row r is at r & (size - 1), the size a power of two. So old rows leave without
the others being moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.buffers.siphash import Key

from ..fields.interning import Interner, marked
from ..state_arrays import Arrays, below, under

NEW, DUPLICATE, CONFLICT = 0, 1, 2
NOT_APPLIED = np.iinfo(np.int64).min
"""The time of a claim that was too late to be counted: labels leave its entities alone."""
_UNSEEN = np.iinfo(np.int64).min
"""Stands where a row has a number but no event yet."""

LEAST_FORGOTTEN = 1024
"""Fewer rows (or less than a quarter) aren't worth a pass through the index of ids."""

ROWS_A_SLICE: Final = 16_384
_ROWS_A_UNIT: Final = 16
_COLUMNS: Final = ("_admitted", "_applied_times", "_contents", "_outcomes", "_entities")

BEGINNING = -(2**62)
"""The watermark before the first event; differences with it still fit 63 bits."""


class Admission(NamedTuple):
    """For each event: its status, its row, and the newest event time up to it."""

    statuses: NDArray[np.int8]
    rows: NDArray[np.int64]
    watermarks: NDArray[np.int64]


class EventLedger:
    """The accepted events of one topic.

    Args:
        key: for the index of ids.
        entities: how many entity numbers a row holds (0 for topics that are not claims).
        remember_ms: how far back from the newest event time an id is known.
    """

    def __init__(self, key: Key, entities: int, remember_ms: int) -> None:
        self._ids = Interner(key)
        self._remember_ms = remember_ms
        self.watermark = BEGINNING
        self._base = 0
        self._next = 0
        self._indexed = 0
        """No id in the index has a row before this one."""
        self._admitted = np.full(1024, _UNSEEN, np.int64)
        self._applied_times = np.zeros(1024, np.int64)
        self._contents = np.zeros(1024, np.uint64)
        self._outcomes = np.zeros(1024, np.uint8)
        self._entities = np.zeros((entities, 1024), np.int32)

    def __len__(self) -> int:
        return self._next - self._base

    def admit(
        self, ids: Sequence[str], times: NDArray[np.int64], contents: NDArray[np.uint64]
    ) -> Admission:
        """Note events in order; says for each NEW, DUPLICATE or CONFLICT, its row, the watermark.

        An id that returns with the same bytes is a duplicate; with other bytes it is a conflict.
        Only new events move the watermark.
        """
        self._make_room(len(ids), self._next)
        rows = self._ids.numbers(ids)  # an interner's numbers rise by one, and so do rows
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
            # an id that was forgotten by age: labels of the old event still find the old row
            rows[done:][rows[done:] == rows[done]] = self._ids.renumber(ids[done])
            self._make_room(0, len(self._ids))
        self._next = len(self._ids)
        return Admission(statuses, rows, watermarks)

    def find(self, ids: list[str]) -> NDArray[np.int64]:
        """The newest row of each id, -1 where there is none; `is_known` tells its age."""
        rows = self._ids.find(ids)
        rows[rows < self._base] = -1
        return rows

    def is_known(self, row: int, watermark: int) -> bool:
        """Whether the event of a row is remembered at a watermark."""
        if row < self._base:
            return False
        return int(self._admitted[self._at(row)]) > watermark - self._remember_ms

    def note_claims(
        self,
        rows: NDArray[np.int64],
        applied_times: NDArray[np.int64],
        entities: NDArray[np.int64],
    ) -> None:
        """Keep what labels need: `entities[slots, n]`, and the time at which a claim counts."""
        at = rows & (self._admitted.size - 1)
        self._applied_times[at] = applied_times
        self._entities[:, at] = entities

    def claim(self, row: int) -> tuple[int, NDArray[np.int32], int]:
        """Of a claim: the time at which it counts, its entities, its outcome so far."""
        at = self._at(row)
        return int(self._applied_times[at]), self._entities[:, at], int(self._outcomes[at])

    def mark(self, slots: list[int], living: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the entities of all rows in some slots, a slice at a time.

        Rows that come meanwhile aren't looked at: their entities were looked up then.
        """
        for slot in slots:
            for rows in self._spans(self._base, self._next, ROWS_A_SLICE):
                marked(living, self._entities[slot, rows])
                yield ROWS_A_SLICE // _ROWS_A_UNIT

    def set_outcome(self, row: int, outcome: int) -> None:
        """Remember the newest outcome of a claim."""
        self._outcomes[self._at(row)] = outcome

    def tidy(self) -> Iterator[int]:
        """Give back the room of rows that are no longer known, a slice at a time."""
        for rows in self._spans(self._base, self._next, ROWS_A_SLICE):
            known = self._admitted[rows] > self.watermark - self._remember_ms
            gone = int(np.argmax(known)) if known.any() else known.size
            self._admitted[rows.start : rows.start + gone] = _UNSEEN
            self._base += gone
            yield ROWS_A_SLICE // _ROWS_A_UNIT
            if gone < known.size:
                break
        if self._base - self._indexed >= max(len(self) // 4, LEAST_FORGOTTEN):
            self._indexed = self._base
            yield from self._ids.forget_below(self._base)

    def forget(self) -> None:
        """Do all of it now."""
        for _ in self.tidy():
            pass

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        span = self._base, self._next, self._indexed, self.watermark
        return {
            **under("ids.", self._ids.arrays()),
            **{name[1:]: getattr(self, name) for name in _COLUMNS},
            "span": np.array(span, np.int64),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        self._ids.restore(below("ids.", arrays))
        self._base, self._next, self._indexed, self.watermark = map(int, arrays["span"])
        for name in _COLUMNS:
            setattr(self, name, np.array(arrays[name[1:]], getattr(self, name).dtype))

    def _at(self, row: int) -> int:
        return row & (self._admitted.size - 1)

    def _spans(self, first: int, last: int, most: int) -> Iterator[slice]:
        """Where the rows [first, last) lie, at most so many in a slice, none over the ring's end.

        The ring may grow between two of them.
        """
        while first < last:
            at = self._at(first)
            count = min(most, last - first, self._admitted.size - at)
            yield slice(at, at + count)
            first += count

    def _make_room(self, more: int, rows: int) -> None:
        """Room for so many more than the rows that have a number."""
        needed, had = rows - self._base + more, self._admitted.size
        if needed <= had:
            return
        size = had
        while size < needed:
            size *= 2
        for name in _COLUMNS:
            column = getattr(self, name)
            fill = _UNSEEN if name == "_admitted" else 0
            longer = np.zeros((*column.shape[:-1], size), column.dtype)
            if fill:
                longer[...] = fill
            for first in range(self._base // had * had, self._base + had, had):
                # a turn of the old ring is in one piece in the new one
                low, high = max(first, self._base), min(first + had, self._base + had)
                to, count = low & (size - 1), high - low
                longer[..., to : to + count] = column[..., low - first : low - first + count]
            setattr(self, name, longer)


@kernel
def _admit(  # type: ignore[no-untyped-def]
    begin, rows, base, times, contents, remember_ms, watermark, columns, statuses, watermarks
):
    """Admit from `begin` to the end or an id forgotten by age; returns its place, the watermark."""
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
