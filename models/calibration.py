"""From margin to probability: a rising line through a few knots, fitted on labels kept apart.

Isotonic regression (pool adjacent violators: Ayer, Brunk, Ewing, Reid, Silverman 1955) finds the
rising step function nearest to the labels. Steps become knots at their mean margin, and straight
lines join the knots, so that the order of claims is kept and equal scores stay rare. Evaluating
uses only + - * / and comparisons: the same probability on every machine.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.errors import ModelError

MIN_FRAUDS: Final = 10
"""Fewer known frauds can't carry a curve; then margins are only shifted to the base rate."""

KNOT_ROWS: Final = 20
"""A knot stands for at least this many rows: three frauds at the very top are no certainty."""

MAX_KNOTS: Final = 512
"""More steps than this are noise, and a look-up that no cache holds."""

FLOOR: Final = 1e-6
"""Nothing is certain: probabilities stay within [FLOOR, 1 - FLOOR]."""

REACH: Final = 16.0
"""Log-odds beyond the outer knots where the line reaches FLOOR and 1 - FLOOR, at the least."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The knots of the curve; it is flat before the first and after the last.

    `method` is `isotonic`, `shift` (too few frauds) or `given`; `rows` and `frauds` are what it was
    fitted on.

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
        """The calibrated probability of each margin: float[n] -> float64[n]; NaN stays NaN."""
        return interpolate(margins, *self.knots())

    def knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Margins and probabilities of the knots, as `interpolate` takes them."""
        return np.array(self.knot_margins, np.float64), np.array(
            self.knot_probabilities, np.float64
        )

    def check(self, where: str = "") -> None:
        """See that the knots are a curve.

        Raises:
            ModelError: margins don't rise, or probabilities fall or leave 0 .. 1.
        """
        margins, chances = self.knots()
        if not 1 <= len(margins) == len(chances) <= MAX_KNOTS:
            raise ModelError(
                f"a calibration of {len(margins)} margins and {len(chances)} probabilities",
                where=where,
                hint=f"give as many of one as of the other, 1 .. {MAX_KNOTS}",
            )
        if not (np.isfinite(margins).all() and (np.diff(margins) > 0).all()):
            raise ModelError("the calibration's margins don't rise", where=where)
        inside = bool(((chances >= 0.0) & (chances <= 1.0)).all())
        if not (inside and (np.diff(chances) >= 0).all()):
            raise ModelError("the calibration's probabilities don't rise in 0 .. 1", where=where)


def fit_calibration(margins: NDArray[Any], labels: NDArray[Any]) -> Calibration:
    """Fit a curve to margins float[n] and labels bool or 0/1 [n] of claims the model hasn't seen.

    Each knot's probability is its share of frauds, with one row more at the overall rate, so that
    no handful of rows is certain. With fewer than `MIN_FRAUDS` frauds (or honest claims) the curve
    is the logistic function, shifted by the one number that gives the right overall rate; that
    trusts the model's own spread, and `method` says so.

    Raises:
        ModelError: there are no rows, or margins and labels don't match or hold other values.

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
    fit = _isotonic if min(frauds, rows - frauds) >= MIN_FRAUDS else _shift
    at, chance = fit(x, y)
    chance = np.clip(np.maximum.accumulate(chance), FLOOR, 1.0 - FLOOR)
    method = fit.__name__.lstrip("_")
    return Calibration(at.tolist(), chance.tolist(), method, rows, frauds)


def pool_adjacent_violators(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Where the blocks of the best rising step function start, in weighted squares.

    float64[n], float64[n] -> int64[blocks]; each block's weighted mean exceeds the one before.

    >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
    [0, 1, 3]
    """
    starts: list[int] = []
    sums: list[float] = []
    totals: list[float] = []
    for place in range(len(values)):
        starts.append(place)
        sums.append(float(values[place] * weights[place]))
        totals.append(float(weights[place]))
        while len(sums) > 1 and sums[-2] * totals[-1] >= sums[-1] * totals[-2]:
            starts.pop()
            last_sum, last_total = sums.pop(), totals.pop()
            sums[-1] += last_sum
            totals[-1] += last_total
    return np.array(starts, np.int64)


def interpolate(
    margins: NDArray[Any], at: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The line through the knots (at, chance) at each margin; float[n] -> float64[n]."""
    out = np.empty(len(margins), np.float64)
    _interpolate(np.require(margins, np.float64, ["C", "W"]), at, chance, out)
    return out


def _isotonic(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    distinct, where = np.unique(x, return_inverse=True)
    rows = np.bincount(where).astype(np.float64)
    frauds = np.bincount(where, weights=y)
    steps = pool_adjacent_violators(frauds / rows, rows)
    starts = _thinned(
        np.add.reduceat(rows, steps), steps, max(KNOT_ROWS, len(x) // (MAX_KNOTS // 2))
    )
    knot_rows = np.add.reduceat(rows, starts)
    at = np.add.reduceat(distinct * rows, starts) / knot_rows
    chance = (np.add.reduceat(frauds, starts) + y.mean()) / (knot_rows + 1.0)
    rising = np.concatenate(([True], np.diff(at) > 0))  # means of nearly equal margins may round
    at, chance = at[rising], chance[rising]
    below, above = max(REACH, 8.0 * (at[0] - x.min())), max(REACH, 8.0 * (x.max() - at[-1]))
    at = np.concatenate(([at[0] - below], at, [at[-1] + above]))
    return at, np.concatenate(([FLOOR], chance, [1.0 - FLOOR]))


def _thinned(rows: NDArray[np.float64], starts: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Join steps from the top down until each has `least` rows; the lowest takes what is left."""
    kept: list[int] = []
    held = 0.0
    for step in range(len(starts) - 1, -1, -1):
        held += rows[step]
        if held >= least:
            kept.append(int(starts[step]))
            held = 0.0
    if held and kept:
        kept.pop()
    if not kept or kept[-1] != 0:
        kept.append(0)
    return np.array(kept[::-1], np.int64)


def _shift(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    rate = (y.sum() + 0.5) / (len(y) + 1.0)
    low, high = -x.max() - 40.0, -x.min() + 40.0
    for _ in range(100):
        middle = (low + high) / 2.0
        if _logistic(x + middle).mean() < rate:
            low = middle
        else:
            high = middle
    grid = np.linspace(-REACH, REACH, 257)
    return grid - low, _logistic(grid)


def _logistic(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0)))
    return chances


@njit(cache=True)
def _interpolate(
    margins: NDArray[np.float64],
    at: NDArray[np.float64],
    chance: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    last = at.size - 1
    for row in range(margins.size):
        margin = margins[row]
        if margin != margin:
            out[row] = margin
        elif margin <= at[0]:
            out[row] = chance[0]
        elif margin >= at[last]:
            out[row] = chance[last]
        else:
            low, high = 0, last
            while high - low > 1:
                middle = (low + high) >> 1
                if at[middle] <= margin:
                    low = middle
                else:
                    high = middle
            share = (margin - at[low]) / (at[high] - at[low])
            value = chance[low] + share * (chance[high] - chance[low])
            out[row] = min(value, chance[high])
