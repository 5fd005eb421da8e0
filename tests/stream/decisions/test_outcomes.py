"""Levels from thresholds and from rules: the stricter one counts, and rules fire in order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.definitions.expressions import Expression, feature
from featurestore.definitions.features import rule
from stream.decisions.outcomes import BANDS, OUTCOMES, UNSCORED, levels_of, rule_hits


@given(
    st.lists(st.one_of(st.floats(0, 1), st.just(float("nan")))), st.floats(0, 1), st.floats(0, 1)
)
@settings(deadline=None)
def test_levels(scores, low, high):
    review, refer = min(low, high), max(low, high)
    found = levels_of(np.array(scores, np.float64), review, refer).tolist()
    assert found == [2 if s >= refer else 1 if s >= review else 0 for s in scores]
    assert len(OUTCOMES) == BANDS.index("unscored") == UNSCORED == 3


def test_without_a_model_nothing_is_above_the_threshold():
    assert levels_of(np.array([1.0, np.nan]), np.inf, np.inf).tolist() == [0, 0]


RULES = (
    rule("big", feature("amount") > 10, outcome="review", text="big"),
    rule("bad", feature("frauds") >= 2, outcome="refer", text="known frauds"),
    rule("always", Expression("number", (1.0,)), outcome="review", text="each claim"),
)
ROW = st.tuples(
    st.sampled_from([5.0, 11.0, float("nan")]), st.sampled_from([0.0, 2.0, float("nan")])
)


@given(st.lists(ROW, max_size=6))
@settings(deadline=None)
def test_rules_fire_in_their_order_and_the_strictest_counts(rows):
    columns = {"amount": np.array([r[0] for r in rows]), "frauds": np.array([r[1] for r in rows])}
    hits, levels = rule_hits(RULES, columns, len(rows))
    for i, ((amount, frauds), level) in enumerate(zip(rows, levels.tolist(), strict=True)):
        want = [
            name
            for name, on in (("big", amount > 10), ("bad", frauds >= 2), ("always", True))
            if on
        ]
        assert [hit.rule for hit in hits[i]] == want
        assert level == (2 if frauds >= 2 else 1)


def test_no_rules_ask_for_nothing():
    hits, levels = rule_hits((), {}, 2)
    assert hits == {}
    assert levels.tolist() == [0, 0]
