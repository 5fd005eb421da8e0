"""Turn each row of a table into an event and its label, or refuse it, naming the cell and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from claimtrace.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, duration_ms
from claimtrace.encoding.missing_values import MISSING_VALUES
from claimtrace.events import SCHEMA_VERSION, Outgoing
from claimtrace.ids import partition_of
from claimtrace.limits import EVENT_TIME_MIN_MS, FUTURE_REFUSED_MS, FUTURE_TOLERANCE_MS

from .cells import Numbers, Reader, Unreadable, boolean, is_blank, text_of, text_reader, without
from .event_check import EventCheck, RefusedEvent
from .mapping import DelayColumn, FieldColumn, LabelColumn, ReplayMapping, TimeColumn
from .mapping_check import KnownEvents
from .report import ReplayReport
from .times import FIRST_MS, iso, spelled, time_reader, unit_hint

_DELAY_MS: Final = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_MAX_DELAY_DIGITS: Final = 12
_SHORT_ID: Final = 100
"""The label of an event with an id up to this differs from others in nothing to be checked."""
_SHOWN_CHARS: Final = 60


class RowBatch(NamedTuple):
    """Consecutive rows of a table: `columns[name][i]` is row `first_row + i`, counted from 1.

    `faults` says of a row, by its index in the batch, why it isn't one of the table.
    """

    first_row: int
    columns: dict[str, list[Any]]
    faults: Mapping[int, str] = {}


class Row(NamedTuple):
    """A row as its event, with the time of arrival in ms, and its label if it has one."""

    arrival_ms: int
    event: Outgoing
    label: Outgoing | None


class RefusedRow(NamedTuple):
    """A row that isn't an event: the cell that can't be read, and why."""

    row: int
    column: str
    value: Any
    reason: str
    why: str
    hint: str
    cells: dict[str, Any]

    @property
    def words(self) -> str:
        """The refusal in words."""
        shown = repr(self.value)
        shown = shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "..."
        column = f", column {self.column}: {shown}" if self.column else ":"
        return f"row {self.row}{column} {self.why} ({self.reason})"


class RowReader:
    """Reads the rows of one table.

    Args:
        mapping: of `mapping_check.checked`.
        known: the domain's event types.
        partitions: of the topics written; -1: the sink chooses by the key.
        report: counts rows, and rows without a label.
        where: the mapping's file, for errors.
    """

    def __init__(
        self, mapping: ReplayMapping, known: KnownEvents, partitions: int, report: ReplayReport,
        where: str,
    ) -> None:  # fmt: skip
        self._mapping, self._known, self._report = mapping, known, report
        numbers = Numbers(mapping.decimal, mapping.thousands)
        everywhere, zone = frozenset(mapping.missing), mapping.zone
        self._fields = mapping.field_columns
        self._id_field = mapping.id_field
        self._readers = {
            name: without(everywhere | set(each.missing), self._reader(each, numbers, where))
            for name, each in self._fields.items()
        }
        self._time = _TimeCell(
            mapping.time, without(everywhere, time_reader(mapping.time, numbers, zone, where))
        )
        self._arrival: _TimeCell | None = None
        if (when := mapping.arrival) is not None:
            reader = without(everywhere, time_reader(when, numbers, zone, where))
            self._arrival = _TimeCell(when, reader)
        self._id_column = self._fields[self._id_field].column
        self._missing = everywhere
        self._delay = _delay_reader(mapping.label, numbers)
        self._outcome_field = known.outcome_field if mapping.topic == known.label_topic else ""
        self._checks = EventCheck(known)
        by_key = partitions < 0
        self._checked_outcomes: set[str] = set()
        self._partition = lru_cache(maxsize=1 << 17)(
            lambda key: -1 if by_key else partition_of(key, partitions)
        )

    def _reader(self, column: FieldColumn, numbers: Numbers, where: str) -> Reader:
        if column.kind == "time":
            read = time_reader(column.time, numbers, self._mapping.zone, where)
            return lambda value: None if (at_ms := read(value)) is None else spelled(value, at_ms)
        if column.kind == "cents":
            return numbers.cents(column.scale)
        simple: dict[str, Reader] = {
            "integer": numbers.integer, "number": numbers.number, "boolean": boolean,
        }  # fmt: skip
        return simple.get(column.kind) or text_reader(column.prefix)

    def rows(self, batch: RowBatch, now_ms: int) -> Iterator[Row | RefusedRow]:
        """Yield each row in table order.

        Args:
            batch: has all columns of the mapping.
            now_ms: the machine's time; rows ahead of it are refused.
        """
        columns = [
            (name, self._fields[name].column, batch.columns[self._fields[name].column], read)
            for name, read in self._readers.items()
        ]
        for index in range(len(next(iter(batch.columns.values())))):
            self._report.rows += 1
            try:
                if index in batch.faults:
                    raise _Bad("", None, Unreadable("bad_type", batch.faults[index]))
                found: Row | RefusedRow = self._row(batch, index, columns, now_ms)
            except _Bad as bad:
                cells = {name: column[index] for name, column in batch.columns.items()}
                why = bad.error
                found = RefusedRow(batch.first_row + index, bad.column, bad.value, why.reason,
                                   why.why, why.hint, cells)  # fmt: skip
            yield found

    def _row(
        self, batch: RowBatch, index: int, columns: list[tuple[str, str, list[Any], Reader]],
        now_ms: int,
    ) -> Row:  # fmt: skip
        mapping, time, arrival = self._mapping, self._time, self._arrival
        column, value = time.column, time.cell(batch, index)
        try:
            arrival_ms = event_ms = time.read(value, now_ms)
            if arrival is not None:
                column, value = arrival.column, arrival.cell(batch, index)
                arrival_ms = arrival.read(value, now_ms)
                if event_ms > arrival_ms + FUTURE_REFUSED_MS:
                    why = "is more than a day before the event's own time"
                    raise Unreadable("time_out_of_range", why)
            fields: dict[str, Any] = dict(mapping.constants)
            if time.field:
                fields[time.field] = iso(event_ms)
            for name, column, cells, read in columns:  # noqa: B007 - `column` is for the error
                value = cells[index]
                if value is None or (value.__class__ is str and not value):
                    continue  # missing: the field is left out, never guessed
                made = value if read is text_of and value.__class__ is str else read(value)
                if made is not None:
                    fields[name] = made
            column, value = self._id_column, fields.get(self._id_field)
            if value is None or value.casefold() in MISSING_VALUES:
                raise Unreadable("bad_id", "is no id")
            fields["schema_version"] = SCHEMA_VERSION
            arrival_ms = min(arrival_ms, now_ms)
            column, value = "", None
            key = fields.get(mapping.key)
            event = self._outgoing(mapping.topic, fields, arrival_ms, key)
            label = None
            if mapping.label is not None:
                column = mapping.label.column
                value = batch.columns[column][index]
                label = self._label(mapping.label, value, batch, index, fields, arrival_ms, now_ms)
            if self._outcome_field:
                self._count_outcome(fields.get(self._outcome_field))
            return Row(arrival_ms, event, label)
        except Unreadable as error:
            raise _Bad(column, value, error) from None
        except RefusedEvent as refused:
            column = self._column_of(refused.field) or column
            raise _Bad(column, refused.value, refused.error) from None

    def _label(
        self, label: LabelColumn, value: Any, batch: RowBatch, index: int, fields: dict[str, Any],
        arrival_ms: int, now_ms: int,
    ) -> Outgoing | None:  # fmt: skip
        """Make the row's label; count the row where it has none."""
        text = text_of(value)
        outcome = None if text is None else label.values.get(text)
        if outcome is None and not isinstance(value, str):  # as older versions spelt it: 1.0, True
            outcome = label.values.get(str(value))
        if outcome is None:
            if is_blank(value) or text in self._missing:
                self._report.label_missing += 1
            else:
                self._report.label_texts.add(str(text))
            return None
        delay_ms = self._delay(batch, index)
        if delay_ms is None:
            self._report.label_delay_missing += 1
            return None
        at_ms = arrival_ms + delay_ms
        if at_ms > now_ms:
            self._report.label_ahead += 1
            return None
        event_id = fields[self._id_field]
        content = {
            **label.constants,
            label.id_field: f"label-{event_id}",
            label.time_field: iso(at_ms),
            label.event_id_field: event_id,
            label.outcome_field: outcome,
            "schema_version": SCHEMA_VERSION,
        }
        key = fields.get(self._mapping.key)
        self._count_outcome(outcome)
        is_new = outcome not in self._checked_outcomes or len(event_id) > _SHORT_ID
        self._checked_outcomes.add(outcome)
        return self._outgoing(label.topic, content, at_ms, key, check=is_new)

    def _count_outcome(self, outcome: Any) -> None:
        known = self._known.outcomes
        if known and outcome is not None and outcome not in known:
            self._report.other_outcomes.add(str(outcome))

    def _outgoing(
        self, topic: str, fields: dict[str, Any], log_time_ms: int, key: Any, *, check: bool = True
    ) -> Outgoing:
        """Encode an event, and check it as a worker will: what it would refuse is refused here."""
        text = "" if key is None else str(key)
        value = self._checks.encoded(topic, fields, log_time_ms, check=check)
        return Outgoing(topic, self._partition(text), text.encode() or None, value, log_time_ms)

    def _column_of(self, field: str) -> str:
        if field == self._mapping.time.field:
            return self._mapping.time.column
        return self._fields[field].column if field in self._fields else ""


class _TimeCell:
    """The event's time or its arrival, which must not be ahead of the machine's clock."""

    def __init__(self, when: TimeColumn, reader: Reader) -> None:
        self._when, self._reader = when, reader
        self.field = when.field
        self.column = "" if when.unit == "row" else when.column
        self._from_ms = EVENT_TIME_MIN_MS if self.column or when.field else FIRST_MS

    def cell(self, batch: RowBatch, index: int) -> Any:
        """Return the cell of a row; its number from 0 on for undated tables."""
        return batch.columns[self.column][index] if self.column else batch.first_row - 1 + index

    def read(self, value: Any, now_ms: int) -> int:
        """Read the time in ms."""
        at_ms: int | None = self._reader(value)
        if at_ms is None:
            raise Unreadable("bad_time", "is no time")
        if self._from_ms <= at_ms <= now_ms + FUTURE_TOLERANCE_MS:
            return at_ms
        why = "is before 1990" if at_ms < self._from_ms else "is ahead of this machine's clock"
        raise Unreadable("time_out_of_range", why, unit_hint(value, self._when))


class _Bad(Exception):
    """A row that can't be read, with the column and the cell at fault."""

    def __init__(self, column: str, value: Any, error: Unreadable) -> None:
        super().__init__(column)
        self.column, self.value, self.error = column, value, error


def _delay_reader(
    label: LabelColumn | None, numbers: Numbers
) -> Callable[[RowBatch, int], int | None]:
    """Return a function that gives the delay of a row's label in ms; None when it has none."""
    delay = label.delay if label is not None else "0s"
    if not isinstance(delay, DelayColumn):
        always_ms = duration_ms(delay)
        return lambda batch, index: always_ms  # noqa: ARG005
    unit, column = Decimal(_DELAY_MS[delay.unit]), delay.column

    def read(batch: RowBatch, index: int) -> int | None:
        value = batch.columns[column][index]
        try:
            exact = numbers.exact(value)
            if exact is None:
                return None
            if exact < 0:
                raise Unreadable("bad_time", "is a delay of less than nothing")
            if exact.adjusted() > _MAX_DELAY_DIGITS:
                raise Unreadable("out_of_range", "is too long for a delay")
        except Unreadable as error:
            raise _Bad(column, value, error) from None
        return round(exact * unit)

    return read
