"""The metrics against slow oracles and scikit-learn, with ties and weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.oracles import naive_metrics as naive
from training.evaluation.metrics import (
    Ranking,
    auc,
    average_precision,
    brier,
    calibration_error,
    card_precision,
)

# Few levels, so that ties are the rule.
rows = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60)


def columns(pairs: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs]), np.array([p[1] / 6 for p in pairs])


@given(rows)
def test_ranking_metrics_equal_the_oracle(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = columns(pairs)
    ours = [average_precision(labels, scores), auc(labels, scores)]
    theirs = [f(labels.tolist(), scores.tolist()) for f in (naive.average_precision, naive.auc)]
    assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@given(rows, st.randoms(use_true_random=False))
def test_row_order_does_not_matter(pairs: list[tuple[bool, int]], random) -> None:
    labels, scores = columns(pairs)
    random.shuffle(pairs)
    again, scores_again = columns(pairs)
    assert average_precision(labels, scores) == pytest.approx(
        average_precision(again, scores_again), nan_ok=True
    )


@given(rows, st.data())
def test_a_weight_is_a_repeated_row(pairs: list[tuple[bool, int]], data) -> None:
    labels, scores = columns(pairs)
    count = st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs))
    weights = np.array(data.draw(count))
    ranking = Ranking(labels, scores)
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    expected = [average_precision(*repeated), auc(*repeated)]
    ours = [f(weights.astype(float)) for f in (ranking.average_precision, ranking.auc)]
    assert ours == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_equal_to_scikit_learn_on_many_rows() -> None:
    rng = np.random.default_rng(3)
    labels = rng.random(20_000) < 0.03
    scores = np.round(rng.normal(size=20_000) + labels, 2).astype(np.float32)
    assert average_precision(labels, scores) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_undefined_is_nan_not_a_number_that_looks_good() -> None:
    none, both = np.array([False, False]), np.array([True, True])
    scores = np.array([0.1, 0.9])
    assert np.isnan(average_precision(none, scores))
    assert np.isnan(auc(none, scores))
    assert np.isnan(auc(both, scores))
    assert np.isnan(average_precision(none[:0], scores[:0]))
    assert np.isnan(calibration_error(none[:0], scores[:0]))
    assert np.isnan(brier(none[:0], scores[:0]))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 5), st.integers(0, 3)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 4),
)
def test_card_precision_equals_the_oracle(events: list[tuple[bool, int, int, int]], k: int) -> None:
    labels, scores, customers, days = (np.array(column) for column in zip(*events, strict=True))
    ours = card_precision(labels, scores, customers, days, k)
    expected = naive.card_precision(
        labels.tolist(), scores.tolist(), customers.tolist(), days.tolist(), k
    )
    assert ours[0] == pytest.approx(expected)
    assert ours[1] >= 0


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 1000)),
        min_size=1,
        max_size=50,
        unique_by=lambda p: p[1],
    ),
    st.integers(1, 12),
)
def test_calibration_error_equals_the_oracle(pairs: list[tuple[bool, int]], bins: int) -> None:
    labels, chances = np.array([p[0] for p in pairs]), np.array([p[1] / 1000 for p in pairs])
    expected = naive.calibration_error(labels.tolist(), chances.tolist(), bins)
    assert calibration_error(labels, chances, bins) == pytest.approx(expected)
