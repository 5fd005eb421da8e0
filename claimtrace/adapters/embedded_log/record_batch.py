"""Encode and decode record batches: lengths as arrays, then all keys, values and headers.

A body is one byte that names its codec (0 plain, 1 zstd: u32 length, then the frame) and, once
unpacked, little-endian, for `count` records (the count is stored beside the body):

    u8   flags            1 = a header column follows
    i64  log_time_ms      [count]
    i32  key_length       [count], -1 for no key
    i32  value_length     [count], -1 for a tombstone
    i32  headers_length   [count], 0 for no headers; only with flag 1
    the keys, the values, the headers (MessagePack), each run without gaps

JSON records of one type are repetitive: zstd's fastest level makes them five to seven times smaller
for 1.5 us a record, which is less than writing the difference would cost. No IO here: `log` does
that.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...batches.records import Records
from ...buffers.byte_strings import ByteStrings
from ...errors import StateError
from ...events import Headers

_WITH_HEADERS: Final = 1
_PLAIN: Final = b"\0"
_ZSTD: Final = b"\1"
_COMPRESS_FROM_BYTES: Final = 512
_I32: Final = np.dtype("<i4")
_I64: Final = np.dtype("<i8")

_zstd = pa.Codec("zstd", compression_level=1)
_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode


def encode_batch(
    keys: ByteStrings,
    values: ByteStrings,
    log_times_ms: Sequence[int] | npt.NDArray[np.int64],
    headers: Sequence[Headers] | None = None,
) -> bytes:
    """Return the body of one batch. All columns have the same length.

    >>> keys, values = ByteStrings.of([b"k", None]), ByteStrings.of([b"v", b""])
    >>> body = encode_batch(keys, values, [5, 6])
    >>> [(r.key, r.value) for r in decode_batch(body, 2, "t", 0, 10)]
    [(b'k', b'v'), (None, b'')]
    """
    count = len(values)
    times = np.asarray(log_times_ms, dtype=_I64)
    if len(times) != count or len(keys) != count:
        raise ValueError("keys, values and log times differ in length")
    columns = [keys, values]
    if headers is not None and any(headers):
        columns.append(ByteStrings.of([_encode_headers(h) if h else b"" for h in headers]))
    plain = b"".join(
        [
            bytes([_WITH_HEADERS if len(columns) == 3 else 0]),
            np.ascontiguousarray(times).data,
            *(column.sizes.astype(_I32).data for column in columns),
            *(np.ascontiguousarray(column.content_alone()).data for column in columns),
        ]
    )
    if len(plain) >= _COMPRESS_FROM_BYTES:
        packed_body: bytes = _zstd.compress(plain, asbytes=True)
        if len(packed_body) < len(plain):
            return _ZSTD + len(plain).to_bytes(4, "little") + packed_body
    return _PLAIN + plain


def decode_batch(body: bytes, count: int, topic: str, partition: int, base: int) -> Records:
    """Return the records of a batch whose first position is `base`; the inverse of `encode_batch`.

    Raises:
        ValueError: the lengths don't add up to the body (the caller verifies the checksum).
    """
    if body[:1] == _ZSTD:
        length = int.from_bytes(body[1:5], "little")
        body, at = _zstd.decompress(memoryview(body)[5:], length, asbytes=True), 0
    else:
        at = 1
    with_headers = body[at] == _WITH_HEADERS
    at += 1
    times = np.frombuffer(body, _I64, count, at).astype(np.int64)
    at += 8 * count
    sizes = []
    for _ in range(3 if with_headers else 2):
        sizes.append(np.frombuffer(body, _I32, count, at).astype(np.int64))
        at += 4 * count
    content = np.frombuffer(body, np.uint8)
    columns: list[ByteStrings] = []
    for each in sizes:
        run = int(np.maximum(each, 0).sum())
        columns.append(ByteStrings.packed(content[at : at + run], each))
        at += run
    if at != len(body):
        raise ValueError(f"{len(body)} bytes, expected {at}")
    headers = None
    if with_headers:
        headers = [_decode_headers(each) if each else () for each in columns[2]]
    positions = np.arange(base, base + count, dtype=np.int64)
    parts = np.zeros(count, np.int64)
    return Records([(topic, partition)], parts, positions, columns[0], columns[1], times, headers)


def damaged(topic: str, partition: int, base: int, count: int, hint: str) -> StateError:
    """Return the error of a batch whose checksum differs; the hint says what can be done."""
    return StateError(
        "a record batch doesn't match its checksum",
        where=f"{topic}/{partition} positions {base} .. {base + count - 1}",
        hint=hint,
    )


def checksum(topic: str, partition: int, base: int, count: int, body: bytes) -> int:
    """Return the CRC-32 of a body with its topic, partition, position and count.

    So a row that was moved to another position is detected as well as one with damaged bytes.
    """
    return zlib.crc32(body, zlib.crc32(f"{topic}\n{partition}\n{base}\n{count}\n".encode()))
