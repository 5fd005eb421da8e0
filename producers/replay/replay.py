"""Turn the rows of a table into records in order of arrival, at a chosen speed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from claimtrace.clock import DAY_MS, SECOND_MS, Clock, duration_ms
from claimtrace.errors import ConfigError, UsageError
from claimtrace.events import EPOCH, SCHEMA_VERSION, Outgoing
from claimtrace.ids import partition_of

from .mapping import FieldColumn, ReplayMapping, TimeColumn

_encode = msgspec.json.Encoder().encode
_UNIT_MS: Final = {"ms": 1, "s": SECOND_MS, "days": DAY_MS}


class RowBatch(NamedTuple):
    """Consecutive rows of a table: `columns[name][i]` is row `first_row + i`, counted from 1."""

    first_row: int
    columns: dict[str, list[Any]]


class Replay:
    """Turns the rows of one table into records.

    Args:
        mapping: of columns to fields.
        partitions: number of partitions of the topics written.
        where: the file, for errors.
    """

    def __init__(self, mapping: ReplayMapping, partitions: int, where: str = "") -> None:
        self._mapping = mapping
        self._where = where
        self._fields = {
            name: FieldColumn(each) if isinstance(each, str) else each
            for name, each in mapping.fields.items()
        }
        self._readers = {name: _reader(each) for name, each in self._fields.items()}
        self._times = {
            when: _time_reader(when, where)
            for when in (mapping.time, mapping.arrival)
            if when is not None
        }
        self._id_field = mapping.id_field or next(iter(mapping.fields))
        self._partition = lru_cache(maxsize=1 << 17)(lambda key: partition_of(key, partitions))

    def records(self, batches: Iterable[RowBatch]) -> Iterator[Outgoing]:
        """Yield the events and their labels; log times never decrease.

        Without `sort` the table's order is the order of arrival, and a row after one with a later
        time is a late event. Labels wait in memory until their time; those that still wait after
        the last row are yielded then.

        Raises:
            UsageError: a value can't be read; names file, row and column.
            ConfigError: a column is missing, or the table is too long to sort.
        """
        waiting: list[tuple[int, int, Outgoing]] = []
        number = count()
        latest_ms = -(2**62)
        for arrival_ms, event, label in self._in_order(batches):
            latest_ms = max(latest_ms, arrival_ms)
            while waiting and waiting[0][0] <= latest_ms:
                yield heapq.heappop(waiting)[2]
            yield event._replace(log_time_ms=latest_ms)
            if label is not None:
                # numbered, so that labels of one time keep their order and are never compared
                at_ms = max(label.log_time_ms, latest_ms)
                heapq.heappush(waiting, (at_ms, next(number), label._replace(log_time_ms=at_ms)))
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _in_order(
        self, batches: Iterable[RowBatch]
    ) -> Iterator[tuple[int, Outgoing, Outgoing | None]]:
        """Yield arrival, event and label of each row, sorted by arrival if the mapping asks so."""
        rows = (row for batch in batches for row in self._rows(batch))
        if not self._mapping.sort:
            yield from rows
            return
        held: list[tuple[int, Outgoing, Outgoing | None]] = []
        for row in rows:
            held.append(row)
            if len(held) > self._mapping.max_sort_rows:
                raise ConfigError(
                    f"more than {self._mapping.max_sort_rows} rows to sort",
                    where=self._where,
                    hint="sort the file by time, or raise max_sort_rows if memory allows",
                )
        held.sort(key=lambda row: row[0])  # stable: ties keep the table's order
        yield from held

    def _rows(self, batch: RowBatch) -> Iterator[tuple[int, Outgoing, Outgoing | None]]:
        """Yield arrival, event and label of each row, in table order."""
        mapping = self._mapping
        missing = [name for name in mapping.columns() if name not in batch.columns]
        if missing:
            raise ConfigError(
                f"there is no column {', '.join(missing)}",
                where=self._where,
                hint="it has " + ", ".join(batch.columns),
            )
        readers = [
            (name, batch.columns[self._fields[name].column], read)
            for name, read in self._readers.items()
        ]
        rows_count = len(next(iter(batch.columns.values())))
        for index in range(rows_count):
            row = batch.first_row + index
            event_ms = self._time(mapping.time, batch, index, row)
            arrival_ms = event_ms
            if mapping.arrival is not None:
                arrival_ms = self._time(mapping.arrival, batch, index, row)
            fields: dict[str, Any] = dict(mapping.constants)
            if mapping.time.field:
                fields[mapping.time.field] = iso(event_ms)
            for name, column, read in readers:
                value = column[index]
                if value is None or value == "":
                    continue  # missing: the field is left out, never guessed
                try:
                    fields[name] = read(value)
                except (ValueError, ArithmeticError) as error:
                    raise self._unreadable(row, self._fields[name].column, value) from error
            fields["schema_version"] = SCHEMA_VERSION
            event = self._outgoing(mapping.topic, fields, fields.get(mapping.key), arrival_ms)
            yield arrival_ms, event, self._label(batch, index, fields, arrival_ms)

    def _label(
        self, batch: RowBatch, index: int, fields: dict[str, Any], arrival_ms: int
    ) -> Outgoing | None:
        label = self._mapping.label
        if label is None:
            return None
        outcome = label.values.get(_text(batch.columns[label.column][index]))
        event_id = fields.get(self._id_field)
        if outcome is None or event_id is None:
            return None
        at_ms = arrival_ms + duration_ms(label.delay)
        content = {
            **label.constants,
            label.id_field: f"label-{event_id}",
            label.time_field: iso(at_ms),
            label.event_id_field: event_id,
            label.outcome_field: outcome,
            "schema_version": SCHEMA_VERSION,
        }
        return self._outgoing(label.topic, content, fields.get(self._mapping.key), at_ms)

    def _outgoing(self, topic: str, fields: dict[str, Any], key: Any, log_time_ms: int) -> Outgoing:
        text = "" if key is None else str(key)
        partition = self._partition(text)
        return Outgoing(topic, partition, text.encode() or None, _encode(fields), log_time_ms)

    def _time(self, when: TimeColumn, batch: RowBatch, index: int, row: int) -> int:
        value = row - 1 if when.unit == "row" else batch.columns[when.column][index]
        try:
            return self._times[when](value)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise self._unreadable(row, when.column, value) from error

    def _unreadable(self, row: int, column: str, value: Any) -> UsageError:
        return UsageError(
            f"can't read {value!r}",
            where=f"{self._where} row {row} column {column}",
            hint="fix the file, or the kind, unit or format in the mapping",
        )


def merge_by_arrival(*sources: Iterable[Outgoing]) -> Iterator[Outgoing]:
    """Merge replays by log time; at equal times the first source comes first."""
    return heapq.merge(*sources, key=lambda record: record.log_time_ms)


def paced(
    records: Iterable[Outgoing], clock: Clock, speed: float, batch_records: int = 1000
) -> Iterator[list[Outgoing]]:
    """Yield records in batches, `speed` times as fast as they arrived; 0 never waits.

    >>> from claimtrace.clock import ManualClock
    >>> clock = ManualClock()
    >>> two = [Outgoing("t", 0, None, b"", at) for at in (60_000, 120_000)]
    >>> [(len(batch), clock.now_ms()) for batch in paced(two, clock, speed=60)]
    [(1, 0), (1, 1000)]
    """
    if speed < 0:
        raise ConfigError(f"speed {speed} is negative", hint="0: as fast as possible; 1: real time")
    started_s = clock.monotonic_s()
    first_ms: int | None = None
    batch: list[Outgoing] = []
    for record in records:
        if first_ms is None:
            first_ms = record.log_time_ms
        if speed > 0:
            due_s = started_s + (record.log_time_ms - first_ms) / 1000 / speed
            if due_s > clock.monotonic_s():
                if batch:
                    yield batch
                    batch = []
                clock.sleep(max(0.0, due_s - clock.monotonic_s()))
        batch.append(record)
        if len(batch) >= batch_records:
            yield batch
            batch = []
    if batch:
        yield batch


def iso(time_ms: int) -> str:
    """Format a time as in events: ISO 8601 in UTC with milliseconds.

    >>> iso(1_522_540_831_000)
    '2018-04-01T00:00:31.000Z'
    """
    whole = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{time_ms % 1000:03d}Z"


def _reader(field: FieldColumn) -> Callable[[Any], Any]:
    """Return the function that reads a cell; None and empty text never reach it."""
    if field.kind == "text":
        return lambda value: field.prefix + _text(value)
    if field.kind == "integer":
        return _integer
    if field.kind == "number":
        return _number
    # decimals: a float times 100 would be off by one now and then
    scale = Decimal(field.scale)
    return lambda value: int(
        (Decimal(_text(value)) * scale).to_integral_value(rounding=ROUND_HALF_EVEN)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _integer(value: Any) -> int:
    exact = Decimal(_text(value))
    if exact != exact.to_integral_value():
        raise ValueError("not a whole number")
    return int(exact)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _time_reader(when: TimeColumn, where: str) -> Callable[[Any], int]:
    try:
        origin_ms = _datetime_ms(datetime.fromisoformat(when.origin))
    except ValueError as error:
        raise ConfigError(f"origin {when.origin!r} is not a date", where=where) from error
    if when.unit == "row":
        every_ms = duration_ms(when.every)
        return lambda row: origin_ms + row * every_ms
    if when.unit == "iso":
        return lambda value: _parse_time(value, when.format)
    unit = Decimal(_UNIT_MS[when.unit])
    return lambda value: (
        origin_ms + int((Decimal(_text(value)) * unit).to_integral_value(rounding=ROUND_HALF_EVEN))
    )


def _parse_time(value: Any, pattern: str) -> int:
    if isinstance(value, datetime):
        return _datetime_ms(value)
    text = _text(value).strip()
    if pattern:
        return _datetime_ms(datetime.strptime(text, pattern))  # `_datetime_ms` adds the zone
    return _datetime_ms(datetime.fromisoformat(text))


def _datetime_ms(when: datetime) -> int:
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
