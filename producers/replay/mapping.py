"""The mapping of a table to events, declared as TOML or as a Python dict.

topic = "claims.filed"
key = "policy_id"                      # the field whose value is the record's key
time = { field = "filed_at", column = "Date", unit = "iso" }
constants = { currency = "USD" }

[fields]                               # field = column, or a table with its settings
claim_id = "ClaimNumber"
total_claim_cents = { column = "Amount", kind = "cents" }

[label]                                # the outcome, known `delay` after the event's arrival
column = "FraudFound"
values = { "1" = "fraud", "0" = "legit" }
delay = "30d"
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

Kind = Literal["text", "integer", "number", "cents"]
TimeUnit = Literal["iso", "ms", "s", "days", "row"]


class FieldColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column of a field and its type. `cents` multiplies by `scale` exactly, in decimals."""

    column: str
    kind: Kind = "text"
    scale: int = 100
    prefix: str = ""
    """Put before a text, so that ids of different tables differ."""


class TimeColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column of a time and its unit.

    `iso`: ISO 8601, or the strptime pattern in `format`; UTC without a zone. `ms`, `s`, `days`:
    numbers since `origin`. `row`: for undated tables, `origin` plus the row's number (from 0) times
    `every`.
    """

    field: str = ""
    column: str = ""
    unit: TimeUnit = "iso"
    format: str = ""
    origin: str = "1970-01-01T00:00:00+00:00"
    every: str = "1m"


class LabelColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outcome column, sent as an event `delay` after the arrival of the row's own event."""

    column: str
    values: dict[str, str]
    """Outcome by column text; rows with another text get no label."""
    delay: str
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
    """The field with the event's id, needed for labels; the first field by default."""
    arrival: TimeColumn | None = None
    """When the event became known; its own time by default."""
    constants: dict[str, Any] = {}
    label: LabelColumn | None = None
    sort: bool = False
    """Sort by arrival first. Holds the table in memory, so the number of rows is limited."""
    max_sort_rows: int = 5_000_000

    def columns(self) -> list[str]:
        """List the columns that the mapping reads, each once, in order."""
        named = [each if isinstance(each, str) else each.column for each in self.fields.values()]
        times = [when for when in (self.time, self.arrival) if when is not None]
        named.extend(when.column for when in times if when.unit != "row")
        if self.label is not None:
            named.append(self.label.column)
        return list(dict.fromkeys(named))


def load_mapping(source: bytes | dict[str, Any], where: str = "") -> ReplayMapping:
    """Read a mapping from TOML bytes or a dict.

    Args:
        source: the mapping.
        where: its file, for errors.

    Raises:
        ConfigError: unknown or missing keys, wrong types, an invalid duration.

    >>> table = {"topic": "t", "key": "a", "time": {"column": "T"}, "fields": {"a": "A"}}
    >>> load_mapping(table).columns()
    ['A', 'T']
    """
    try:
        tree = tomllib.loads(source.decode()) if isinstance(source, bytes) else source
        mapping = msgspec.convert(tree, ReplayMapping)
        if mapping.label is not None:
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
    return mapping
