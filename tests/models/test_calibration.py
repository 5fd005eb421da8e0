"""Calibration: isotonic and shifted curves, their knots and their evaluation."""

from __future__ import annotations

import doctest

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from claimtrace.errors import ModelError
from models import calibration as module
from models.calibration import (
    FLOOR,
    MAX_KNOTS,
    Calibration,
    fit_calibration,
    pool_adjacent_violators,
)


def claims(rng: np.random.Generator, count: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.random(count) < rate
    return (2.0 * labels + rng.normal(size=count)).astype(np.float32), labels


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=40),
)
def test_pooled_blocks_are_isotonic_regression(pairs: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column, float) for column in zip(*pairs, strict=True))
    starts = pool_adjacent_violators(values, weights)
    means = np.add.reduceat(values * weights, starts) / np.add.reduceat(weights, starts)
    got = np.repeat(means, np.diff(np.append(starts, len(values))))
    expected = (
        IsotonicRegression()
        .fit(np.arange(len(values)), values, weights)
        .predict(np.arange(len(values)))
    )
    np.testing.assert_allclose(got, expected, atol=1e-9)
    assert (np.diff(means) > 0).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 400), rate=st.floats(0, 1))
def test_any_fit_is_a_rising_curve_within_bounds(seed: int, count: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    margins, labels = claims(rng, count, rate)
    margins = np.round(margins, 1)
    curve = fit_calibration(margins, labels)
    curve.check()
    assert (curve.rows, curve.frauds) == (count, labels.sum())
    grid = np.sort(np.concatenate((margins, rng.normal(0, 30, 200))))
    chances = curve.probabilities(grid)
    assert (np.diff(chances) >= 0).all()
    assert ((chances >= FLOOR) & (chances <= 1 - FLOOR)).all()


def test_probabilities_are_numpys_interpolation() -> None:
    curve = fit_calibration(*claims(np.random.default_rng(2), 3000, 0.3))
    at, chance = curve.knots()
    grid = np.concatenate((np.linspace(-40, 40, 999), at))
    np.testing.assert_allclose(
        curve.probabilities(grid), np.interp(grid, at, chance), rtol=0, atol=1e-15
    )


def test_a_curve_fitted_on_one_half_is_calibrated_on_the_other() -> None:
    rng = np.random.default_rng(3)
    curve = fit_calibration(*claims(rng, 20_000, 0.1))
    margins, labels = claims(rng, 20_000, 0.1)
    chances = curve.probabilities(margins)
    assert curve.method == "isotonic"
    assert chances.mean() == pytest.approx(labels.mean(), rel=0.05)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.6), (0.6, 1.0)):
        inside = (chances >= low) & (chances < high)
        assert chances[inside].mean() == pytest.approx(labels[inside].mean(), abs=0.05)


def test_the_order_of_claims_is_kept_and_scores_seldom_tie() -> None:
    margins, labels = claims(np.random.default_rng(4), 4000, 0.1)
    chances = fit_calibration(margins, labels).probabilities(margins)
    order = np.argsort(margins)
    assert (np.diff(chances[order]) >= 0).all()
    top = order[-400:]
    assert len(np.unique(chances[top])) == len(np.unique(margins[top]))


def test_a_few_frauds_at_the_top_are_no_certainty() -> None:
    margins = np.arange(1000.0)
    labels = margins >= 995
    labels[::50] = True
    curve = fit_calibration(margins, labels)
    assert curve.method == "isotonic"
    assert curve.probabilities(margins)[-1] < 0.5


def test_many_steps_give_a_bounded_number_of_knots() -> None:
    margins = np.arange(60_000.0)
    labels = (np.arange(60_000) * 7919 % 60_000) < margins
    curve = fit_calibration(margins, labels)
    curve.check()
    assert 20 < len(curve.knot_margins) <= MAX_KNOTS


@pytest.mark.parametrize(("rows", "frauds"), [(1, 0), (1, 1), (500, 0), (500, 9), (500, 495)])
def test_with_too_few_frauds_the_margins_are_shifted(rows: int, frauds: int) -> None:
    rng = np.random.default_rng(5)
    margins = rng.normal(-3, 1, rows)
    labels = np.arange(rows) < frauds
    curve = fit_calibration(margins, labels)
    assert curve.method == "shift"
    chances = curve.probabilities(margins)
    assert chances.mean() == pytest.approx((frauds + 0.5) / (rows + 1), rel=0.02)
    if rows > 1:
        assert len(np.unique(chances)) == rows


def test_nan_stays_nan_and_float32_is_taken_exactly() -> None:
    curve = Calibration([-1.0, 1.0], [0.25, 0.75])
    got = curve.probabilities(np.array([np.nan, -np.inf, np.inf, 0.0], np.float32))
    np.testing.assert_array_equal(got, [np.nan, 0.25, 0.75, 0.5])
    assert got.dtype == np.float64


def test_a_curve_survives_json_bit_for_bit() -> None:
    curve = fit_calibration(*claims(np.random.default_rng(6), 3000, 0.3))
    again = msgspec.json.decode(msgspec.json.encode(curve), type=Calibration)
    margins = np.linspace(-9, 9, 777)
    assert again.probabilities(margins).tobytes() == curve.probabilities(margins).tobytes()


@pytest.mark.parametrize(
    ("margins", "labels"),
    [([], []), ([1.0], [0, 1]), ([[1.0]], [[0]]), ([np.nan], [0]), ([np.inf], [1]), ([1.0], [2])],
)
def test_what_cannot_be_fitted_is_refused(margins: list, labels: list) -> None:
    with pytest.raises(ModelError):
        fit_calibration(np.array(margins), np.array(labels))


@pytest.mark.parametrize(
    ("at", "chance"),
    [
        ([], []),
        ([1.0], [0.1, 0.2]),
        ([1.0, 1.0], [0.1, 0.2]),
        ([2.0, 1.0], [0.1, 0.2]),
        ([1.0, 2.0], [0.2, 0.1]),
        ([1.0], [1.5]),
        ([1.0], [np.nan]),
        ([np.inf], [0.5]),
        (list(range(MAX_KNOTS + 1)), [0.5] * (MAX_KNOTS + 1)),
    ],
)
def test_knots_that_are_no_curve_are_refused(at: list[float], chance: list[float]) -> None:
    with pytest.raises(ModelError, match="calibration"):
        Calibration(at, chance).check("here")


def test_margins_that_differ_by_rounding_still_give_a_curve() -> None:
    margins = np.repeat(np.nextafter(1.0, 2.0) - np.arange(4) * 2.0**-53, 50)
    margins[::3] += 2.0**-52
    labels = np.random.default_rng(7).random(200) < 0.5
    fit_calibration(margins, labels).check()
