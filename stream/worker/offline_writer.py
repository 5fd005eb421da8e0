"""Rows on their way to the offline store: they wait, are appended together, perhaps beside the next
batches, and the worker sees it through.

The work beside tries each table once. Whatever it didn't get done, the worker does itself when it
comes back for it: with the same pauses, the same errors, and in its own time. Rows are appended
once however often they are sent, so nothing hangs on how far the work beside came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from claimtrace.clock import Clock

from ..group.group import Checkpoint
from ..journal.plan import TopicPartition
from ..offline_rows.rows import BatchRows, PendingRows


class Rows(Protocol):
    """The offline store; writers number their appends with plans."""

    def append_once(
        self, table: str, rows: pa.Table, *, versions: Mapping[str, int], before: Mapping[str, int]
    ) -> bool:
        """Append, and note the version of each writer; `before` is what it must have been.

        Returns False when it was done already. Raises `Superseded` when another one wrote.
        """

    def committed(self, table: str, writer: str) -> int:
        """The last version of a writer that the table holds; -1 when there is none."""


class Beside(Protocol):
    """Work that was begun."""

    def is_done(self) -> bool:
        """Whether nothing of it goes on any more."""

    def wait(self) -> None:
        """Return when nothing does."""


Begin = Callable[[Callable[[], None]], Beside]
"""Begins a piece of work."""


class _NotBegun:
    def is_done(self) -> bool:
        return True

    def wait(self) -> None:
        pass


def at_once(_: Callable[[], None]) -> Beside:
    """Nothing is done beside the batches: the worker does all of it itself, now."""
    return _NotBegun()


class Stored(NamedTuple):
    """What is true once an append is through: how far the rows and the places are."""

    plan: int
    marks: Mapping[TopicPartition, Checkpoint]


class _Append(NamedTuple):
    """The rows of one table, with the versions of their writers before and after."""

    table: str
    rows: pa.Table
    versions: Mapping[str, int]
    before: Mapping[str, int]


class OfflineWriter:
    """The rows that wait, and those that are being appended.

    Args:
        rows: the offline store.
        again: does a piece of work until it is done.
        begin: begins a piece of work, here or beside.
        clock: for how long an append takes.
        appended: told of that.
    """

    def __init__(
        self,
        rows: Rows,
        again: Callable[[Callable[[], Any]], Any],
        begin: Begin,
        clock: Clock,
        appended: Callable[[float], None],
    ) -> None:
        self._rows, self._again, self._begin = rows, again, begin
        self._clock, self._appended = clock, appended
        self._waiting: dict[str, PendingRows] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._left: list[_Append] = []
        self._coming: Stored | None = None
        self._beside: Beside = _NotBegun()
        self._seconds = 0.0

    def __bool__(self) -> bool:
        """Whether rows wait that nobody has begun to append."""
        return bool(self._waiting)

    @property
    def is_under_way(self) -> bool:
        """Whether an append was begun and not seen through."""
        return self._coming is not None

    @property
    def is_ready(self) -> bool:
        """Whether to see it through would take no waiting."""
        return self._coming is not None and self._beside.is_done()

    def add(self, table: str, rows: BatchRows) -> None:
        """Take what a batch has for a table."""
        self._waiting.setdefault(table, PendingRows(table)).add(rows)

    def version(self, table: str, writer: str) -> int:
        """The last plan whose rows of a writer the offline store has; asked once."""
        if (table, writer) not in self._versions:
            self._beside.wait()
            found = self._again(lambda: self._rows.committed(table, writer))
            self._versions[table, writer] = found
        return self._versions[table, writer]

    def begin(self, writers: Collection[str], coming: Stored) -> None:
        """Begin to append all that waits; nothing may be under way."""
        assert self._coming is None, "one at a time"
        versions = dict.fromkeys(writers, coming.plan)
        self._left = [
            _Append(table, waiting.rows(), versions, {w: self.version(table, w) for w in versions})
            for table, waiting in sorted(self._waiting.items())
        ]
        self._waiting.clear()
        self._coming, self._seconds = coming, 0.0
        if self._left:
            self._beside = self._begin(self._try)

    def end(self) -> Stored | None:
        """See what was begun through, doing what is left; None when nothing was.

        Raises:
            Superseded: another worker has stored the rows.
        """
        if self._coming is None:
            return None
        self._beside.wait()
        while self._left:
            self._again(self._append_next)
        self._appended(self._seconds)
        stored, self._coming = self._coming, None
        return stored

    def drop(self) -> None:
        """Forget all rows, and what the store was known to have: they are another worker's."""
        self._beside.wait()
        self._waiting.clear()
        self._versions.clear()
        self._left.clear()
        self._coming = None

    def _append_next(self) -> None:
        from_s, append = self._clock.monotonic_s(), self._left[0]
        self._rows.append_once(
            append.table, append.rows, versions=append.versions, before=append.before
        )
        self._versions.update({(append.table, each): n for each, n in append.versions.items()})
        self._left.pop(0)
        self._seconds += self._clock.monotonic_s() - from_s

    def _try(self) -> None:
        try:
            while self._left:
                self._append_next()
        except Exception:  # it comes again where somebody can act on it
            return
