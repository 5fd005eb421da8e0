"""SipHash-2-4 over parts of a byte buffer, 64 and 128 bits, in numba.

Keyed, so that nobody who doesn't know the key can choose ids that collide. Source: Aumasson and
Bernstein, "SipHash: a fast short-input PRF" (2012); the 128-bit form is the reference's.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from .kernel import kernel

Key = NDArray[np.uint64]


def hash_key(secret: str) -> Key:
    """Two 64-bit words from a secret of any length.

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


@kernel
def siphash128(buffer, start, end, key):  # type: ignore[no-untyped-def]
    """Hash `buffer[start:end]` (uint8) under `key` (2 uint64); returns two uint64."""
    k0, k1 = key[0], key[1]
    v0 = k0 ^ uint64(0x736F6D6570736575)
    v1 = k1 ^ uint64(0x646F72616E646F6D) ^ uint64(0xEE)
    v2 = k0 ^ uint64(0x6C7967656E657261)
    v3 = k1 ^ uint64(0x7465646279746573)
    length = end - start
    whole = start + (length // 8) * 8
    i = start
    while i < whole:
        word = uint64(0)
        for j in range(8):
            word |= uint64(buffer[i + j]) << uint64(8 * j)
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        i += 8
    last = uint64(length & 0xFF) << uint64(56)
    for j in range(end - whole):
        last |= uint64(buffer[whole + j]) << uint64(8 * j)
    v3 ^= last
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= last
    v2 ^= uint64(0xEE)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    high = v0 ^ v1 ^ v2 ^ v3
    v1 ^= uint64(0xDD)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return high, v0 ^ v1 ^ v2 ^ v3


@njit(cache=True)
def hash_parts(buffer, bounds, key):  # type: ignore[no-untyped-def]
    """64-bit digests of `buffer[bounds[i]:bounds[i + 1]]`, one for each part."""
    digests = np.empty(bounds.size - 1, np.uint64)
    for i in range(digests.size):
        digests[i], _ = siphash128(buffer, bounds[i], bounds[i + 1], key)
    return digests
