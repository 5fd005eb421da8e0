"""Convert Avro's binary encoding to plain JSON bytes, by the writer's schema. The reader is total.

`plain_reader(schema)` compiles a schema into a function of bytes. Its work is bounded when it is
made: a recursive schema, one that describes more than `MAX_FIELDS` values, or one that repeats a
value of no size is refused, so a few bytes can't expand into many values. Bytes are read once, from
front to back; a length is compared with the bytes left before anything is allocated for it.

Logical types become the forms that the JSON of an event has: `timestamp-*` an ISO 8601 time in UTC,
`local-timestamp-*` a time without a zone, `date` a date; bytes are base64. All other logical types,
`decimal` too, are read as their underlying type. The value of a union is written without the name
of its branch.

Encoding: Avro 1.12, https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..errors import ConfigError
from ..limits import MAX_DEPTH, MAX_FIELDS, MAX_ID_CHARS
from ..refusals import Refusal
from .avro_types import (
    LOGICAL,
    PRIMITIVES,
    Malformed,
    Shape,
    enum,
    fixed,
    integer,
    read_null,
    repeated,
)
from .confluent_frame import MAX_SCHEMA_BYTES

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FULL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_encode = msgspec.json.Encoder().encode


def plain_reader(schema: bytes | str) -> Callable[[bytes], bytes | Refusal]:
    """Return a function from Avro bytes to JSON bytes.

    Args:
        schema: the writer's schema; its outermost type is a record.

    Raises:
        ConfigError: the text is no schema, or one that no event has (recursive, too large, too
            deep).

    >>> read = plain_reader('{"type": "record", "name": "E", "fields": '
    ...                     '[{"name": "id", "type": ["null", "string"]}]}')
    >>> read(b"\\x02\\x04ab"), read(b"\\x00")
    (b'{"id":"ab"}', b'{"id":null}')
    >>> read(b"\\x02\\x04a").reason
    'bad_avro'
    """
    if len(schema) > MAX_SCHEMA_BYTES:
        raise ConfigError(f"the schema is larger than {MAX_SCHEMA_BYTES} bytes")
    try:
        tree = msgspec.json.decode(schema)
        if not isinstance(tree, dict) or tree.get("type") != "record":
            raise ConfigError("the schema is no record")
        read_record = _Names().shape(tree, "", 0).read
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"not an Avro schema: {type(error).__name__}") from error

    def read(payload: bytes) -> bytes | Refusal:
        try:
            fields, at = read_record(payload, 0, [MAX_FIELDS])
        except Malformed as found:
            return found.refusal
        except (IndexError, struct.error):
            return Refusal("bad_avro", "", "truncated")
        except UnicodeDecodeError:
            return Refusal("bad_utf8")
        if at != len(payload):
            return Refusal("bad_avro", "", f"{len(payload) - at} bytes are left over")
        return _encode(fields)

    return read


class _Names:
    """Builds shapes; keeps the named types that are complete, and None for those being built."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape | None] = {}

    def shape(self, schema: Any, space: str, nested: int) -> Shape:
        """Return the shape of a type written in the namespace `space`, `nested` levels down."""
        if nested > 2 * MAX_DEPTH:  # a field's type counts as a level of its own
            raise ConfigError("the schema is nested too deeply")
        if isinstance(schema, list):
            made = self._union(schema, space, nested)
        elif isinstance(schema, str):
            made = PRIMITIVES.get(schema) or self._known(_full(schema, space))
        else:
            made = self._complex(schema, space, nested)
        if made.values > MAX_FIELDS:
            raise ConfigError(f"the schema has more than {MAX_FIELDS} values")
        if made.depth > MAX_DEPTH:
            raise ConfigError("the schema is nested too deeply")
        return made

    def _known(self, name: str) -> Shape:
        if name not in self._shapes:
            raise ConfigError("the schema names a type that it doesn't define")
        shape = self._shapes[name]
        if shape is None:
            raise ConfigError("the schema is recursive")  # still being built
        return shape

    def _complex(self, schema: dict[str, Any], space: str, nested: int) -> Shape:
        kind = schema["type"]
        if kind in ("record", "enum", "fixed"):
            name = _full(schema["name"], schema.get("namespace", space))
            if name in self._shapes or not _FULL_NAME.match(name):
                raise ConfigError("the schema defines a name twice, or one that is no name")
            self._shapes[name] = None
            if kind == "record":
                made = self._record(schema["fields"], name.rpartition(".")[0], nested)
            elif kind == "enum":
                made = enum([_checked(symbol) for symbol in schema["symbols"]])
            else:
                made = fixed(schema["size"])
            self._shapes[name] = made
            return made
        if kind == "array":
            return repeated(self.shape(schema["items"], space, nested + 1), keyed=False)
        if kind == "map":
            return repeated(self.shape(schema["values"], space, nested + 1), keyed=True)
        logical = schema.get("logicalType")
        if isinstance(kind, str) and isinstance(logical, str) and (kind, logical) in LOGICAL:
            return LOGICAL[kind, logical]
        return self.shape(kind, space, nested + 1)

    def _record(self, fields: list[dict[str, Any]], space: str, nested: int) -> Shape:
        shapes = [self.shape(field["type"], space, nested + 1) for field in fields]
        names = [_checked(field["name"]) for field in fields]
        if len(set(names)) != len(names):
            raise ConfigError("a record of the schema has two fields of one name")
        readers = [(name, shape.read, shape.null)
                   for name, shape in zip(names, shapes, strict=True)]  # fmt: skip

        def read(given: bytes, at: int, allowed: list[int]) -> tuple[Any, int]:
            values: dict[str, Any] = {}
            name = ""
            try:
                for name, read_field, null in readers:
                    if null >= 0 and given[at] == null:  # saves calls: most fields are nullable
                        values[name] = None
                        at += 1
                    else:
                        values[name], at = read_field(given, at, allowed)
            except Malformed as found:
                found.refusal = found.refusal._replace(field=name)
                raise
            return values, at

        deepest = max((shape.depth for shape in shapes), default=0)
        values = 1 + sum(shape.values for shape in shapes)
        return Shape(read, values, sum(shape.least_bytes for shape in shapes), 1 + deepest)

    def _union(self, branches: list[Any], space: str, nested: int) -> Shape:
        if not branches or any(isinstance(branch, list) for branch in branches):
            raise ConfigError("a union of the schema is empty or holds a union")
        shapes = [self.shape(branch, space, nested + 1) for branch in branches]
        reads = [shape.read for shape in shapes]
        nothing = 2 * reads.index(read_null) if read_null in reads[:64] else -1

        def read(given: bytes, at: int, allowed: list[int]) -> tuple[Any, int]:
            index = given[at]
            if index == 2:  # zig-zag of 1: the second branch, mostly the one that isn't null
                index, at = 1, at + 1
            else:
                index, at = integer(given, at)
            if not 0 <= index < len(reads):
                raise Malformed("bad_avro", "a branch that the union doesn't have")
            return reads[index](given, at, allowed)

        return Shape(read, max(s.values for s in shapes), 1, max(s.depth for s in shapes), nothing)


def _full(name: str, space: str) -> str:
    return f"{space}.{name}" if space and "." not in name else name


def _checked(name: str) -> str:
    if not _NAME.match(name) or len(name) > MAX_ID_CHARS:
        raise ConfigError("a name in the schema is no name, or too long")
    return name
