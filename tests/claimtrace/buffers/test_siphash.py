"""SipHash-2-4 gives the test vectors of its authors' reference implementation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.buffers.siphash import hash_key, hash_parts, siphash128

KEY = np.frombuffer(bytes(range(16)), np.uint64).copy()
# vectors_sip128 of github.com/veorq/SipHash: key 00 01 .. 0f, messages of 0, 1, 2 .. bytes 00 01 ..
VECTORS = [
    "a3817f04ba25a8e66df67214c7550293",
    "da87c1d86b99af44347659119b22fc45",
    "8177228da4a45dc7fca38bdef60affe4",
    "9c70b60c5267a94e5f33b6b02985ed51",
    "f88164c12d9c8faf7d0f6e7c7bcd5579",
    "1368875980776f8854527a07690e9627",
    "14eeca338b208613485ea0308fd7a15e",
    "a1f1ebbed8dbc153c0b84aa61ff08239",
    "3b62a9ba6258f5610f83e264f31497b4",
]
MASK = 2**64 - 1


def plain(message: bytes, key: bytes) -> tuple[int, int]:
    """Compute the hash with Python's integers, as the reference does: the oracle."""
    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D ^ 0xEE,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]

    def turn(x: int, bits: int) -> int:
        return (x << bits | x >> (64 - bits)) & MASK

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = turn(v[1], 13) ^ v[0]
            v[0] = turn(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = turn(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = turn(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = turn(v[1], 17) ^ v[2]
            v[2] = turn(v[2], 32)

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 255])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return first, v[0] ^ v[1] ^ v[2] ^ v[3]


def of(message: bytes, key: np.ndarray = KEY) -> tuple[int, int]:
    buffer = np.frombuffer(b"<<" + message + b">>", np.uint8)
    high, low = siphash128(buffer, 2, 2 + len(message), key)
    return int(high), int(low)


def test_the_authors_vectors():
    for length, vector in enumerate(VECTORS):
        halves = of(bytes(range(length)))
        assert b"".join(half.to_bytes(8, "little") for half in halves).hex() == vector


@given(st.binary(max_size=300), st.binary(min_size=16, max_size=16))
@settings(deadline=None)
def test_it_equals_the_reference_in_plain_integers(message, key):
    assert of(message, np.frombuffer(key, np.uint64).copy()) == plain(message, key)


@given(st.lists(st.binary(max_size=20), max_size=8))
@settings(deadline=None)
def test_parts_are_hashed_each_for_itself(parts):
    bounds = np.cumsum([0, *map(len, parts)])
    found = hash_parts(np.frombuffer(b"".join(parts), np.uint8), bounds, KEY).tolist()
    assert found == [of(part)[0] for part in parts]


def test_keys_of_secrets():
    assert hash_key("a").tolist() != hash_key("b").tolist()
    assert hash_key("x" * 1000).shape == (2,)
