"""The bytes of a record batch: lengths as arrays, then all keys, values and headers in one run.

A body is one byte that names its codec (0 plain, 1 zstd: u32 length, then the frame) and, once
unpacked, little-endian, for `count` records (the count is kept beside the bytes):

    u8   flags            1 = a header column follows
    i64  log_time_ms      [count]
    i32  key_length       [count], -1 for no key
    i32  value_length     [count], -1 for a tombstone
    i32  headers_length   [count], 0 for no headers; only with flag 1
    the keys, the values, the headers (MessagePack), each run without gaps

JSON of one kind repeats itself: zstd's fastest level makes it five to seven times smaller for
1.5 us a record, which is less than writing the difference would cost. Pure: the disk is next door.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..events import Headers
from ..records import Records

Lengths = npt.NDArray[np.int32]

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
    keys: Sequence[bytes | None] | None,
    values: Sequence[bytes | None],
    log_times_ms: Sequence[int] | npt.NDArray[np.int64],
    headers: Sequence[Headers] | None = None,
) -> bytes:
    """The body of one batch. All columns have one length; `keys=None` means no record has a key.

    >>> body = encode_batch([b"k", None], [b"v", b""], [5, 6])
    >>> [(r.key, r.value) for r in decode_batch(body, 2, "t", 0, 10)]
    [(b'k', b'v'), (None, b'')]
    """
    count = len(values)
    times = np.asarray(log_times_ms, dtype=_I64)
    if len(times) != count or (keys is not None and len(keys) != count):
        raise ValueError("keys, values and log times differ in length")
    if keys is None:
        key_lengths, key_bytes = np.full(count, -1, _I32), b""
    else:
        key_lengths, key_bytes = _pack(keys)
    value_lengths, value_bytes = _pack(values)
    parts = [b"\0", times.tobytes(), key_lengths.tobytes(), value_lengths.tobytes()]
    if headers is not None and any(headers):
        packed = [_encode_headers(each) if each else b"" for each in headers]
        header_lengths, header_bytes = _pack(packed)
        parts[0] = bytes([_WITH_HEADERS])
        parts += [header_lengths.tobytes(), key_bytes, value_bytes, header_bytes]
    else:
        parts += [key_bytes, value_bytes]
    plain = b"".join(parts)
    if len(plain) >= _COMPRESS_FROM_BYTES:
        packed_body: bytes = _zstd.compress(plain, asbytes=True)
        if len(packed_body) < len(plain):
            return _ZSTD + len(plain).to_bytes(4, "little") + packed_body
    return _PLAIN + plain


def decode_batch(body: bytes, count: int, topic: str, partition: int, base: int) -> Records:
    """The records of a batch whose first position is `base`; the inverse of `encode_batch`.

    Raises:
        ValueError: when the lengths don't add up to the body (the checksum is the caller's).
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
    columns: list[Lengths] = []
    for _ in range(3 if with_headers else 2):
        columns.append(np.frombuffer(body, _I32, count, at))
        at += 4 * count
    runs: list[list[bytes | None]] = []
    for lengths in columns:
        run, at = _unpack(body, lengths, at)
        runs.append(run)
    if at != len(body):
        raise ValueError(f"{len(body)} bytes, expected {at}")
    headers = None
    if with_headers:
        headers = [_decode_headers(each) if each else () for each in runs[2]]
    positions = np.arange(base, base + count, dtype=np.int64)
    parts = np.zeros(count, np.int64)
    return Records([(topic, partition)], parts, positions, runs[0], runs[1], times, headers)


def checksum(topic: str, partition: int, base: int, count: int, body: bytes) -> int:
    """CRC-32 of a batch and its place: a row that moved is found as well as one that rotted."""
    return zlib.crc32(body, zlib.crc32(f"{topic}\n{partition}\n{base}\n{count}\n".encode()))


def _pack(parts: Sequence[bytes | None]) -> tuple[Lengths, bytes]:
    try:  # the common case has no None in it, and C loops only
        joined = b"".join(parts)  # type: ignore[arg-type]
        return np.fromiter(map(len, parts), _I32, len(parts)), joined  # type: ignore[arg-type]
    except TypeError:
        lengths = np.array([-1 if part is None else len(part) for part in parts], _I32)
        return lengths, b"".join(part for part in parts if part is not None)


def _unpack(body: bytes, lengths: Lengths, at: int) -> tuple[list[bytes | None], int]:
    ends = at + np.cumsum(np.maximum(lengths, 0), dtype=np.int64)
    bounds = [at, *ends.tolist()]
    run: list[bytes | None] = [body[start:end] for start, end in pairwise(bounds)]
    if lengths.size and lengths.min() < 0:
        for index in np.flatnonzero(lengths < 0).tolist():
            run[index] = None
    return run, bounds[-1]
