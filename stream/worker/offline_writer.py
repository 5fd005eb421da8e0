"""The offline writer: rows wait, are appended together beside the next batches, and are confirmed.

A background append tries each table once. What fails there the worker does itself when it confirms
the append: with the usual pauses and errors, in its own thread. The store takes rows once however
often they are sent (`append_once`), so it doesn't matter how far the background append came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import pyarrow as pa

from claimtrace.clock import Clock

from ..group.group import Checkpoint
from ..journal.plan import TopicPartition
from ..offline_rows.rows import BatchRows, PendingRows
from .parts import Rows


class Stored(NamedTuple):
    """The result of a confirmed append: rows up to `plan` are stored, and the partitions are at
    these checkpoints."""

    plan: int
    checkpoints: Mapping[TopicPartition, Checkpoint]


class _Append(NamedTuple):
    """The rows of one table, with the versions of their writers before and after."""

    table: str
    rows: pa.Table
    versions: Mapping[str, int]
    before: Mapping[str, int]


class OfflineWriter:
    """Collects rows, appends them, and confirms the append.

    Args:
        rows: the offline store.
        retry: runs work until it succeeds.
        executor: runs the append in the background; None: it runs when it is confirmed.
        clock: measures appends.
        appended: told the seconds that an append took.
    """

    def __init__(
        self,
        rows: Rows,
        retry: Callable[[Callable[[], Any]], Any],
        executor: Executor | None,
        clock: Clock,
        appended: Callable[[float], None],
    ) -> None:
        self._rows, self._retry, self._executor = rows, retry, executor
        self._clock, self._appended = clock, appended
        self._waiting: dict[str, PendingRows] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._left: list[_Append] = []
        self._coming: Stored | None = None
        self._background: Future[None] | None = None
        self._seconds = 0.0

    def __bool__(self) -> bool:
        """Whether rows wait for an append."""
        return bool(self._waiting)

    @property
    def is_appending(self) -> bool:
        """Whether an append was started and not confirmed yet."""
        return self._coming is not None

    @property
    def is_ready(self) -> bool:
        """Whether the append can be confirmed without a wait."""
        return self._coming is not None and (self._background is None or self._background.done())

    def add(self, table: str, rows: BatchRows) -> None:
        """Keep the rows of a batch for the next append."""
        self._waiting.setdefault(table, PendingRows(table)).add(rows)

    def version(self, table: str, writer: str) -> int:
        """Return the last plan whose rows of a writer are stored; the store is asked once."""
        if (table, writer) not in self._versions:
            self._join()
            found = self._retry(lambda: self._rows.committed(table, writer))
            self._versions[table, writer] = found
        return self._versions[table, writer]

    def start(self, writers: Collection[str], coming: Stored) -> None:
        """Start the append of all rows that wait; the append before must be confirmed."""
        assert self._coming is None, "one at a time"
        versions = dict.fromkeys(writers, coming.plan)
        self._left = [
            _Append(table, waiting.rows(), versions, {w: self.version(table, w) for w in versions})
            for table, waiting in sorted(self._waiting.items())
        ]
        self._waiting.clear()
        self._coming, self._seconds = coming, 0.0
        if self._left and self._executor is not None:
            self._background = self._executor.submit(self._append_in_background)

    def confirm(self) -> Stored | None:
        """Finish the append that was started and return what it stored; None when there is none.

        Raises:
            Superseded: another worker has stored the rows.
        """
        if self._coming is None:
            return None
        self._retry(self._join)  # it doesn't fail; but a call to a store may last
        while self._left:
            self._retry(self._append_next)
        self._appended(self._seconds)
        stored, self._coming = self._coming, None
        return stored

    def drop(self) -> None:
        """Forget all rows and the versions read: other workers own the partitions now."""
        self._join()
        self._waiting.clear()
        self._versions.clear()
        self._left.clear()
        self._coming = None

    def _join(self) -> None:
        """Wait for the background append; afterwards only this thread touches `_left`."""
        if self._background is not None:
            self._background.result()
            self._background = None

    def _append_next(self) -> None:
        from_s, append = self._clock.monotonic_s(), self._left[0]
        self._rows.append_once(
            append.table, append.rows, versions=append.versions, before=append.before
        )
        self._versions.update({(append.table, each): n for each, n in append.versions.items()})
        self._left.pop(0)
        self._seconds += self._clock.monotonic_s() - from_s

    def _append_in_background(self) -> None:
        try:
            while self._left:
                self._append_next()
        except Exception:  # `confirm` meets the same error where the worker can act on it
            return
