"""Thresholds by capacity: ties, fractions, and capacities beyond all claims."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import UsageError
from training.evaluation.capacity import threshold_for

scores = st.lists(st.integers(0, 12).map(lambda n: n / 12), min_size=1, max_size=80)


@given(scores, st.integers(1, 9), st.integers(1, 30))
def test_as_many_as_fit_and_no_lower_level_would(
    values: list[float], days: int, capacity: int
) -> None:
    chances = np.array(values)
    threshold = threshold_for(chances, days, capacity)
    passing = int(np.sum(np.round(chances, 9) >= threshold.value))
    assert threshold.expected_per_day == pytest.approx(passing / days)
    allowed = capacity * days
    if len(values) <= allowed:
        assert (threshold.value, passing) == (0.0, len(values))
        assert "more than all" in threshold.note
    elif passing > allowed:
        assert threshold.value == pytest.approx(max(values), abs=1e-9)
        assert "share the highest score" in threshold.note
    else:
        lower = [v for v in values if round(v, 9) < threshold.value]
        assert passing + lower.count(max(lower)) > allowed


@given(scores, st.integers(1, 20), st.integers(0, 20))
def test_a_larger_capacity_never_raises_the_threshold(
    values: list[float], refer: int, more: int
) -> None:
    chances = np.array(values)
    assert threshold_for(chances, 1, refer + more).value <= threshold_for(chances, 1, refer).value


def test_plain_case_and_a_fraction_of_a_claim() -> None:
    chances = np.arange(100) / 100
    assert threshold_for(chances, days=10, capacity_per_day=2).value == pytest.approx(0.80)
    assert threshold_for(chances, days=10, capacity_per_day=0.5).value == pytest.approx(0.95)


def test_a_block_of_ties_that_would_not_fit_is_left_out_with_a_note() -> None:
    chances = np.array([0.9] + [0.5] * 50 + [0.1])
    threshold = threshold_for(chances, 1, 10)
    assert (threshold.value, threshold.expected_per_day) == (0.9, 1.0)
    assert "50 claims share the next score" in threshold.note


@pytest.mark.parametrize(("values", "days", "capacity"), [([], 1, 1), ([0.5], 0, 1), ([0.5], 1, 0)])
def test_nothing_to_set_it_on(values: list[float], days: float, capacity: float) -> None:
    with pytest.raises(UsageError, match="no threshold"):
        threshold_for(np.array(values), days, capacity)


@given(scores, st.floats(0.1, 200), st.floats(0, 1))
def test_no_claim_below_the_least_threshold_passes(
    values: list[float], capacity: float, least: float
) -> None:
    chances = np.round(values, 9)
    plain, bound = threshold_for(chances, 1, capacity), threshold_for(chances, 1, capacity, least)
    if plain.value >= round(least, 9):
        assert bound == plain
    else:
        assert bound.value == round(least, 9)
        assert bound.expected_per_day == np.sum(chances >= bound.value)
        assert "safer than the average" in bound.note
