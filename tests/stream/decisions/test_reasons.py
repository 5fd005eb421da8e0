"""Reasons sum to the margin, the largest first; their texts name the value and the window."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.decisions import Baseline, Window
from featurestore.definitions.expressions import field
from featurestore.definitions.features import Entity, computed, count, mean, number, one_hot, rate
from stream.decisions.reasons import Explainer

DAY_MS = 86_400_000
shop = Entity("repair_shop", key="shop_id")
FEATURES = (
    number(
        "amount", "amount_cents", unit=100, text="amount claimed", baseline="shop.mean_cents.90d"
    ),
    *one_hot("kind", "kind", ["theft", "fire"]),
    count("shop.count.30d", of=shop, window="30d", text="claims at this shop"),
    rate("shop.rate.1d", of=shop, window="1d", delay="7d", text="frauds at this shop"),
    mean("shop.mean_cents.90d", of=shop, value="amount_cents", window="90d", text="mean amount"),
    computed("ratio", field("a") / field("b")),
)
GRID = {"shop.count.30d": [0.0, 1.0, 2.0, 3.0, 100.0]}
NOW_MS = 1_800_000_000_000


def explain(vector, shares, max_reasons=6, base=-1.0):
    """The explanation of one claim with these contributions."""
    explainer = Explainer(FEATURES, GRID, max_reasons)
    (found,) = explainer.explain(np.array([vector], float), np.array([[*shares, base]]), [NOW_MS])
    return found


SHARES = st.lists(
    st.one_of(st.floats(-5, 5), st.just(0.0), st.floats(-1e-12, 1e-12)), min_size=7, max_size=7
)


@given(SHARES, st.integers(1, 9), st.floats(-5, 5))
@settings(deadline=None)
def test_they_sum_to_the_margin_and_the_largest_come_first(shares, max_reasons, base):
    found = explain([1.0] * 7, shares, max_reasons, base)
    sizes = [abs(reason.contribution) for reason in found.reasons]
    assert len(sizes) == min(max_reasons, sum(round(abs(share), 9) > 0 for share in shares))
    assert sizes == sorted(sizes, reverse=True)
    total = math.fsum(
        [*(r.contribution for r in found.reasons), found.rest_margin, found.base_margin]
    )
    assert abs(total - math.fsum([*shares, base])) < 1e-6


def test_equal_shares_stand_in_the_order_of_the_definitions():
    found = explain([1.0] * 7, [1, -1, 1, -1, 1, -1, 1], max_reasons=3)
    assert [reason.feature for reason in found.reasons] == ["amount", "kind_theft", "kind_fire"]


TEXTS = [  # index of the feature, vector, text
    (0, [1234567, 0, 0, 0, 0, math.nan, 0], "amount claimed: 1,234,567"),
    (0, [12, 0, 0, 0, 0, 250_000, 0], "amount claimed: 12, usually 2,500 here"),
    (1, [0, 1, 0, 0, 0, 0, 0], "kind is theft"),
    (1, [0, 0, 0, 0, 0, 0, 0], "not: kind is theft"),
    (
        3,
        [0, 0, 0, 100, 0, 0, 0],
        "claims at this shop in 30 days: 100; higher than 100 % of claims",
    ),
    (3, [0, 0, 0, 0, 0, 0, 0], "claims at this shop in 30 days: 0; lower than 100 % of claims"),
    (3, [0, 0, 0, 2, 0, 0, 0], "claims at this shop in 30 days: 2"),
    (3, [0, 0, 0, math.nan, 0, 0, 0], "claims at this shop in 30 days: not known"),
    (4, [0, 0, 0, 0, 0.25, 0, 0], "frauds at this shop in a day, up to 7 days ago: 0.25"),
    (5, [0, 0, 0, 0, 0, 123_456, 0], "mean amount in 90 days: 1,235"),
    (6, [0, 0, 0, 0, 0, 0, 0.5], "ratio: 0.50"),
]


@pytest.mark.parametrize(("feature", "vector", "text"), TEXTS)
def test_texts(feature, vector, text):
    shares = [0.0] * 7
    shares[feature] = 1.0
    assert explain(vector, shares).reasons[0].text == text


def test_a_reason_says_which_rows_it_counted():
    shares = [0, 0, 0, 2, 1, 0, 0.5]
    by_name = {r.feature: r for r in explain([1.0] * 7, shares).reasons}
    assert by_name["shop.count.30d"].counted == Window("repair_shop", NOW_MS - 30 * DAY_MS, NOW_MS)
    assert by_name["shop.rate.1d"].counted == Window(
        "repair_shop", NOW_MS - 8 * DAY_MS, NOW_MS - 7 * DAY_MS
    )
    assert by_name["ratio"].counted is None


def test_a_baseline_is_the_entitys_own_where_there_is_one_else_its_peers():
    vector = [5, 0, 0, 100, 0, 900, 0]
    by_name = {r.feature: r for r in explain(vector, [1, 0, 0, 1, 0, 0, 1]).reasons}
    assert by_name["amount"].baseline == Baseline("own", 900.0, None)
    assert by_name["shop.count.30d"].baseline == Baseline("peers", 2.0, 100.0)
    assert by_name["ratio"].baseline is None
    missing = explain([math.nan] * 7, [1, 0, 0, 1, 0, 0, 0]).reasons
    assert [(r.value, r.baseline) for r in missing] == [(None, None), (None, None)]


VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.5, 100.0, -3.0, math.nan])


@given(st.lists(st.lists(VALUES, min_size=7, max_size=7), min_size=1, max_size=8))
@settings(deadline=None)
def test_cached_phrases_change_no_text(vectors):
    rows = len(vectors)
    shares = np.ones((rows, 8))
    found = Explainer(FEATURES, GRID, 7).explain(np.array(vectors), shares, [NOW_MS] * rows)
    for vector, explanation in zip(vectors, found, strict=True):
        alone = explain(vector, [1.0] * 7, max_reasons=7, base=1.0)
        assert repr(explanation) == repr(alone)
