"""What speaks for and against fraud: windows joined, usual values left out, sums kept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace_examples.auto_claims import DOMAIN
from featurestore.definitions.features import WindowFeature
from serving.packet.findings import Findings, findings_of
from tests.serving.packet.cases import GRID, evidence, row

NAMES = DOMAIN.feature_names
GRIDS = dict.fromkeys(NAMES, GRID)
SHOP = ("repair_shop.claims.count.7d", "repair_shop.claims.count.30d")


def total(found: Findings) -> float:
    assert found.base is not None
    shares = [each.share for each in (*found.raising, *found.lowering)]
    return math.fsum([*shares, found.usual, found.base])


def test_windows_over_one_entity_are_one_finding() -> None:
    accounts = ("bank_account.policies.distinct.90d", "bank_account.claimed.sum_cents.90d")
    shown = {each: [row(1), row(2)] for each in (*SHOP, *accounts)}
    values = {SHOP[0]: 80.0, SHOP[1]: 99.0, accounts[0]: 90.0, accounts[1]: 95.0}
    shares = {SHOP[0]: 0.5, SHOP[1]: 0.25, accounts[0]: 1.0, accounts[1]: -0.25}
    found = findings_of(evidence(values, shares, shown), DOMAIN, GRIDS)
    assert [each.share for each in found.raising] == [1.0, 0.75]
    shop = found.raising[1]
    assert (shop.features, shop.rows) == (list(SHOP), 2)
    assert shop.text.startswith("claims at this repair shop: 80 in 7 days (higher than on 79 of")
    assert ", 99 in 30 days (higher than on 98 of 100 claims, half of them have" in shop.text
    assert [each.share for each in found.lowering] == [-0.25]


@pytest.mark.parametrize(("value", "is_told"), [(24.0, True), (25.0, False), (75.0, False),
                                               (76.0, True)])  # fmt: skip
def test_a_value_that_lies_where_most_lie_is_not_odd(value: float, is_told: bool) -> None:
    name = "customer.claims.count.365d"
    name = name if name in NAMES else "num_injuries"
    found = findings_of(evidence({name: value}, {name: 0.9}), DOMAIN, GRIDS)
    assert bool(found.raising) is is_told
    assert found.usual == (0 if is_told else 0.9)


def test_a_value_that_most_claims_have_is_told_where_it_lowers() -> None:
    found = findings_of(evidence({SHOP[0]: 50.0}, {SHOP[0]: -0.4}), DOMAIN, GRIDS)
    assert (found.raising, found.usual) == ([], 0)
    assert "as on most claims: half of them have between 25 and 75" in found.lowering[0].text


def test_a_usual_value_is_odd_for_who_never_claims_that_much() -> None:
    own = "policy.claimed.mean_cents.365d"
    values = {"total_claim_amount": 50.0, own: 2_000.0}
    found = findings_of(evidence(values, {"total_claim_amount": 0.9}), DOMAIN, GRIDS)
    assert "amount claimed: 50 (usually 20 here; as on most claims" in found.raising[0].text
    values[own] = 0.0  # no past
    assert not findings_of(evidence(values, {"total_claim_amount": 0.9}), DOMAIN, GRIDS).raising
    values[own] = 4_000.0
    assert not findings_of(evidence(values, {"total_claim_amount": 0.9}), DOMAIN, GRIDS).raising


def test_a_category_is_told_by_the_value_it_has() -> None:
    values = {"policy_state_or": 1.0}
    shares = {"policy_state_or": 0.2, "policy_state_ca": 0.3, "policy_state_wa": -0.1}
    rare = GRIDS | {"policy_state_or": [0.0] * 95 + [1.0] * 6}
    found = findings_of(evidence(values, shares), DOMAIN, rare)
    assert [each.text for each in found.raising] == ["policy_state is or (on 6 of 100 claims)"]
    assert found.raising[0].share == pytest.approx(0.4)
    none = findings_of(evidence({}, shares), DOMAIN, rare)
    assert (none.raising, none.usual) == ([], pytest.approx(0.4))


def test_no_value_of_a_personal_field_is_told() -> None:
    personal = [name for name in NAMES if "gender" in name]
    assert personal
    found = findings_of(evidence(dict.fromkeys(personal, 1.0), {personal[0]: 0.7}), DOMAIN, {})
    assert [each.text for each in found.raising] == ["customer_gender (personal: not shown)"]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.none() | st.floats(-9, 110), max_size=30),
    st.dictionaries(st.sampled_from(NAMES), st.floats(-3, 3).map(lambda x: round(x, 9)),
                    max_size=30),
    st.integers(0, 8),
)  # fmt: skip
def test_shares_sum_to_the_margin_and_no_entity_is_told_twice(values, shares, most) -> None:
    whole = evidence(values, shares)
    found = findings_of(whole, DOMAIN, GRIDS, most)
    assert total(found) == pytest.approx(whole.margin, abs=1e-6)
    entity_of = {f.name: f.entity.name for f in DOMAIN.features if isinstance(f, WindowFeature)}
    for listed in (found.raising, found.lowering):
        assert len(listed) <= most
        assert [abs(each.share) for each in listed] == sorted(
            (abs(each.share) for each in listed), reverse=True
        )
        entities = [{entity_of.get(name) for name in each.features} - {None} for each in listed]
        assert all(len(each) <= 1 for each in entities)
        named = [name for each in entities for name in each]
        assert len(named) == len(set(named))
