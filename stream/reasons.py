"""Why a claim was referred, in words: the largest contributions, with value and baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import Baseline, Reason, Window
from claimtrace.models.baselines import percentile
from featurestore.definitions import Feature, Own, WindowFeature

_DAY_MS = 86_400_000
_ROUND = 9
"""Digits behind the point of a contribution; sums still match the margin within 1e-6."""


class Explained(NamedTuple):
    """The reasons of one claim, and what they leave over."""

    reasons: list[Reason]
    rest_margin: float
    base_margin: float


def explain(
    features: Sequence[Feature],
    vector: NDArray[np.float64],
    contributions: NDArray[np.float64],
    baselines: Mapping[str, Sequence[float]],
    event_time_ms: int,
    most: int,
) -> Explained:
    """Reasons from exact contributions.

    Args:
        features: the definitions, in order.
        vector: float64[F], the served vector.
        contributions: float64[F + 1], in margin (log-odds); the last is the base.
        baselines: percentile grid of each feature in training.
        event_time_ms: of the claim, for the windows.
        most: how many reasons are listed; the others are summed into the rest.
    """
    shares = contributions[:-1]
    order = np.argsort(-np.abs(shares), kind="stable")[:most]
    values = dict(zip([feature.name for feature in features], vector.tolist(), strict=True))
    reasons = []
    listed = 0.0
    for i in order.tolist():
        share = round(float(shares[i]), _ROUND)
        if share == 0.0:
            break
        listed += share
        reasons.append(_reason(features[i], values, share, baselines, event_time_ms))
    total = math.fsum(shares.tolist())
    base = round(float(contributions[-1]), _ROUND)
    return Explained(reasons, round(total - listed, _ROUND), base)


def _reason(
    feature: Feature,
    values: Mapping[str, float],
    share: float,
    baselines: Mapping[str, Sequence[float]],
    event_time_ms: int,
) -> Reason:
    value = values[feature.name]
    grid = baselines.get(feature.name, ())
    place = percentile(grid, value)
    own = values.get(feature.baseline, math.nan) if feature.baseline else math.nan
    baseline = None
    if own == own:
        baseline = Baseline("own", own, place)
    elif place is not None:
        baseline = Baseline("peers", float(grid[len(grid) // 2]), place)
    return Reason(
        feature=feature.name,
        value=None if value != value else value,
        contribution=share,
        text=_words(feature, value, place, own),
        baseline=baseline,
        counted=_window(feature, event_time_ms),
    )


def _words(feature: Feature, value: float, place: float | None, own: float) -> str:
    subject = feature.text or feature.name
    if isinstance(feature, Own) and feature.equals:
        return subject if value == 1 else f"not: {subject}"
    if isinstance(feature, WindowFeature):
        subject += f" in {_days(feature.width_ms)}"
        if feature.delay_ms:
            subject += f", up to {_days(feature.delay_ms)} ago"
    text = f"{subject}: {_number(feature.name, value)}"
    if own == own:
        text += f", usually {_number(feature.baseline, own)} here"
    if place is not None and place >= 75:
        text += f"; higher than {math.floor(place)} % of claims"
    elif place is not None and place <= 25:
        text += f"; lower than {math.floor(100 - place)} % of claims"
    return text


def _number(name: str, value: float) -> str:
    if value != value:
        return "not known"
    if "_cents" in name:
        return f"{value / 100:,.0f}"
    if value == math.floor(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def _days(width_ms: int) -> str:
    days = width_ms / _DAY_MS
    return f"{days:g} days" if days != 1 else "a day"


def _window(feature: Feature, event_time_ms: int) -> Window | None:
    if not isinstance(feature, WindowFeature):
        return None
    until = event_time_ms - feature.delay_ms
    return Window(feature.entity.name, until - feature.width_ms, until)
