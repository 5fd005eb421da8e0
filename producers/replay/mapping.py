"""The mapping of a table to events, declared as TOML or as a Python dict.

topic = "claims.filed"
key = "policy_id"                      # the field whose value is the record's key
time = { field = "filed_at", column = "Date", unit = "iso" }
constants = { currency = "USD" }
delimiter = ";"                        # of a CSV file; with encoding, decimal, thousands, zone

[fields]                               # field = column, or a table with its settings
claim_id = "ClaimNumber"
total_claim_cents = { column = "Amount", kind = "cents" }

[label]                                # the outcome, known `delay` after the event's arrival
column = "FraudFound"
values = { "1" = "fraud", "0" = "legit" }
delay = "30d"                          # or { column = "DaysToVerdict", unit = "d" }
topic = "claims.adjudicated"
id_field = "adjudication_id"
time_field = "decided_at"
event_id_field = "claim_id"
"""

from __future__ import annotations

import tomllib
from typing import Any, Literal

import msgspec

from claimtrace.clock import duration_ms
from claimtrace.errors import ConfigError

Kind = Literal["", "text", "integer", "number", "cents", "time", "boolean"]
TimeUnit = Literal["iso", "ns", "us", "ms", "s", "days", "row"]
DelayUnit = Literal["ms", "s", "m", "h", "d"]

_EPOCH = "1970-01-01"
_MAX_MISSING = 1000


class FieldColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column of a field and its kind.

    Without a kind, the event's field decides between text, time and boolean; for its numbers the
    kind must be said. `cents` multiplies by `scale` exactly. `unit`, `format`, `origin` and `zone`
    are those of a time, as in `TimeColumn`.
    """

    column: str
    kind: Kind = ""
    scale: int = 100
    prefix: str = ""
    """Put before a text, so that ids of different tables differ."""
    missing: list[str] = []
    """Texts that mean "no value" in this column, beside those of `ReplayMapping.missing`."""
    unit: TimeUnit = "iso"
    format: str = ""
    origin: str = _EPOCH
    zone: str = ""

    @property
    def time(self) -> TimeColumn:
        """The column as a time."""
        return TimeColumn(column=self.column, unit=self.unit, format=self.format,
                          origin=self.origin, zone=self.zone)  # fmt: skip


class TimeColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column of a time and its unit.

    `iso`: ISO 8601, a date alone included, or the strptime pattern in `format`; a time without a
    zone is of `zone`, else of the mapping's zone, else UTC. `ns`, `us`, `ms`, `s`, `days`: numbers
    since `origin`. `row`: for undated tables, `origin` plus the row's number (from 0) times
    `every`.
    """

    field: str = ""
    column: str = ""
    unit: TimeUnit = "iso"
    format: str = ""
    origin: str = _EPOCH
    every: str = "1m"
    zone: str = ""


class DelayColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column with the time from the event's arrival to its outcome, a number of `unit`."""

    column: str
    unit: DelayUnit = "d"


class LabelColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outcome column, sent as an event `delay` after the arrival of the row's own event."""

    column: str
    values: dict[str, str]
    """Outcome by column text; rows with another text get no label, and are counted."""
    delay: str | DelayColumn
    topic: str
    id_field: str
    time_field: str
    event_id_field: str
    outcome_field: str = "outcome"
    constants: dict[str, Any] = {}


class ReplayMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mapping of one table."""

    topic: str
    key: str
    time: TimeColumn
    fields: dict[str, str | FieldColumn]
    id_field: str = ""
    """The field with the event's id; the one of the event type by default."""
    arrival: TimeColumn | None = None
    """When the event became known; its own time by default."""
    constants: dict[str, Any] = {}
    label: LabelColumn | None = None
    sort: bool = False
    """Sort by arrival first. Holds the table in memory, so the number of rows is limited."""
    max_sort_rows: int = 5_000_000
    delimiter: str = ","
    """Between the cells of a CSV file."""
    encoding: str = "utf-8"
    """Of a CSV file, such as `latin-1` or `utf-16`: a name that Python knows."""
    decimal: str = ""
    """The sign before decimals; a point by default, and then `1.234` is refused as an amount."""
    thousands: str = ""
    """The sign between groups of three digits; none by default."""
    zone: str = ""
    """The zone of times that have none, such as `America/New_York`; UTC by default."""
    missing: list[str] = []
    """Texts that mean "no value" in every column, beside the usual ones."""
    on_bad_row: Literal["stop", "dead"] = "stop"
    """A row that can't be read ends the replay, or goes to the dead-letter topic."""

    def columns(self) -> list[str]:
        """List the columns that the mapping reads, each once, in order."""
        named = [each.column for each in self.field_columns.values()]
        times = [when for when in (self.time, self.arrival) if when is not None]
        named.extend(when.column for when in times if when.unit != "row")
        if self.label is not None:
            named.append(self.label.column)
            if isinstance(self.label.delay, DelayColumn):
                named.append(self.label.delay.column)
        return list(dict.fromkeys(named))

    @property
    def field_columns(self) -> dict[str, FieldColumn]:
        """The columns of all fields, with their settings."""
        return {
            name: FieldColumn(each) if isinstance(each, str) else each
            for name, each in self.fields.items()
        }


def load_mapping(source: bytes | dict[str, Any], where: str = "") -> ReplayMapping:
    """Read a mapping from TOML bytes, with or without a byte order mark, or from a dict.

    Whether it fits an event type is for `producers.replay.mapping_check` to say.

    Args:
        source: the mapping.
        where: its file, for errors.

    Raises:
        ConfigError: unknown or missing keys, wrong types, an invalid duration or notation.

    >>> table = {"topic": "t", "key": "a", "time": {"column": "T"}, "fields": {"a": "A"}}
    >>> load_mapping(table).columns()
    ['A', 'T']
    """
    try:
        tree = tomllib.loads(_text(source)) if isinstance(source, bytes) else source
        mapping = msgspec.convert(tree, ReplayMapping)
        if mapping.label is not None and isinstance(mapping.label.delay, str):
            duration_ms(mapping.label.delay)
        for when in (mapping.time, mapping.arrival):
            if when is not None:
                duration_ms(when.every)
    except ValueError as error:  # of TOML, of UTF-8, of msgspec, of a duration
        raise ConfigError(f"not a mapping: {error}", where=where) from error
    if mapping.key not in mapping.fields:
        raise ConfigError(f"key {mapping.key!r} is not one of the fields", where=where)
    if mapping.id_field and mapping.id_field not in mapping.fields:
        raise ConfigError(f"id_field {mapping.id_field!r} is not one of the fields", where=where)
    for when in (mapping.time, mapping.arrival):
        if when is not None and when.unit != "row" and not when.column:
            raise ConfigError("a time needs a column, or unit = 'row'", where=where)
    for wrong in _wrong_notation(mapping):
        raise ConfigError(wrong, where=where)
    return mapping


def _text(source: bytes) -> str:
    """Decode a TOML file; editors of Windows write a byte order mark, or UTF-16."""
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("the file is UTF-16: save it as UTF-8")
    return source.decode("utf-8-sig")


def _wrong_notation(mapping: ReplayMapping) -> list[str]:
    """Return what is wrong with the notation of files, numbers and patterns."""
    found = []
    if len(mapping.delimiter) != 1 or mapping.delimiter in '"\r\n\0':
        found.append(f"delimiter {mapping.delimiter!r} is not one character")
    try:
        "a".encode(mapping.encoding)
    except (LookupError, ValueError):
        found.append(f"there is no encoding {mapping.encoding!r}: such as utf-8, latin-1, utf-16")
    for name in ("decimal", "thousands"):
        sign = getattr(mapping, name)
        if sign and (len(sign) != 1 or sign.isalnum() or sign in "+-"):
            found.append(f"{name} {sign!r} is not one sign, such as ',' or '.'")
    if mapping.thousands and mapping.thousands == (mapping.decimal or "."):
        found.append(f"decimal and thousands are both {mapping.thousands!r}: say both")
    for name, each in mapping.field_columns.items():
        if each.scale < 1:
            found.append(f"{name}: scale {each.scale} is not 1 or more")
        if each.unit == "row":
            found.append(f"{name}: only the event's own time can have unit = 'row'")
    if len(mapping.missing) > _MAX_MISSING:
        found.append(f"more than {_MAX_MISSING} texts are missing values")
    return found
