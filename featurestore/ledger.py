"""Which events have been seen, and what a later label needs to know about each claim.

One row for each accepted event of a topic: the watermark at which it came, a digest of its bytes,
and for claims the entities it counted for and its outcome so far. An id is known until the
watermark has moved on by `remember_ms`; after that the same id is a new event, with a row of its
own. Rows leave from the old end, but whether an id is known never depends on when that
house-keeping runs, because the age is checked at the look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.siphash import Key

from .arrays import Arrays, below, under
from .interning import Interner
from .renumbering import renumbered

NEW, DUPLICATE, CONFLICT = 0, 1, 2
NOT_APPLIED = np.iinfo(np.int64).min
"""The time of a claim that was too late to be counted: labels leave its entities alone."""
_UNSEEN = np.iinfo(np.int64).min
"""Stands where a row has a number but no event yet."""

LEAST_FORGOTTEN = 1024
"""Fewer rows (or less than a quarter) aren't worth moving the others for."""

BEGINNING = -(2**62)
"""The watermark before the first event; differences with it still fit 63 bits."""


class Admission(NamedTuple):
    """For each event: its status, its row, and the newest event time up to it."""

    statuses: NDArray[np.int8]
    rows: NDArray[np.int64]
    watermarks: NDArray[np.int64]


class Ledger:
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
                done, rows - self._base, times, contents, self._remember_ms, self.watermark,
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
        at = row - self._base
        return at >= 0 and int(self._admitted[at]) > watermark - self._remember_ms

    def note_claims(
        self,
        rows: NDArray[np.int64],
        applied_times: NDArray[np.int64],
        entities: NDArray[np.int64],
    ) -> None:
        """Keep what labels need: `entities[slots, n]`, and the time at which a claim counts."""
        at = rows - self._base
        self._applied_times[at] = applied_times
        self._entities[:, at] = entities

    def claim(self, row: int) -> tuple[int, NDArray[np.int32], int]:
        """Of a claim: the time at which it counts, its entities, its outcome so far."""
        at = row - self._base
        return int(self._applied_times[at]), self._entities[:, at], int(self._outcomes[at])

    def entities(self, slots: list[int]) -> NDArray[np.int32]:
        """The entity numbers of all remembered claims in some slots, -1 for none: a copy."""
        return self._entities[slots, : len(self)]

    def renumber(self, slots: list[int], numbers: NDArray[np.int64]) -> None:
        """The entities of some slots have new numbers."""
        for slot in slots:
            renumbered(self._entities[slot, : len(self)], numbers)

    def set_outcome(self, row: int, outcome: int) -> None:
        """Remember the newest outcome of a claim."""
        self._outcomes[row - self._base] = outcome

    def forget(self) -> None:
        """Give back the memory of rows that are no longer known."""
        live = len(self)
        known = self._admitted[:live] > self.watermark - self._remember_ms
        gone = int(np.argmax(known)) if known.any() else live
        if gone < max(live // 4, LEAST_FORGOTTEN):
            return
        for name in ("_admitted", "_applied_times", "_contents", "_outcomes"):
            column = getattr(self, name)
            column[: live - gone] = column[gone:live].copy()
        self._admitted[live - gone :] = _UNSEEN
        self._entities[:, : live - gone] = self._entities[:, gone:live].copy()
        self._base += gone
        self._ids.forget_below(self._base)

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        live = len(self)
        return {
            **under("ids.", self._ids.arrays()),
            "admitted": self._admitted[:live],
            "applied_times": self._applied_times[:live],
            "contents": self._contents[:live],
            "outcomes": self._outcomes[:live],
            "entities": self._entities[:, :live],
            "span": np.array([self._base, self._next, self.watermark], np.int64),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        self._ids.restore(below("ids.", arrays))
        self._base, self._next, self.watermark = (int(each) for each in arrays["span"])
        self._admitted = np.array(arrays["admitted"], np.int64)
        self._applied_times = np.array(arrays["applied_times"], np.int64)
        self._contents = np.array(arrays["contents"], np.uint64)
        self._outcomes = np.array(arrays["outcomes"], np.uint8)
        self._entities = np.array(arrays["entities"], np.int32)

    def _make_room(self, more: int, rows: int) -> None:
        """Room for so many more than the rows that have a number."""
        needed = rows - self._base + more
        if needed <= self._admitted.size:
            return
        size = max(needed, self._admitted.size + self._admitted.size // 2)
        for name in ("_admitted", "_applied_times", "_contents", "_outcomes", "_entities"):
            column = getattr(self, name)
            fill = _UNSEEN if name == "_admitted" else 0
            longer = np.full((*column.shape[:-1], size), fill, column.dtype)
            longer[..., : column.shape[-1]] = column
            setattr(self, name, longer)


@njit(cache=True)
def _admit(  # type: ignore[no-untyped-def]
    begin, places, times, contents, remember_ms, watermark, columns, statuses, watermarks
):
    """Admit from `begin` to the end or an id forgotten by age; returns its place, the watermark."""
    admitted, row_contents, row_outcomes = columns
    for i in range(begin, places.size):
        at = places[i]
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
    return places.size, watermark
