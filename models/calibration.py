"""Calibration from margin to probability: a rising piecewise linear curve, fitted on held-out data.

Isotonic regression (pool adjacent violators: Ayer, Brunk, Ewing, Reid, Silverman 1955) finds the
rising step function nearest to the labels. Each step becomes a knot at its mean margin, and
straight lines join the knots, so that the order of claims is kept and equal scores stay rare.
Evaluation uses only + - * / and comparisons, so a probability is the same on every machine.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.errors import ModelError

MIN_FRAUDS: Final = 10
"""Fewest frauds for a curve; with fewer, margins are only shifted to the base rate."""

KNOT_ROWS: Final = 20
"""Fewest rows behind a knot: three frauds at the very top don't make a probability near 1."""

MAX_KNOTS: Final = 512
"""Most knots of a curve; more steps would be noise, and a table too large for the CPU's cache."""

FLOOR: Final = 1e-6
"""Distance that fitted probabilities keep from 0 and 1: they lie within [FLOOR, 1 - FLOOR]."""

REACH: Final = 16.0
"""Least distance in log-odds from the outer knots to the points FLOOR and 1 - FLOOR."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A calibration curve as a list of knots; flat before the first knot and after the last.

    `method` is `isotonic`, `shift` (too few frauds) or `given` (not fitted); `rows` and `frauds`
    count the data that the curve was fitted on.

    >>> curve = Calibration(knot_margins=[-2.0, 0.0], knot_probabilities=[0.1, 0.5])
    >>> curve.probabilities(np.array([-9.0, -1.5, 3.0])).tolist()
    [0.1, 0.2, 0.5]
    """

    knot_margins: list[float]
    knot_probabilities: list[float]
    method: str = "given"
    rows: int = 0
    frauds: int = 0

    def probabilities(self, margins: NDArray[Any]) -> NDArray[np.float64]:
        """Return the calibrated probabilities of margins: float[n] -> float64[n]; NaN stays NaN."""
        return interpolate(margins, *self.knots())

    def knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the knots' margins and probabilities as the arrays that `interpolate` takes."""
        return np.array(self.knot_margins, np.float64), np.array(
            self.knot_probabilities, np.float64
        )

    def check(self, where: str = "") -> None:
        """Check that the knots form a rising curve.

        Raises:
            ModelError: margins don't rise, probabilities fall or leave 0 .. 1, or the numbers of
                both differ or are out of range.
        """
        margins, probabilities = self.knots()
        if not 1 <= len(margins) == len(probabilities) <= MAX_KNOTS:
            raise ModelError(
                f"a calibration of {len(margins)} margins and {len(probabilities)} probabilities",
                where=where,
                hint=f"give equally many margins and probabilities, 1 .. {MAX_KNOTS}",
            )
        if not (np.isfinite(margins).all() and (np.diff(margins) > 0).all()):
            raise ModelError("the calibration's margins don't rise", where=where)
        inside = bool(((probabilities >= 0.0) & (probabilities <= 1.0)).all())
        if not (inside and (np.diff(probabilities) >= 0).all()):
            raise ModelError("the calibration's probabilities don't rise in 0 .. 1", where=where)


def fit_calibration(
    margins: NDArray[Any], labels: NDArray[Any], weights: NDArray[np.float64] | None = None
) -> Calibration:
    """Fit a curve to margins float[n] and labels bool or 0/1 [n] of claims the model hasn't seen.

    `weights` float64[n] says how many claims a row stands for; None: one each. Knots have their
    fewest rows whatever the weights are, because a weight adds no evidence.

    Each knot's probability is the share of frauds among its rows and one more row at the overall
    rate, so a few rows never give a probability of 0 or 1. With fewer than `MIN_FRAUDS` frauds (or
    legitimate claims) the curve is the logistic function, shifted by the one number that gives the
    right overall rate. The shift trusts the spread of the model's margins; `method` is then
    `shift`.

    Raises:
        ModelError: there are no rows, margins and labels have different shapes, or a value is not
            finite or no label.

    >>> rng = np.random.default_rng(1)
    >>> labels = rng.random(5000) < 0.2
    >>> curve = fit_calibration(2.0 * labels + rng.normal(size=5000), labels)
    >>> curve.method, round(float(curve.probabilities(np.array([1.0]))[0]), 1)
    ('isotonic', 0.2)
    """
    x, y = np.asarray(margins, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ModelError(f"margins {x.shape} and labels {y.shape} don't match, or are empty")
    if not np.isfinite(x).all() or not np.isin(y, (0.0, 1.0)).all():
        raise ModelError("margins must be finite, labels 0 or 1")
    rows, frauds = len(y), int(y.sum())
    w = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    fit = _isotonic if min(frauds, rows - frauds) >= MIN_FRAUDS else _shift
    knot_margins, probabilities = fit(x, y, w)
    probabilities = np.clip(np.maximum.accumulate(probabilities), FLOOR, 1.0 - FLOOR)
    method = fit.__name__.lstrip("_")
    return Calibration(knot_margins.tolist(), probabilities.tolist(), method, rows, frauds)


def pool_adjacent_violators(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the block starts of the rising step function with the least weighted squared error.

    float64[n], float64[n] -> int64[blocks]; each block's weighted mean exceeds that of the block
    before.

    >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
    [0, 1, 3]
    """
    starts: list[int] = []
    sums: list[float] = []
    totals: list[float] = []
    for index in range(len(values)):
        starts.append(index)
        sums.append(float(values[index] * weights[index]))
        totals.append(float(weights[index]))
        # The last two means are compared by cross-multiplication; a division would round.
        while len(sums) > 1 and sums[-2] * totals[-1] >= sums[-1] * totals[-2]:
            starts.pop()
            last_sum, last_total = sums.pop(), totals.pop()
            sums[-1] += last_sum
            totals[-1] += last_total
    return np.array(starts, np.int64)


def interpolate(
    margins: NDArray[Any],
    knot_margins: NDArray[np.float64],
    knot_probabilities: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Evaluate the curve through the knots at each margin: float[n] -> float64[n]; NaN stays NaN.

    `knot_margins` and `knot_probabilities` are float64[knots], as `Calibration.knots` gives them.
    """
    out = np.empty(len(margins), np.float64)
    _interpolate(np.require(margins, np.float64, ["C", "W"]), knot_margins, knot_probabilities, out)
    return out


def _isotonic(
    x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fit knots by isotonic regression; returns their margins and probabilities."""
    distinct, where = np.unique(x, return_inverse=True)
    rows = np.bincount(where).astype(np.float64)
    claims = np.bincount(where, weights=w).astype(np.float64)
    frauds = np.bincount(where, weights=y * w)
    steps = pool_adjacent_violators(frauds / claims, claims)
    starts = _join_steps(
        np.add.reduceat(rows, steps), steps, max(KNOT_ROWS, len(x) // (MAX_KNOTS // 2))
    )
    knot_claims = np.add.reduceat(claims, starts)
    margins = np.add.reduceat(distinct * claims, starts) / knot_claims
    share = np.average(y, weights=w)
    probabilities = (np.add.reduceat(frauds, starts) + share) / (knot_claims + 1.0)
    # The means of nearly equal margins may round to the same float: knots must rise strictly.
    rising = np.concatenate(([True], np.diff(margins) > 0))
    margins, probabilities = margins[rising], probabilities[rising]
    # Two outer knots let the curve go on rising beyond the means of the outermost steps.
    below = max(REACH, 8.0 * (margins[0] - x.min()))
    above = max(REACH, 8.0 * (x.max() - margins[-1]))
    margins = np.concatenate(([margins[0] - below], margins, [margins[-1] + above]))
    return margins, np.concatenate(([FLOOR], probabilities, [1.0 - FLOOR]))


def _join_steps(
    rows: NDArray[np.float64], starts: NDArray[np.int64], least: int
) -> NDArray[np.int64]:
    """Join steps from the top down until each has `least` rows; the lowest takes the rest."""
    kept: list[int] = []
    pending = 0.0
    for step in range(len(starts) - 1, -1, -1):
        pending += rows[step]
        if pending >= least:
            kept.append(int(starts[step]))
            pending = 0.0
    if pending and kept:
        kept.pop()
    if not kept or kept[-1] != 0:
        kept.append(0)
    return np.array(kept[::-1], np.int64)


def _shift(
    x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Shift the logistic function to the overall rate; returns margins and probabilities of knots.

    The shift is found by bisection: 100 halvings exhaust float64.
    """
    rate = ((y * w).sum() + 0.5) / (w.sum() + 1.0)
    low, high = -x.max() - 40.0, -x.min() + 40.0
    for _ in range(100):
        middle = (low + high) / 2.0
        if np.average(_logistic(x + middle), weights=w) < rate:
            low = middle
        else:
            high = middle
    grid = np.linspace(-REACH, REACH, 257)
    return grid - low, _logistic(grid)


def _logistic(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    # exp overflows float64 beyond 709.
    probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0)))
    return probabilities


@njit(cache=True)
def _interpolate(
    margins: NDArray[np.float64],
    knots: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    last = knots.size - 1
    for row in range(margins.size):
        margin = margins[row]
        if margin != margin:
            out[row] = margin
        elif margin <= knots[0]:
            out[row] = probabilities[0]
        elif margin >= knots[last]:
            out[row] = probabilities[last]
        else:
            low, high = 0, last
            while high - low > 1:
                middle = (low + high) >> 1
                if knots[middle] <= margin:
                    low = middle
                else:
                    high = middle
            share = (margin - knots[low]) / (knots[high] - knots[low])
            value = probabilities[low] + share * (probabilities[high] - probabilities[low])
            # Rounding may carry the value just above the upper knot, where the curve would fall.
            out[row] = min(value, probabilities[high])
