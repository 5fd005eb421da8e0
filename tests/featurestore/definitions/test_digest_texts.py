"""Definitions and rules in words, from the text of their digest."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import StateError
from claimtrace.ids import digest
from claimtrace_examples.auto_claims import DOMAIN
from claimtrace_examples.card_payments import DOMAIN as CARDS
from featurestore.definitions.digest_texts import lines_of


@pytest.mark.parametrize("domain", [DOMAIN, CARDS], ids=lambda each: each.name)
def test_every_feature_and_rule_is_named(domain) -> None:
    assert digest(domain.definitions_text) == domain.definitions_digest
    assert digest(domain.rules_text) == domain.rules_digest
    lines = lines_of(domain.definitions_text)
    assert len(lines) == 1 + len(domain.features) + len(domain.groups)
    for line, feature in zip(lines[1:], domain.features, strict=False):
        assert feature.name in line
        assert feature.text in line
    rules = lines_of(domain.rules_text)
    assert domain.rules or rules == ["no rules"]
    for line, rule in zip(rules, domain.rules, strict=bool(domain.rules)):
        assert line.startswith(f"rule {rule.name}: {rule.outcome} where ")
        assert rule.text in line


def test_windows_and_conditions_are_written_as_people_do() -> None:
    lines = "\n".join(lines_of(DOMAIN.definitions_text) + lines_of(DOMAIN.rules_text))
    assert "(policy.age_days < 30.0) & (total_claim_cents > 2500000.0)" in lines
    assert 'aggregate="sum", width=90d, value="total_claim_cents"' in lines
    assert 'entity=phone (by phone, also=["other_party_phone"], form="phone"' in lines


def test_what_the_language_does_not_know_is_shown_as_it_is() -> None:
    assert lines_of(b'[["Later","x",7],["Rule","y"]]') == ['["Later","x",7]', '["Rule","y"]']
    assert lines_of(b"[]") == ["no rules"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.sampled_from(["Rule", "Own", "WindowFeature", "Entity", "name", "number", ">"]),
    lambda each: st.lists(each, max_size=12) | st.dictionaries(st.text(), each, max_size=2),
    max_leaves=30,
)  # fmt: skip


@given(JSON.map(msgspec.json.encode) | st.binary())
def test_any_text_gives_lines_or_a_state_error(text: bytes) -> None:
    with suppress(StateError):
        assert all(isinstance(line, str) for line in lines_of(text))


def test_a_text_of_great_depth_is_refused() -> None:
    with pytest.raises(StateError):
        lines_of(b"[" * 100_000)
