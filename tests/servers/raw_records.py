"""Kafka records written byte by byte over a socket: for bytes that no client library lets through.

One `Produce` request of version 3 with one record batch (magic 2), as the protocol guide has it:
https://kafka.apache.org/protocol#The_Messages_Produce
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

_POLYNOMIAL: Final = 0x82F63B78
_NO_PRODUCER: Final = (-1, -1, -1)
_TIMEOUT_S: Final = 30


class RawRecord(NamedTuple):
    """A record whose header names are bytes."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    log_time_ms: int = 0


def produce_raw(bootstrap: str, topic: str, partition: int, records: Sequence[RawRecord]) -> int:
    """Append records as one batch to a partition that the node leads; returns the first offset."""
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    batch = _batch(records)
    body = (
        struct.pack(">hhi", -1, -1, 10_000)  # no transaction, all copies, time-out
        + struct.pack(">i", 1) + _string(topic)
        + struct.pack(">iii", 1, partition, len(batch)) + batch
    )  # fmt: skip
    request = struct.pack(">hhi", 0, 3, 1) + _string("raw") + body
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as link:
        link.sendall(struct.pack(">i", len(request)) + request)
        answer = _read(link, struct.unpack(">i", _read(link, 4))[0])
    at = 4 + 4 + 2 + len(topic) + 4 + 4  # correlation, topics, name, partitions, partition
    error, offset = struct.unpack_from(">hq", answer, at)
    assert error == 0, f"the broker refused the batch with error {error}"
    return int(offset)


def _batch(records: Sequence[RawRecord]) -> bytes:
    times = [record.log_time_ms for record in records]
    rows = b"".join(_record(n, each, times[0]) for n, each in enumerate(records))
    checked = (
        struct.pack(">hiqq", 0, len(records) - 1, times[0], max(times))
        + struct.pack(">qhi", *_NO_PRODUCER) + struct.pack(">i", len(records)) + rows
    )  # fmt: skip
    tail = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail


def _record(number: int, record: RawRecord, first_ms: int) -> bytes:
    headers = b"".join(_sized(name) + _sized(value) for name, value in record.headers)
    body = (
        b"\0" + _varint(record.log_time_ms - first_ms) + _varint(number)
        + _sized(record.key) + _sized(record.value) + _varint(len(record.headers)) + headers
    )  # fmt: skip
    return _varint(len(body)) + body


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _sized(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    left, written = (number << 1) ^ (number >> 63), bytearray()
    while left > 127:
        written.append(left & 127 | 128)
        left >>= 7
    return bytes([*written, left])


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_REMAINDERS: Final = [_remainder(byte) for byte in range(256)]


def _crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _REMAINDERS[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _read(link: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = link.recv(count - len(found))
        assert piece, "the broker closed the connection"
        found += piece
    return found
