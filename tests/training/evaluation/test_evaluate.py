"""The evaluation against a slow oracle, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import naive_metrics as naive
from training.evaluation.evaluate import (
    METRICS,
    Measured,
    Panel,
    bootstrap,
    evaluate,
    precision_ceiling,
)


def panel_of(labels, days, groups=None, cents=None, capacity: float = 2.0) -> Panel:
    labels = np.array(labels, dtype=float)
    days = np.array(days)
    money = np.zeros(len(labels)) if cents is None else np.where(labels == 1, cents, 0.0)
    return Panel(
        rows=np.arange(len(labels)),
        labels=labels,
        days=days - days.min(),
        day_count=int(days.max() - days.min()) + 1,
        groups=np.arange(len(labels)) if groups is None else np.array(groups),
        fraud_cents=money,
        has_money=bool(money.any()),
        capacity_per_day=capacity,
        weights=np.ones(len(labels)),
    )


claims = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 5), st.integers(0, 4)),
    min_size=1,
    max_size=60,
)


@given(claims, st.sampled_from([0.3, 0.5, 1.0, 2.0, 2.5, 100.0]))
def test_what_the_capacity_finds_equals_the_oracle(events, capacity: float) -> None:
    events = sorted(events, key=lambda e: e[2])  # panels are in time order
    labels, scores, days = (np.array(column, dtype=float) for column in zip(*events, strict=True))
    cents = np.arange(1, len(labels) + 1) * 100
    panel = panel_of(labels, days.astype(int), cents=cents, capacity=capacity)
    picked = naive.picked_at_capacity(days.astype(int).tolist(), scores.tolist(), capacity)
    known = [row for row in picked if not np.isnan(labels[row])]
    found = [row for row in picked if labels[row] == 1]
    _, _, precision, recall, money = Measured(panel, scores).metrics()
    nan = float("nan")
    assert precision == pytest.approx(len(found) / len(known) if known else nan, nan_ok=True)
    frauds = np.sum(labels == 1)
    assert recall == pytest.approx(len(found) / frauds if frauds else nan, nan_ok=True)
    total = cents[labels == 1].sum()
    assert money == pytest.approx(cents[found].sum() / total if total else nan, nan_ok=True)
    assert Measured(panel, scores).money_found_cents() == cents[found].sum()


@settings(max_examples=60)
@given(claims, st.data())
def test_a_weight_is_a_repeated_claim(events, data) -> None:
    events = sorted(events, key=lambda e: e[2])
    labels, scores, days = (np.array(column, dtype=float) for column in zip(*events, strict=True))
    count = st.lists(st.integers(0, 3), min_size=len(events), max_size=len(events))
    weights = np.array(data.draw(count))
    # With the first and last day kept, the panel has the same number of days.
    weights[0] = weights[-1] = 1
    whole = panel_of(labels, days.astype(int))
    repeated = panel_of(np.repeat(labels, weights), np.repeat(days.astype(int), weights))
    ours = Measured(whole, scores).metrics(weights.astype(float))
    assert ours == pytest.approx(
        Measured(repeated, np.repeat(scores, weights)).metrics(), nan_ok=True
    )


def test_half_a_claim_a_day_is_one_every_other_day() -> None:
    panel = panel_of([0.0] * 4, [0, 1, 2, 3], capacity=0.5)
    assert panel.capacities.tolist() == [0, 1, 0, 1]
    assert panel_of([0.0] * 2, [0, 9], capacity=0.1).capacities.sum() == 1


def test_unlabelled_claims_use_capacity_but_are_no_errors() -> None:
    panel = panel_of([np.nan, 1.0, 0.0], [0, 0, 0], capacity=2)
    metrics = dict(zip(METRICS, Measured(panel, np.array([3.0, 2.0, 1.0])).metrics(), strict=True))
    assert metrics["precision"] == 1.0
    assert metrics["recall"] == 1.0
    worse = Measured(panel, np.array([3.0, 1.0, 2.0])).metrics()
    assert (worse[2], worse[3]) == (0.0, 0.0)


def test_the_ceiling_is_what_the_truth_itself_reaches() -> None:
    rng = np.random.default_rng(4)
    labels, days = (rng.random(500) < 0.1).astype(float), np.sort(rng.integers(0, 20, 500))
    panel = panel_of(labels, days, capacity=3)
    assert precision_ceiling(panel, Measured(panel, labels)) == pytest.approx(
        Measured(panel, labels).metrics()[2]
    )


def test_draws_are_of_policies_seeded_and_shared() -> None:
    rng = np.random.default_rng(5)
    labels, days = (rng.random(400) < 0.2).astype(float), np.sort(rng.integers(0, 9, 400))
    panel = panel_of(labels, days, groups=rng.integers(0, 400, 400))
    scores = labels + rng.normal(size=400)
    one = Measured(panel, scores)
    drawn = bootstrap(panel, [one, one], seed=1, draws=50)
    assert drawn.shape == (2, 50, len(METRICS))
    assert np.array_equal(drawn[0], drawn[1], equal_nan=True)
    assert np.array_equal(drawn, bootstrap(panel, [one, one], seed=1, draws=50), equal_nan=True)
    assert not np.array_equal(drawn, bootstrap(panel, [one, one], seed=2, draws=50))
    one_policy = panel_of(labels, days, groups=np.zeros(400, dtype=int))
    lone = bootstrap(one_policy, [Measured(one_policy, scores)], seed=1, draws=5)
    # With a single policy every draw is the whole panel: the interval must have no width.
    assert np.ptp(lone[0, :, 0]) == 0


def test_copies_within_a_policy_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    labels, scores = (rng.random(150) < 0.3).astype(float), rng.normal(size=150)
    tenfold = np.repeat(np.arange(150), 10)
    days = np.zeros(1500, dtype=int)
    width = []
    for groups in (np.arange(1500), tenfold):
        panel = panel_of(labels[tenfold], days, groups=groups, capacity=100)
        drawn = bootstrap(panel, [Measured(panel, scores[tenfold])], seed=1, draws=200)[0]
        width.append(np.ptp(np.quantile(drawn[:, 1], [0.025, 0.975])))
    assert width[1] > 2 * width[0]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered, trials = 0, 60
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        labels = (rng.random(600) < 0.2).astype(float)
        scores = rng.normal(size=600) + labels
        panel = panel_of(labels, np.zeros(600, dtype=int), capacity=50)
        drawn = bootstrap(panel, [Measured(panel, scores)], seed=seed, draws=120)[0]
        result = evaluate(panel, scores, np.full(600, 0.2), drawn)
        covered += result.auc.low <= 0.7602 <= result.auc.high  # Phi(1 / sqrt 2)
    assert covered >= 0.85 * trials


def test_an_evaluation_without_amounts_says_no_money() -> None:
    labels = np.array([1.0, 0.0, np.nan, 1.0, 0.0])
    panel = panel_of(labels, [0, 0, 0, 1, 1], capacity=1)
    scores = np.array([5.0, 1.0, 2.0, 4.0, 3.0])
    drawn = bootstrap(panel, [Measured(panel, scores)], seed=1, draws=20)[0]
    result = evaluate(panel, scores, np.array([0.9, 0.1, 0.5, 0.9, 0.1]), drawn)
    assert (result.claims, result.labelled, result.frauds, result.days) == (5, 4, 2, 2)
    assert result.average_precision.value == result.precision.value == 1.0
    assert result.money_found_ratio is None
    assert result.calibration_error == pytest.approx(0.1)
    assert result.average_precision.low <= 1.0 <= result.average_precision.high
