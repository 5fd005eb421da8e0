"""Turn the rows of a table into records in order of arrival."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count

from claimtrace.errors import ConfigError, UsageError
from claimtrace.events import Outgoing
from claimtrace.ids import partition_of
from claimtrace.refusals import REASONS

from .dead_rows import dead_row
from .mapping import ReplayMapping
from .mapping_check import KnownEvents, checked
from .report import ReplayReport
from .rows import RefusedRow, Row, RowBatch, RowReader

__all__ = ["BY_KEY", "Replay", "RowBatch"]

_FIXES = {"time_out_of_range": "correct the time in the file"}
"""Fixes that say it better for a table than the hints of dead letters."""

BY_KEY = -1
"""Instead of a number of partitions: the sink chooses a record's partition by its key."""


class Replay:
    """Turns the rows of one table into records.

    Args:
        mapping: of columns to fields.
        known: the domain's event types.
        partitions: number of partitions of the topics written, or `BY_KEY`.
        now_ms: returns the machine's time; rows and labels ahead of it are no events yet.
        where: the table's file, for errors.
        mapping_where: the mapping's file, for errors.

    Attributes:
        report: counts of what was read and made so far.

    Raises:
        ConfigError: the mapping doesn't fit the event types; see `mapping_check.checked`.
    """

    def __init__(
        self,
        mapping: ReplayMapping,
        known: KnownEvents,
        partitions: int,
        now_ms: Callable[[], int],
        where: str = "",
        mapping_where: str = "",
    ) -> None:
        self._mapping = checked(mapping, known, mapping_where or where)
        self._where = where
        self._now_ms = now_ms
        self._partitions = partitions
        self.report = ReplayReport()
        self._reader = RowReader(self._mapping, known, partitions, self.report,
                                 mapping_where or where)  # fmt: skip

    def records(self, batches: Iterable[RowBatch]) -> Iterator[Outgoing]:
        """Yield the events and their labels; log times never decrease, nor pass the clock's.

        Without `sort` the table's order is the order of arrival, and a row after one with a later
        time is a late event. Labels wait in memory until their time; those that still wait after
        the last row are yielded then. With `on_bad_row = "dead"` a row that is no event is yielded
        as a dead letter, where it stands.

        Raises:
            UsageError: a row is no event; names file, row and column.
            ConfigError: the table is too long to sort.
        """
        events = self.report.events
        waiting: list[tuple[int, int, Outgoing]] = []
        number = count()
        latest_ms = -(2**62)
        for row in self._in_order(batches):
            if isinstance(row, RefusedRow):
                yield self._dead(row)
                continue
            latest_ms = max(latest_ms, row.arrival_ms)
            while waiting and waiting[0][0] <= latest_ms:
                label = heapq.heappop(waiting)[2]
                events[label.topic] += 1
                yield label
            events[row.event.topic] += 1
            yield _at(row.event, latest_ms)
            if row.label is not None:
                # numbered, so that labels of one time keep their order and are never compared
                at_ms = max(row.label.log_time_ms, latest_ms)
                heapq.heappush(waiting, (at_ms, next(number), _at(row.label, at_ms)))
        while waiting:
            label = heapq.heappop(waiting)[2]
            events[label.topic] += 1
            yield label

    def _in_order(self, batches: Iterable[RowBatch]) -> Iterator[Row | RefusedRow]:
        """Yield all rows, sorted by arrival if the mapping asks so; refused ones come at once."""
        rows = chain.from_iterable(self._reader.rows(each, self._now_ms()) for each in batches)
        if not self._mapping.sort:
            for row in rows:
                yield row if isinstance(row, Row) else self._refused(row)
            return
        held: list[Row] = []
        for row in rows:
            if isinstance(row, RefusedRow):
                yield self._refused(row)
                continue
            held.append(row)
            if len(held) > self._mapping.max_sort_rows:
                raise ConfigError(
                    f"more than {self._mapping.max_sort_rows} rows to sort",
                    where=self._where,
                    hint="sort the file by time, or raise max_sort_rows if memory allows",
                )
        held.sort(key=lambda row: row.arrival_ms)  # stable: ties keep the table's order
        yield from held

    def _refused(self, row: RefusedRow) -> RefusedRow:
        """Count a refused row; raise it if it stops the replay."""
        self.report.refuse(row.reason, row.words)
        if self._mapping.on_bad_row == "stop":
            raise _stop(row, self._where)
        return row

    def _dead(self, row: RefusedRow) -> Outgoing:
        partition = BY_KEY
        if self._partitions != BY_KEY:
            partition = partition_of(str(row.row), self._partitions)
        return dead_row(row, self._mapping.topic, self._where, partition, self._now_ms())


def _at(record: Outgoing, log_time_ms: int) -> Outgoing:
    """Return the record with a log time; most have it already."""
    if record.log_time_ms == log_time_ms:
        return record
    return record._replace(log_time_ms=log_time_ms)


def _stop(row: RefusedRow, where: str) -> UsageError:
    """Return the error of a replay that a row has stopped."""
    shown = repr(row.value)
    shown = shown if len(shown) <= 80 else shown[:80] + "..."
    column = f" column {row.column}" if row.column else ""
    fix = _FIXES.get(row.reason) or REASONS[row.reason]
    return UsageError(
        f"can't read {shown if row.column else 'the row'}: it {row.why} ({row.reason})",
        where=f"{where} row {row.row}{column}",
        hint=row.hint or f"{fix}; on_bad_row = 'dead' in the mapping goes on without such rows",
    )
