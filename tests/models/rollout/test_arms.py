"""The arm of a claim: the hash by an oracle in whole numbers, the share, and who moves."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.decisions import ModelRef
from claimtrace.ids import digest_of
from models.rollout.arms import arm_key, arms_of, buckets
from models.rollout.manifest import Canary
from tests.claimtrace.buffers.test_siphash import plain

MODEL = ModelRef("claims", 2, "ab")
CLAIMS = 1_000_000
shares = st.integers(1_000, 999_000)


def bucket_of(unit: bytes, name: str, salt: str) -> int:
    """The rule in Python's integers: the oracle."""
    key = hashlib.sha256(b"arm" + digest_of([name, "models", salt]).encode()).digest()[:16]
    high, _ = plain(unit, key)
    u = int.from_bytes(high.to_bytes(8, "little"), "big")
    return (u * 1_000_000) >> 64


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.binary(max_size=20), max_size=9), st.text(max_size=5))
def test_buckets_are_those_of_the_rule(units: list[bytes | None], salt: str) -> None:
    found = buckets(ByteStrings.of(units), arm_key("claims", salt))
    assert found.tolist() == [bucket_of(u, "claims", salt) if u else -1 for u in units]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.binary(max_size=12), max_size=30), shares)
def test_the_canary_has_the_last_buckets(units: list[bytes | None], share: int) -> None:
    arms = arms_of(ByteStrings.of(units), "claims", Canary(MODEL, share, "s"))
    assert arms.tolist() == [
        int(bool(u) and bucket_of(u, "claims", "s") >= 1_000_000 - share) for u in units
    ]


def a_million() -> ByteStrings:
    numbers = np.char.zfill(np.arange(CLAIMS).astype("S7"), 7)
    return ByteStrings.packed(numbers.view(np.uint8), np.full(CLAIMS, 7))


def test_the_share_is_within_four_sigma_and_growing_moves_nobody_out() -> None:
    units = a_million()
    before = np.zeros(CLAIMS, np.bool_)
    for share in (1_000, 10_000, 50_000, 250_000, 500_000, 999_000):
        is_canary = arms_of(units, "claims", Canary(MODEL, share, "salt")) == 1
        wanted = CLAIMS * share / 1_000_000
        sigma = (wanted * (1 - share / 1_000_000)) ** 0.5
        assert abs(is_canary.sum() - wanted) < 4 * sigma, share
        assert not (before & ~is_canary).any()
        before = is_canary


def test_two_canaries_have_their_own_policies() -> None:
    units = a_million()
    one, other = (
        arms_of(units, "claims", Canary(MODEL, 100_000, salt)) for salt in ("first", "second")
    )
    assert abs(int((one & other).sum()) - 10_000) < 4 * (10_000 * 0.99) ** 0.5
