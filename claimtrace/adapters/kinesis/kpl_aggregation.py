"""Several records in one: the aggregation format of Amazon's Kinesis producer library (KPL).

    F3 89 9A C2, a protobuf message, the MD5 of the message

    message AggregatedRecord {                 message Record {
      repeated string partition_key_table = 1;   required uint64 partition_key_index = 1;
      repeated string explicit_hash_keys = 2;    optional uint64 explicit_hash_key_index = 2;
      repeated Record records = 3;               required bytes data = 3;
    }                                            repeated Tag tags = 4; }

Source: "KPL aggregated record format" in the library's repository. A record that begins with the
magic bytes but isn't well-formed is returned as one record: it is no valid event and ends as a dead
letter. All parts are kept, also those whose key belongs to another shard after resharding: a
producer that sends them there too makes duplicates, which the ledger of event ids detects, while
dropping them could lose one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MAGIC: Final = b"\xf3\x89\x9a\xc2"
MAX_PARTS: Final = 20_000
"""Maximum number of parts, more than a megabyte of real events has; above it a record stays one."""

_MD5_BYTES: Final = 16
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5


class Part(NamedTuple):
    """A record inside of another."""

    key: str
    value: bytes


class _NotAggregated(Exception):
    """The bytes are no message of this form."""


def aggregated(parts: Sequence[Part]) -> bytes:
    """One record for several.

    >>> whole = aggregated([Part("p-1", b"{}"), Part("p-2", b"[]"), Part("p-1", b"")])
    >>> parts_of(whole)
    [Part(key='p-1', value=b'{}'), Part(key='p-2', value=b'[]'), Part(key='p-1', value=b'')]
    """
    numbers: dict[str, int] = {}
    records = []
    for key, value in parts:
        number = numbers.setdefault(key, len(numbers))
        records.append(_sized(3, b"\x08" + _varint(number) + _sized(3, value)))
    message = b"".join([*(_sized(1, key.encode()) for key in numbers), *records])
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


def aggregated_bytes(keys: int, parts: int, content: int) -> int:
    """Return the maximum size of a record with this number of keys, parts, and bytes of content.

    `content` counts the bytes of all keys and values.
    """
    return len(MAGIC) + _MD5_BYTES + content + 6 * keys + 16 * parts


def parts_of(value: bytes) -> list[Part] | None:
    """Return the parts of an aggregated record; None for a plain record.

    >>> parts_of(b'{"claim_id": "c-1"}') is None
    True
    >>> parts_of(MAGIC + b"hello" + bytes(16)) is None
    True
    """
    if not value.startswith(MAGIC) or len(value) < len(MAGIC) + _MD5_BYTES:
        return None
    message = memoryview(value)[len(MAGIC) : -_MD5_BYTES]
    if hashlib.md5(message, usedforsecurity=False).digest() != value[-_MD5_BYTES:]:
        return None
    try:
        return _parts(message)
    except (_NotAggregated, UnicodeDecodeError):
        return None


def _parts(message: memoryview) -> list[Part]:
    keys: list[str] = []
    found: list[tuple[int, memoryview]] = []
    for field, content in _fields(message):
        if field == 1:
            keys.append(_bytes(content).tobytes().decode())
        elif field == 3:
            if len(found) == MAX_PARTS:
                raise _NotAggregated
            found.append(_record(_bytes(content)))
    if any(number >= len(keys) for number, _ in found):
        raise _NotAggregated
    return [Part(keys[number], bytes(data)) for number, data in found]


def _record(message: memoryview) -> tuple[int, memoryview]:
    number, data = None, None
    for field, content in _fields(message):
        if field == 1:
            if not isinstance(content, int):
                raise _NotAggregated
            number = content
        elif field == 3:
            data = _bytes(content)
    if number is None or data is None:
        raise _NotAggregated
    return number, data


def _bytes(content: int | memoryview) -> memoryview:
    if isinstance(content, int):
        raise _NotAggregated
    return content


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a protobuf message: type 0 as numbers, the others as bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _read_varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            number, at = _read_varint(message, at)
            yield field, number
            continue
        if kind == _SIZED:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise _NotAggregated
        if not field or size > end - at:
            raise _NotAggregated
        yield field, message[at : at + size]
        at += size


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise _NotAggregated
        byte = message[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7


def _sized(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | _SIZED]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
