"""Numbers of features in words: with their unit, their window, and what they are compared with."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from claimtrace.clock import DAY_MS
from featurestore.definitions.features import Feature, Own, WindowFeature


def in_words(feature: Feature, value: float) -> str:
    """Write a value; cents become whole units, an ordered category its word.

    >>> from featurestore.definitions import number, ordered
    >>> in_words(number("paid_cents", "paid_cents"), 123456.0)
    '1,235'
    >>> in_words(ordered("size", "size", ("small", "large")), 1.0)
    'large'
    """
    if isinstance(feature, Own) and feature.order and value in range(len(feature.order)):
        return feature.order[int(value)]
    if "_cents" in feature.name:
        return f"{value / 100:,.0f}"
    if isinstance(feature, WindowFeature) and feature.aggregate == "rate":
        return f"{100 * value:.0f} %"
    if not math.isfinite(value) or value == math.floor(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def span_words(feature: WindowFeature) -> str:
    """Say over which time a window counts.

    >>> from featurestore.definitions import Entity, count
    >>> span_words(count("n", of=Entity("shop", "shop_id"), window="30d"))
    'in 30 days'
    """
    ago = f", up to {_days(feature.delay_ms)} ago" if feature.delay_ms else ""
    return f"in {_days(feature.width_ms)}{ago}"


def compared(feature: Feature, value: float, own: float | None, grid: Sequence[float]) -> str:
    """Say what a value is compared with: the entity's own past, and the claims of training.

    Args:
        feature: its definition.
        value: on this claim.
        own: the usual value of its entity, of the feature `feature.baseline`; None: not known.
        grid: the percentiles of training; may be empty.
    """
    said = []
    if own is not None and feature.baseline:
        past = f"{own / 100:,.0f}" if "_cents" in feature.baseline else f"{own:,.4g}"
        said.append(f"usually {past} here")
    if grid:
        said.append(_among(feature, value, grid))
    return "; ".join(said)


def _among(feature: Feature, value: float, grid: Sequence[float]) -> str:
    """Say where a value lies among the claims of training."""
    last = len(grid)
    below = math.floor(100 * bisect_left(grid, value) / last)
    above = math.floor(100 * (last - bisect_right(grid, value)) / last)
    low, high = grid[(last - 1) // 4], grid[(3 * (last - 1)) // 4]
    most = in_words(feature, low)
    if low != high:
        most = f"between {most} and {in_words(feature, high)}"
    if below >= 75:
        return f"higher than on {min(below, 99)} of 100 claims, half of them have {most}"
    if above >= 75:
        return f"lower than on {min(above, 99)} of 100 claims, half of them have {most}"
    return f"as on most claims: half of them have {most}"


def _days(width_ms: int) -> str:
    days = width_ms / DAY_MS
    return f"{days:g} days" if days != 1 else "a day"
