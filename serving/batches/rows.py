"""A row of a file of claims: its own cells, and the JSON of the claim that it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from claimtrace.events import Event
from claimtrace.limits import MAX_BATCH_BYTES, MAX_BATCH_RECORDS

CHUNK_LINES: Final = 1_000
"""Lines that are answered, and kept, together: so many at the most are done again after a kill."""
_LONGEST_NUMBER: Final = 20

assert CHUNK_LINES <= MAX_BATCH_RECORDS


class Row(NamedTuple):
    """One line of a file of claims.

    Args:
        value: the claim as JSON, as it would be on the log.
        cells: the line's own fields, by name: values of JSON as they were written, or the cells of
            a table. Empty for a line that isn't an object.
        fault: why it isn't a row of its table; empty: it is one.
    """

    value: bytes
    cells: Mapping[str, Any]
    fault: str = ""


_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def row_of_json(line: bytes) -> Row:
    """Return the row of a line of NDJSON; the value stays as it was written.

    >>> bytes(row_of_json(b'{"a": 1.50}').cells["a"]), row_of_json(b"[").cells
    (b'1.50', {})
    """
    try:
        return Row(line, _object.decode(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Row(line, {})


class TableRows:
    """Makes rows of the cells of a table whose columns are named as an event's fields.

    A cell that is empty is a field that is left out. The text of a number is a number where the
    field is one; everything else stays a text, and the gate of the stream says what is wrong with
    it. Columns that the event doesn't have are no part of the claim.

    >>> class Ping(Event, topic="pings", id="ping_id", time="sent_at"):
    ...     ping_id: str
    ...     size: int | None = None
    >>> TableRows(["ping_id", "size", "note"], Ping).row(["a", "7", "x"]).value
    b'{"ping_id":"a","size":7}'
    """

    def __init__(self, columns: Sequence[str], kind: type[Event]) -> None:
        self.columns = list(columns)
        kinds = kinds_of(kind)
        self._kinds = [kinds.get(name) for name in self.columns]

    def row(self, cells: Sequence[Any]) -> Row:
        """Return a row; one with another number of cells than the header is a fault."""
        if len(cells) != len(self.columns):
            why = f"the row has {len(cells)} cells, the header has {len(self.columns)}"
            return Row(b"", dict(zip(self.columns, cells, strict=False)), why)
        fields = {
            name: made
            for name, kind, cell in zip(self.columns, self._kinds, cells, strict=True)
            if kind is not None and (made := _as_json(cell, kind)) is not None
        }
        value = msgspec.json.encode(fields, enc_hook=str)
        return Row(value, dict(zip(self.columns, cells, strict=True)))


def kinds_of(kind: type[Event]) -> dict[str, str]:
    """Return `integer`, `number`, `boolean` or `text` for each field of an event."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return {each.encode_name: _kind(each.type) for each in info.fields}


def _kind(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return _kind(kind.type)
    if isinstance(kind, inspect.UnionType):
        rest = [_kind(each) for each in kind.types if not isinstance(each, inspect.NoneType)]
        return rest[0] if len(set(rest)) == 1 else "text"
    if isinstance(kind, inspect.BoolType):
        return "boolean"
    if isinstance(kind, inspect.IntType):
        return "integer"
    return "number" if isinstance(kind, inspect.FloatType) else "text"


def _as_json(cell: Any, kind: str) -> Any:
    """Return a cell as JSON has it; None for one that is empty."""
    if isinstance(cell, str):
        return _read(cell, kind)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, datetime):
        at = cell if cell.tzinfo is not None else cell.replace(tzinfo=UTC)
        return at.isoformat().replace("+00:00", "Z")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    if kind == "integer" and isinstance(cell, float | Decimal) and cell == int(cell):
        return int(cell)  # a column of integers with gaps becomes one of floats in many tools
    if kind == "text" and isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)  # an id that a tool has read as a number
    return float(cell) if isinstance(cell, Decimal) else cell


def _read(text: str, kind: str) -> Any:
    if not text:
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in ("integer", "number") and len(text) <= _LONGEST_NUMBER:
        try:
            found = int(text) if kind == "integer" else float(text)
        except ValueError:
            return text
        return found if math.isfinite(found) else text
    return text


def chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows in chunks of at most `CHUNK_LINES` lines and `MAX_BATCH_BYTES` bytes.

    The same file has the same chunks each time.
    """
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and (len(chunk) >= CHUNK_LINES or size + len(row.value) > MAX_BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row.value)
    if chunk:
        yield chunk
