"""Thresholds by capacity: the score from which 40 claims a day, say, can be investigated."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import UsageError

Floats = NDArray[np.float64]

SCORE_DECIMALS = 9
"""Decimals to which the stream rounds probabilities before comparing them; thresholds too."""


class Threshold(msgspec.Struct, frozen=True):
    """A threshold on the score: claims with a score at or above `value` pass.

    `expected_per_day` is the number of such claims a day in the data that the threshold was chosen
    on; `note` is empty, or explains in words why this number differs from the capacity.
    """

    value: float
    capacity_per_day: float
    expected_per_day: float
    note: str = ""


def threshold_for(
    scores: Floats,
    days: float,
    capacity_per_day: float,
    least: float = 0.0,
    weights: Floats | None = None,
) -> Threshold:
    """Return the lowest threshold from `least` on that lets at most the capacity pass.

    Claims of equal score pass together or not at all. If even the highest score is shared by more
    claims than the capacity, they all pass: too many is better than none, and the note explains it.

    Args:
        scores: float64[n], probabilities of *all* claims of a time span, with or without a verdict.
        days: length of the time span.
        capacity_per_day: claims a day, above 0.
        least: the lowest threshold that makes sense, such as the share of frauds: whoever has room
            for all claims needn't look at those that are safer than the average.
        weights: float64[n], how many claims a score stands for; None: one each.

    Raises:
        UsageError: there are no scores, or the time span or the capacity isn't positive.

    >>> threshold_for(np.array([0.9, 0.5, 0.5, 0.1]), days=1, capacity_per_day=2).value
    0.9
    >>> threshold_for(np.array([0.9, 0.1]), days=1, capacity_per_day=40).value
    0.0
    >>> threshold_for(np.array([0.9, 0.1]), days=1, capacity_per_day=40, least=0.2).value
    0.2
    """
    if not len(scores) or days <= 0 or capacity_per_day <= 0:
        raise UsageError(
            f"no threshold for {capacity_per_day:g} a day: {len(scores)} claims of {days:g} days"
        )
    rounded = np.round(scores, SCORE_DECIMALS)
    each = np.ones(len(rounded)) if weights is None else weights
    found = _by_capacity(rounded, days, capacity_per_day, each)
    least = round(least, SCORE_DECIMALS)
    if found.value >= least:
        return found
    expected = float(np.sum(each[rounded >= least]) / days)
    note = f"claims below {least:.4f}, the share of frauds, are safer than the average: none pass"
    return Threshold(least, capacity_per_day, expected, note)


def _by_capacity(
    scores: Floats, days: float, capacity_per_day: float, weights: Floats
) -> Threshold:
    levels, at = np.unique(scores, return_inverse=True)
    counts = np.bincount(at, weights, len(levels))
    above = np.cumsum(counts[::-1])[::-1]  # claims at or above each level
    if above[0] <= capacity_per_day * days:
        note = f"the capacity is more than all {above[0] / days:.3g} claims a day: all pass"
        return Threshold(0.0, capacity_per_day, float(above[0] / days), note)
    fits = np.flatnonzero(above <= capacity_per_day * days)
    level = int(fits[0]) if len(fits) else len(levels) - 1
    expected = float(above[level] / days)
    note = ""
    if not len(fits):
        note = f"{above[level]:.0f} claims share the highest score: more than the capacity pass"
    elif expected < 0.8 * capacity_per_day:
        note = (
            f"{counts[level - 1]:.0f} claims share the next score: they would exceed the capacity"
        )
    return Threshold(float(levels[level]), capacity_per_day, expected, note)
