"""The types of Avro's binary encoding: one reader for each, total and bounded.

A reader takes bytes, an offset, and a list with the number of repeated values that the record may
still have; it returns a value and the next offset. Bytes that the schema doesn't allow raise
`Malformed`; bytes that end too early may also raise IndexError or struct.error, and bad UTF-8
UnicodeDecodeError. `claimtrace.schemas.avro_reader` combines the readers and turns all of these
into refusals.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from ..errors import ConfigError
from ..events import EPOCH
from ..refusals import Refusal

Read = Callable[[bytes, int, list[int]], tuple[Any, int]]


class Malformed(Exception):
    """An error for bytes that the schema doesn't allow; the record is refused."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.refusal = Refusal(reason, "", detail)


class Shape(NamedTuple):
    """A type that can be read, with its bounds.

    Attributes:
        read: the reader.
        values: the most values that one value of this type holds, itself included.
        least_bytes: the fewest bytes that a value has.
        depth: levels of nesting.
        null: the byte that alone encodes null in this type; -1 when there is none.
    """

    read: Read
    values: int
    least_bytes: int
    depth: int
    null: int = -1


def integer(given: bytes, at: int) -> tuple[int, int]:
    """Read a whole number of at most 64 bits: zig-zag, seven bits a byte, the lowest first."""
    byte = given[at]
    at += 1
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at
    bits, shift = byte & 127, 7
    while byte >= 128:
        byte = given[at]
        at += 1
        bits |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise Malformed("bad_avro", "a number of more than 64 bits")
    if bits >> 64:
        raise Malformed("bad_avro", "a number of more than 64 bits")
    return (bits >> 1) ^ -(bits & 1), at


def read_null(_given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    """Read a null, which has no bytes."""
    return None, at


def _boolean(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    if given[at] > 1:
        raise Malformed("bad_avro", "a boolean that is neither 0 nor 1")
    return given[at] == 1, at + 1


def _int(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    value, at = integer(given, at)
    if not -(2**31) <= value < 2**31:
        raise Malformed("bad_avro", "an int of more than 32 bits")
    return value, at


def _long(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    return integer(given, at)


def _bytes(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    size, at = integer(given, at)
    if not 0 <= size <= len(given) - at:
        raise Malformed("bad_avro", "a length beyond the end")
    return given[at : at + size], at + size


def _string(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    size = given[at]
    if size < 128 and not size & 1:
        at += 1
        size >>= 1
    else:
        size, at = integer(given, at)
    end = at + size
    if not at <= end <= len(given):
        raise Malformed("bad_avro", "a length beyond the end")
    return given[at:end].decode(), end


def _floating(layout: struct.Struct) -> Read:
    def read(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
        value = layout.unpack_from(given, at)[0]
        if not math.isfinite(value):
            raise Malformed("bad_type", "not a finite number")
        return value, at + layout.size

    return read


def _time(per_day: int, *, zoned: bool) -> Read:
    """Return a reader of times counted from 1970; digits finer than a microsecond are cut off."""
    start = EPOCH if zoned else EPOCH.replace(tzinfo=None)
    micros = 86_400_000_000

    def read(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
        count, at = integer(given, at)
        days, rest = divmod(count, per_day)
        try:
            return start + timedelta(days, 0, rest * micros // per_day), at
        except OverflowError:
            raise Malformed("time_out_of_range") from None

    return read


def _date(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
    days, at = integer(given, at)
    try:
        return date(1970, 1, 1) + timedelta(days), at
    except OverflowError:
        raise Malformed("time_out_of_range") from None


def enum(symbols: list[str]) -> Shape:
    """Return the shape of an enum, which is encoded as the index of a symbol."""

    def read(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
        index, at = integer(given, at)
        if not 0 <= index < len(symbols):
            raise Malformed("bad_avro", "a symbol that the enum doesn't have")
        return symbols[index], at

    return Shape(read, 1, 1, 0)


def fixed(size: int) -> Shape:
    """Return the shape of a `fixed` type: always `size` bytes.

    Raises:
        ConfigError: the size is no whole number from 0 on.
    """
    if type(size) is not int or size < 0:
        raise ConfigError("a fixed type of the schema has no size")

    def read(given: bytes, at: int, _allowed: list[int]) -> tuple[Any, int]:
        if size > len(given) - at:
            raise Malformed("bad_avro", "truncated")
        return given[at : at + size], at + size

    return Shape(read, 1, size, 0)


def repeated(inner: Shape, *, keyed: bool) -> Shape:
    """Return the shape of an array, or of a map when `keyed`.

    All arrays and maps of a record together hold at most `MAX_FIELDS` values.

    Raises:
        ConfigError: an array repeats a type of no size, so its length is bounded by no bytes.
    """
    if not keyed and inner.least_bytes == 0:
        raise ConfigError("an array of the schema repeats a type of no size")

    def read(given: bytes, at: int, allowed: list[int]) -> tuple[Any, int]:
        members: dict[str, Any] = {}
        values: list[Any] = []
        while True:
            count, at = integer(given, at)
            if count == 0:
                return members if keyed else values, at
            if count < 0:  # the block's size in bytes follows, for readers that skip it
                count = -count
                at = integer(given, at)[1]
            allowed[0] -= count * inner.values
            if allowed[0] < 0:
                raise Malformed("too_many_fields")
            for _ in range(count):
                if keyed:
                    key, at = _string(given, at, allowed)
                    if key in members:
                        raise Malformed("duplicate_key")
                    members[key], at = inner.read(given, at, allowed)
                else:
                    value, at = inner.read(given, at, allowed)
                    values.append(value)

    return Shape(read, 1, 1, 1 + inner.depth)


PRIMITIVES: Final = {
    "null": Shape(read_null, 1, 0, 0),
    "boolean": Shape(_boolean, 1, 1, 0),
    "int": Shape(_int, 1, 1, 0),
    "long": Shape(_long, 1, 1, 0),
    "float": Shape(_floating(struct.Struct("<f")), 1, 4, 0),
    "double": Shape(_floating(struct.Struct("<d")), 1, 8, 0),
    "bytes": Shape(_bytes, 1, 1, 0),
    "string": Shape(_string, 1, 1, 0),
}
_PER_DAY: Final = {"millis": 86_400_000, "micros": 86_400_000_000, "nanos": 86_400_000_000_000}
LOGICAL: Final = {
    ("int", "date"): Shape(_date, 1, 1, 0),
    **{
        ("long", f"{local}timestamp-{unit}"): Shape(_time(per_day, zoned=not local), 1, 1, 0)
        for unit, per_day in _PER_DAY.items()
        for local in ("", "local-")
    },
}
