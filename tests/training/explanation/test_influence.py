"""Which claims are looked at, and how their values are summed up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.explanation.examples import choose_examples, typical_values
from training.explanation.influence import influences_of
from training.explanation.sample import least_hashed, sample_of


@given(seed=st.integers(0, 1000), claims=st.integers(1, 60))
def test_aggregates_are_those_of_the_claims_repeated(seed: int, claims: int) -> None:
    """A weight counts a claim so many times."""
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=(claims, 3)), rng.integers(1, 4, claims)
    is_fraud = rng.random(claims) < 0.3
    repeated = np.repeat(values, weights, axis=0)
    found = influences_of(["a", "b", "c"], values, weights.astype(float), is_fraud, {"b": "bee"})
    assert [one.mean_absolute for one in found] == sorted(
        (one.mean_absolute for one in found), reverse=True
    )
    for one in found:
        column = repeated[:, "abc".index(one.feature)]
        assert one.mean_absolute == pytest.approx(np.mean(np.abs(column)))
        assert one.mean_square == pytest.approx(np.mean(column**2))
        assert one.median == np.sort(column)[(len(column) - 1) // 2]
        own = values[is_fraud, "abc".index(one.feature)]
        assert one.among_frauds == (pytest.approx(own.mean()) if len(own) else None)
        assert one.text == ("bee" if one.feature == "b" else "")


def test_all_frauds_are_looked_at_and_the_sample_stands_for_all() -> None:
    is_fraud = np.random.default_rng(3).random(5000) < 0.02
    ids = [f"c-{number}" for number in range(5000)]
    sample = sample_of(ids, is_fraud, seed=7, most=400)
    assert np.isin(np.flatnonzero(is_fraud), sample.rows).all()
    assert len(sample.rows) == is_fraud.sum() + 400
    assert sample.weights.sum() == pytest.approx(5000)
    assert (np.diff(sample.rows) > 0).all()
    assert len(sample_of(ids, is_fraud, seed=7).rows) == 5000


def test_claims_that_come_change_the_sample_little() -> None:
    ids = [f"c-{number}" for number in range(1100)]
    before = set(least_hashed(ids, np.arange(1000), 7, 500).tolist())
    after = set(least_hashed(ids, np.arange(1100), 7, 500).tolist())
    assert len(before & after) > 430
    assert set(least_hashed(ids, np.arange(1000), 8, 500).tolist()) != before


def test_examples_lie_where_they_should() -> None:
    rng = np.random.default_rng(5)
    scores, labels = rng.random(300).round(2), rng.choice([0.0, 1.0, np.nan], 300)
    amounts = rng.integers(1, 50, 300).astype(float)
    found = {one.kind: one.row for one in choose_examples(
        np.arange(300), scores, labels, amounts, threshold=0.7)}  # fmt: skip
    assert scores[found["the highest score"]] == scores.max()
    assert scores[found["just referred"]] == scores[scores >= 0.7].min()
    assert scores[found["just not referred"]] == scores[scores < 0.7].max()
    missed = (scores < 0.7) & (labels == 1)
    assert missed[found["a fraud that is missed"]]
    assert amounts[found["a fraud that is missed"]] == amounts[missed].max()
    wrong = (scores >= 0.7) & (labels == 0)
    assert wrong[found["a legitimate claim that is referred"]]
    assert choose_examples(np.arange(2), np.array([0.1, 0.2]), np.zeros(2), np.zeros(2), 0.0)


def test_what_is_typical_is_a_value_that_occurs() -> None:
    matrix = np.array(
        [[1.0, np.nan], [4.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [8.0, np.nan]]
    )
    assert typical_values(matrix)[0] == 2.0
    assert np.isnan(typical_values(matrix)[1])
