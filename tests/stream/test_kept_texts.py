"""Texts of definitions and rules in terms and plans: bounded, and checked against their digest."""

from __future__ import annotations

import base64
import random
import zlib

import msgspec
import pytest

from claimtrace.errors import StateError
from claimtrace.ids import digest
from claimtrace_examples.auto_claims import DOMAIN
from stream.journal.kept_texts import MOST_BYTES, MOST_PACKED, kept_texts, packed, unpacked
from stream.journal.plan import Plan, encoded_plan, plan_in
from stream.journal.terms import encoded_terms, terms_of
from tests.contracts.journal_grounds import TERMS

BOTH = (DOMAIN.definitions_text, DOMAIN.rules_text)
PACKED = packed(BOTH)


def test_the_texts_are_what_the_digests_are_of() -> None:
    assert list(PACKED) == [DOMAIN.definitions_digest, DOMAIN.rules_digest]
    assert [unpacked(*each) for each in PACKED.items()] == list(BOTH)
    assert sum(map(len, PACKED.values())) < 8_000


def test_terms_and_plans_carry_them() -> None:
    terms = msgspec.structs.replace(TERMS, texts=PACKED)
    plan = Plan(number=4, ranges=[], model=None, now_ms=7, texts=PACKED)
    assert terms_of(encoded_terms(terms), "journal") == terms
    assert plan_in(encoded_plan(plan), "journal") == plan
    terms.check_same(TERMS, "journal")
    bare = msgspec.structs.replace(plan, texts={})
    assert dict(kept_texts(terms, [bare])) == PACKED
    assert dict(kept_texts(TERMS, [bare, plan, plan])) == PACKED
    assert not dict(kept_texts(TERMS, [bare]))


def test_terms_and_plans_without_them_have_the_bytes_of_before() -> None:
    for edition in (1, 2, 3):
        written = encoded_terms(msgspec.structs.replace(TERMS, edition=edition))
        assert b"texts" not in written
        assert b"reasons_for" not in written
    assert b"texts" not in encoded_plan(Plan(number=4, ranges=[], model=None, now_ms=7))


def test_who_gets_reasons_is_a_term() -> None:
    more = msgspec.structs.replace(TERMS, reasons_for="review")
    assert terms_of(encoded_terms(more), "journal").reasons_for == "review"
    with pytest.raises(StateError, match="reasons_for = refer, the settings say review"):
        TERMS.check_same(more, "journal")


@pytest.mark.parametrize(
    "written",
    ["", "@", "AAAA", base64.b64encode(b"plain").decode(), PACKED[DOMAIN.rules_digest],
     base64.b64encode(zlib.compress(BOTH[0])[:-9]).decode(),
     base64.b64encode(zlib.compress(BOTH[0] + b" ")).decode(), "\u20ac" * 9],
)  # fmt: skip
def test_another_text_than_that_of_the_digest_is_refused(written: str) -> None:
    with pytest.raises(StateError, match="is not the text of this digest"):
        unpacked(DOMAIN.definitions_digest, written)


def test_a_text_that_unpacks_to_far_more_is_cut_off_and_refused() -> None:
    bomb = b" " * (MOST_BYTES + 1)
    with pytest.raises(StateError):
        unpacked(digest(bomb), base64.b64encode(zlib.compress(bomb)).decode())
    assert not packed([bomb])


def test_texts_are_left_out_when_they_are_too_large_for_a_journal() -> None:
    noise = random.Random(1).randbytes(MOST_PACKED)
    assert packed([noise, BOTH[1]]) == packed([BOTH[1]])
