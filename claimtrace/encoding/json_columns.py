"""Parse flat JSON objects into columns, without Python objects: the fast half of the parser.

One kernel passes over the bytes of a batch and stores, for each known field of each record, a
number or the range of its text. It handles only records that are *plain*: known fields, each at
most once, ASCII without escapes, numbers and times in their usual form, everything within the
type's limits. All others are left to `claimtrace.encoding.decoder`, which is slower and names what
is wrong. A record that is plain here must mean the same there:
`tests/claimtrace/encoding/test_json_columns.py` compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from ..buffers.byte_strings import bounds_of
from ..events import ID_PATTERN, SCHEMA_VERSION, Event, time_ms
from .json_kernel import (
    ID,
    INTEGER,
    MAX_FIELDS,
    MISSING,
    OTHER,
    TEXT,
    TIME,
    Fields,
    Numbers,
    gather_texts,
    read_flat,
)

_VERSION = "schema_version"
_LARGEST = 2**62


class JsonColumns(NamedTuple):
    """Values of fields: `first[field, row]` and `second[field, row]`, int64.

    A text is `buffer[first:second]`; a number or a time in ms since 1970 is `first`, and `second`
    is 0; `second` is `MISSING` where a field is absent or null.
    """

    names: tuple[str, ...]
    buffer: NDArray[np.uint8]
    first: Numbers
    second: Numbers

    def of(self, name: str) -> tuple[Numbers, Numbers]:
        """Return the two columns of a field."""
        at = self.names.index(name)
        return self.first[at], self.second[at]

    def rows(self, chosen: Any) -> JsonColumns:
        """Return the rows at `chosen` (an index array or a mask), in that order."""
        return self._replace(first=self.first[:, chosen], second=self.second[:, chosen])

    def texts(self, name: str, chosen: NDArray[np.bool_]) -> list[str]:
        """Return the texts of a field, all ASCII without NUL; empty where a row isn't chosen."""
        first, second = self.of(name)
        sizes = np.where(chosen & (second != MISSING), second - first, 0)
        out = np.empty(int(sizes.sum()) + len(sizes), np.uint8)
        end = gather_texts(self.buffer, first, second, chosen, out)
        return out[:end].tobytes().decode("ascii").split("\0")[:-1]


class JsonColumnReader:
    """Reads records of one event type.

    Args:
        kind: the event type; one that the kernel can't represent is left to the decoder as a whole
            (`is_able`).

    >>> class Ping(Event, topic="pings", id="ping_id", time="sent_at"):
    ...     ping_id: str
    >>> reader, value = JsonColumnReader(Ping), b'{"ping_id":"a-1"}'
    >>> buffer = np.frombuffer(value + reader.defaults, np.uint8)
    >>> plain, columns = reader.read(buffer, np.array([0, len(value)]), np.array([0]))
    >>> first, second = columns.of("ping_id")
    >>> plain.tolist(), buffer[first[0] : second[0]].tobytes()
    ([True], b'a-1')
    """

    def __init__(self, kind: type[Event]) -> None:
        self.kind = kind
        found = inspect.type_info(kind)
        assert isinstance(found, inspect.StructType)
        self.names = tuple(each.name for each in found.fields)
        self._kinds = [_kind_of(each) for each in found.fields]
        odd = bool(found.tag) or found.array_like or found.forbid_unknown_fields
        self.is_able = not odd and len(self.names) <= MAX_FIELDS
        self._fields = _fields_of(found, self._kinds)
        self.defaults = self._fields.defaults.tobytes()
        """Default texts of absent fields; a buffer to read must end with them."""

    def kind_of(self, name: str) -> int:
        """Return the kind of a field: `TEXT`, `ID`, `INTEGER`, `TIME`, or `OTHER` (not read)."""
        return self._kinds[self.names.index(name)][0]

    def read(
        self, buffer: NDArray[np.uint8], bounds: Numbers, rows: Numbers
    ) -> tuple[NDArray[np.bool_], JsonColumns]:
        """Read `buffer[bounds[i]:bounds[i + 1]]` for each i of `rows`.

        The buffer ends with `defaults`, behind the last record. Returns bool[n], which of the rows
        are plain, and the columns; a row that isn't plain is `MISSING` in all fields.
        """
        shape = len(self.names), len(rows)
        first, second = np.empty(shape, np.int64), np.empty(shape, np.int64)
        plain = np.zeros(len(rows), np.bool_)
        if self.is_able:
            read_flat(buffer, bounds, rows, self._fields, first, second, plain)
        else:
            first[:], second[:] = 0, MISSING
        return plain, JsonColumns(self.names, buffer, first, second)

    def fill(self, columns: JsonColumns, events: dict[int, Event]) -> JsonColumns:
        """Write events that `Decoder` decoded into their rows; new texts extend the buffer."""
        if not events:
            return columns
        text = bytearray()
        end = len(columns.buffer)
        for row, event in events.items():
            for f, value in enumerate(msgspec.structs.astuple(event)):
                if value is None or self._kinds[f][0] == OTHER:
                    columns.second[f, row] = MISSING
                elif isinstance(value, str):
                    written = value.encode()
                    columns.first[f, row] = end + len(text)
                    text += written
                    columns.second[f, row] = end + len(text)
                else:
                    number = time_ms(value) if isinstance(value, datetime) else value
                    columns.first[f, row], columns.second[f, row] = number, 0
        buffer = np.concatenate((columns.buffer, np.frombuffer(bytes(text), np.uint8)))
        return columns._replace(buffer=buffer)


def _kind_of(field: inspect.Field) -> tuple[int, int, int, bool]:
    """Return kind, lowest and highest length or value, and whether null is allowed."""
    kind = field.type
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    options = list(kind.types) if isinstance(kind, inspect.UnionType) else [kind]
    plain = [o.type if isinstance(o, inspect.Metadata) else o for o in options]
    nullable = any(isinstance(o, inspect.NoneType) for o in plain)
    rest = [o for o in plain if not isinstance(o, inspect.NoneType)]
    other = OTHER, 0, 0, nullable
    if len(rest) != 1:
        return other
    (only,) = rest
    if isinstance(only, inspect.StrType):
        if only.pattern not in (None, ID_PATTERN):
            return other
        most = only.max_length if only.max_length is not None else 2**62
        return ID if only.pattern else TEXT, only.min_length or 0, most, nullable
    if field.name == _VERSION:
        return INTEGER, SCHEMA_VERSION, SCHEMA_VERSION, nullable
    if isinstance(only, inspect.IntType):
        low, high = only.ge, only.le
        if low is None or high is None or low < -_LARGEST or high > _LARGEST or only.multiple_of:
            return other
        return INTEGER, low, high, nullable
    if isinstance(only, inspect.DateTimeType) and only.tz is not False:
        return TIME, 0, 0, nullable
    return other


def _fields_of(kind: inspect.StructType, kinds: list[tuple[int, int, int, bool]]) -> Fields:
    names = [each.encode_name.encode() for each in kind.fields]
    table = np.array(kinds, np.int64).reshape(-1, 4)
    required = sum(
        1 << f
        for f, each in enumerate(kind.fields)
        if each.required or each.default_factory is not msgspec.NODEFAULT
    )
    if len(names) > MAX_FIELDS:
        required = 0  # too many bits; such a type is left to the decoder as a whole
    first, second, texts = _defaults_of(kind, table[:, 0])
    return Fields(
        names=np.frombuffer(b"".join(names), np.uint8),
        starts=bounds_of([len(name) for name in names]),
        kinds=table[:, 0].copy(),
        low=table[:, 1].copy(),
        high=table[:, 2].copy(),
        nullable=table[:, 3].astype(np.bool_),
        default_first=first,
        default_second=second,
        defaults=np.frombuffer(texts, np.uint8),
        required=np.int64(required),
    )


def _defaults_of(kind: inspect.StructType, kinds: Numbers) -> tuple[Numbers, Numbers, bytes]:
    """Return `first`, `second` and texts of the defaults of absent fields.

    The texts begin with a filler byte, so that the end of a default text is never 0: the kernel
    tells texts from numbers by `second > 0`.
    """
    first = np.zeros(len(kind.fields), np.int64)
    second = np.full(len(kind.fields), MISSING, np.int64)
    texts = b" "
    for f, each in enumerate(kind.fields):
        if isinstance(each.default, str) and kinds[f] in (TEXT, ID):
            first[f] = len(texts)
            texts += each.default.encode()
            second[f] = len(texts)
        elif isinstance(each.default, int) and kinds[f] == INTEGER:
            first[f], second[f] = each.default, 0
    return first, second, texts
