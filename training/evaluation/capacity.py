"""From "we can investigate 40 claims a day" to the score from which a claim is referred."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import UsageError

Floats = NDArray[np.float64]

SCORE_DECIMALS = 9
"""The stream rounds probabilities to this before it compares them; so thresholds do too."""


class Threshold(msgspec.Struct, frozen=True):
    """Claims with a score at or above `value` are taken.

    `expected_per_day` is how many that were in the time it was set on; `note` is empty, or says in
    words why that isn't the capacity.
    """

    value: float
    capacity_per_day: float
    expected_per_day: float
    note: str = ""


def threshold_for(scores: Floats, days: float, capacity_per_day: float) -> Threshold:
    """The lowest threshold that lets at most the capacity through.

    Equal scores pass together or not at all. When even the highest group of equal scores is more
    than the capacity it passes all the same: better too many than none, and the note says so.

    Args:
        scores: float64[n], probabilities of *all* claims of the time, with a verdict or not.
        days: how long that time was.
        capacity_per_day: claims a day, above 0.

    Raises:
        UsageError: there are no scores or no time.

    >>> threshold_for(np.array([0.9, 0.5, 0.5, 0.1]), days=1, capacity_per_day=2).value
    0.9
    >>> threshold_for(np.array([0.9, 0.1]), days=1, capacity_per_day=40).value
    0.0
    """
    if not len(scores) or days <= 0 or capacity_per_day <= 0:
        raise UsageError(
            f"no threshold for {capacity_per_day:g} a day: {len(scores)} claims of {days:g} days"
        )
    levels, counts = np.unique(np.round(scores, SCORE_DECIMALS), return_counts=True)
    above = np.cumsum(counts[::-1])[::-1]
    if above[0] <= capacity_per_day * days:
        note = f"the capacity is more than all {above[0] / days:.3g} claims a day: all pass"
        return Threshold(0.0, capacity_per_day, float(above[0] / days), note)
    fits = np.flatnonzero(above <= capacity_per_day * days)
    place = int(fits[0]) if len(fits) else len(levels) - 1
    expected = float(above[place] / days)
    note = ""
    if not len(fits):
        note = f"{above[place]} claims share the highest score: more than the capacity pass"
    elif expected < 0.8 * capacity_per_day:
        note = f"{counts[place - 1]} claims share the next score: they would exceed the capacity"
    return Threshold(float(levels[place]), capacity_per_day, expected, note)
