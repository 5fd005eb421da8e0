"""Ids and digests are the same on every machine and in every version: golden values."""

from __future__ import annotations

import uuid
from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.ids import decision_id, digest, digest_of, partition_of

NAMESPACE = uuid.UUID("6a1d4a52-38c6-5d3e-9a50-5f1f7f0c2b11")
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)


@given(TEXT, TEXT)
@settings(deadline=None)
def test_a_decision_id_is_the_standard_librarys_uuid5(event_id, policy):
    assert decision_id(event_id, policy) == str(uuid.uuid5(NAMESPACE, f"{policy}\n{event_id}"))


def test_golden_values():
    assert decision_id("c-1", "auto_claims") == "8cac9d2b-8d68-5a61-8906-80710046be80"
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [partition_of(f"policy-{i}", 8) for i in range(6)] == GOLDEN_PARTITIONS
    assert digest_of({"b": [1, None], "a": "x"}) == digest(b'{"a":"x","b":[1,null]}')


GOLDEN_PARTITIONS = [7, 2, 7, 2, 3, 1]


@given(st.dictionaries(TEXT, st.integers()))
@settings(deadline=None)
def test_a_digest_does_not_see_the_order_of_keys(thing):
    assert digest_of(thing) == digest_of(dict(reversed(thing.items())))


def test_structs_and_lists_have_digests():
    class Thing(msgspec.Struct):
        a: int

    assert digest_of(Thing(1)) == digest_of({"a": 1}) != digest_of([1])


def test_keys_spread_over_partitions():
    found = Counter(partition_of(f"policy-{i}", 8) for i in range(8000))
    assert set(found) == set(range(8))
    assert min(found.values()) > 800
