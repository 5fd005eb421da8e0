"""SipHash-2-4 over parts of a byte buffer, 64 and 128 bits, in numba.

Keyed, so that a sender who doesn't know the key can't choose ids that collide. Source: Aumasson and
Bernstein, "SipHash: a fast short-input PRF" (2012); the 128-bit variant is that of the authors'
reference implementation.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from .byte_kernels import eight_bytes
from .jit import kernel

Key = NDArray[np.uint64]


def hash_key(secret: str) -> Key:
    """Derive a key of two 64-bit words from a secret of any length.

    >>> hash_key("claimtrace").shape
    (2,)
    """
    return np.frombuffer(
        hashlib.blake2b(secret.encode(), digest_size=16).digest(), np.uint64
    ).copy()


@njit(cache=True, inline="always")
def _rotl(x, bits):  # type: ignore[no-untyped-def]
    return (x << uint64(bits)) | (x >> uint64(64 - bits))


@njit(cache=True, inline="always")
def _round(v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    v0 += v1
    v1 = _rotl(v1, 13) ^ v0
    v0 = _rotl(v0, 32)
    v2 += v3
    v3 = _rotl(v3, 16) ^ v2
    v0 += v3
    v3 = _rotl(v3, 21) ^ v0
    v2 += v1
    v1 = _rotl(v1, 17) ^ v2
    v2 = _rotl(v2, 32)
    return v0, v1, v2, v3


@njit(cache=True, inline="always")
def _begun(key):  # type: ignore[no-untyped-def]
    """Return the initial state v0 .. v3; 0xEE selects the 128-bit variant."""
    k0, k1 = key[0], key[1]
    v0 = k0 ^ uint64(0x736F6D6570736575)
    v1 = k1 ^ uint64(0x646F72616E646F6D) ^ uint64(0xEE)
    v2 = k0 ^ uint64(0x6C7967656E657261)
    v3 = k1 ^ uint64(0x7465646279746573)
    return v0, v1, v2, v3


@njit(cache=True, inline="always")
def _taken(word, v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    """Return the state after one word of the message: two rounds."""
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ word, v1, v2, v3


@njit(cache=True, inline="always")
def _ended(buffer, at, start, end, v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    """Return the two words of the hash of `buffer[start:end]`; the state covers `[start, at)`."""
    while at + uint64(8) <= end:
        v0, v1, v2, v3 = _taken(eight_bytes(buffer, at), v0, v1, v2, v3)
        at += uint64(8)
    last = ((end - start) & uint64(0xFF)) << uint64(56)
    for j in range(end - at):
        last |= uint64(buffer[at + j]) << (uint64(8) * j)
    v0, v1, v2, v3 = _taken(last, v0, v1, v2, v3)
    v2 ^= uint64(0xEE)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    high = v0 ^ v1 ^ v2 ^ v3
    v1 ^= uint64(0xDD)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return high, v0 ^ v1 ^ v2 ^ v3


@kernel
def siphash128(buffer, start, end, key):  # type: ignore[no-untyped-def]
    """Hash `buffer[start:end]` (uint8) under `key` (2 uint64); returns two uint64."""
    v0, v1, v2, v3 = _begun(key)
    return _ended(buffer, uint64(start), uint64(start), uint64(end), v0, v1, v2, v3)


@kernel
def _hash_parts(buffer, bounds, key, digests):  # type: ignore[no-untyped-def]
    # Each round depends on the one before; two independent parts at a time fill the pipeline.
    for i in range(0, digests.size - 1, 2):
        start, end = uint64(bounds[i]), uint64(bounds[i + 1])
        other_end = uint64(bounds[i + 2])
        a0, a1, a2, a3 = _begun(key)
        b0, b1, b2, b3 = a0, a1, a2, a3
        at, other_at = start, end
        while at + uint64(8) <= end and other_at + uint64(8) <= other_end:
            a0, a1, a2, a3 = _taken(eight_bytes(buffer, at), a0, a1, a2, a3)
            b0, b1, b2, b3 = _taken(eight_bytes(buffer, other_at), b0, b1, b2, b3)
            at += uint64(8)
            other_at += uint64(8)
        digests[i], _ = _ended(buffer, at, start, end, a0, a1, a2, a3)
        digests[i + 1], _ = _ended(buffer, other_at, end, other_end, b0, b1, b2, b3)
    if digests.size & 1:
        i = digests.size - 1
        digests[i], _ = siphash128(buffer, bounds[i], bounds[i + 1], key)


def hash_parts(
    buffer: NDArray[np.uint8], bounds: NDArray[np.int64], key: Key
) -> NDArray[np.uint64]:
    """Return uint64[n]: the first word of the hash of each `buffer[bounds[i]:bounds[i + 1]]`."""
    digests = np.empty(len(bounds) - 1, np.uint64)
    _hash_parts(buffer, bounds, key, digests)
    return digests
