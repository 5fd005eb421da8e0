"""Why a claim was referred, in words: the largest contributions, with value and baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import Baseline, Reason, Window
from featurestore.definitions.features import Feature, Own, WindowFeature
from models.baselines import percentile

_DAY_MS = 86_400_000
_ROUND = 9
"""Digits behind the point of a contribution; sums still match the margin within 1e-6."""


class Explained(NamedTuple):
    """The reasons of one claim, and what they leave over."""

    reasons: list[Reason]
    rest_margin: float
    base_margin: float


_Said = tuple[Baseline | None, str]
_MOST_SAID: Final = 4096
"""Values of a feature whose words are kept: all of a count's, few of an amount's."""


class _Wording(NamedTuple):
    """What the words about one feature are made of, whatever its value."""

    name: str
    subject: str
    is_flag: bool
    in_cents: bool
    own_at: int
    """Place of the feature that tells what is usual here; -1 for none."""
    own_in_cents: bool
    grid: Sequence[float]
    said: dict[float | str, _Said]
    """What was said of some values before, where only the value decides."""
    entity: str
    width_ms: int
    delay_ms: int


class Explainer:
    """Puts exact contributions into words.

    Args:
        features: the definitions, in order.
        baselines: percentile grid of each feature in training.
        most: how many reasons are listed; the others are summed into the rest.
    """

    def __init__(
        self, features: Sequence[Feature], baselines: Mapping[str, Sequence[float]], most: int
    ) -> None:
        names = [feature.name for feature in features]
        self._wordings = [_wording(feature, names, baselines) for feature in features]
        self._most = most

    def explain(
        self,
        matrix: NDArray[np.float64],
        contributions: NDArray[np.float64],
        event_times_ms: Sequence[int],
    ) -> list[Explained]:
        """Reasons for some claims.

        Args:
            matrix: float64[n, F], their served vectors.
            contributions: float64[n, F + 1], in margin (log-odds); the last is the base.
            event_times_ms: of each, for the windows.
        """
        orders = np.argsort(-np.abs(contributions[:, :-1]), axis=1, kind="stable")
        rows = zip(
            orders[:, : self._most].tolist(), matrix.tolist(), contributions.tolist(),
            event_times_ms, strict=True,
        )  # fmt: skip
        return [self._explain(*row) for row in rows]

    def _explain(
        self, order: list[int], values: list[float], shares: list[float], event_time_ms: int
    ) -> Explained:
        base = shares.pop()
        reasons = []
        listed = 0.0
        for i in order:
            share = round(shares[i], _ROUND)
            if share == 0.0:
                break
            listed += share
            reasons.append(_reason(self._wordings[i], values[i], values, share, event_time_ms))
        rest = round(math.fsum(shares) - listed, _ROUND)
        return Explained(reasons, rest, round(base, _ROUND))


def _wording(
    feature: Feature, names: Sequence[str], baselines: Mapping[str, Sequence[float]]
) -> _Wording:
    subject, entity, width_ms, delay_ms = feature.text or feature.name, "", 0, 0
    if isinstance(feature, WindowFeature):
        entity, width_ms, delay_ms = feature.entity.name, feature.width_ms, feature.delay_ms
        subject += f" in {_days(width_ms)}"
        if delay_ms:
            subject += f", up to {_days(delay_ms)} ago"
    return _Wording(
        name=feature.name,
        subject=subject,
        is_flag=isinstance(feature, Own) and bool(feature.equals),
        in_cents="_cents" in feature.name,
        own_at=names.index(feature.baseline) if feature.baseline in names else -1,
        own_in_cents="_cents" in feature.baseline,
        grid=baselines.get(feature.name, ()),
        said={},
        entity=entity,
        width_ms=width_ms,
        delay_ms=delay_ms,
    )


def _reason(
    wording: _Wording, value: float, values: list[float], share: float, event_time_ms: int
) -> Reason:
    if wording.own_at >= 0:
        baseline, text = _say(wording, value, values[wording.own_at])
    else:
        key = value if value and value == value else str(value)  # 0.0 == -0.0, and they read apart
        said = wording.said.get(key)
        if said is None:
            said = _say(wording, value, math.nan)
            if len(wording.said) < _MOST_SAID:
                wording.said[key] = said
        baseline, text = said
    counted = None
    if wording.entity:
        until = event_time_ms - wording.delay_ms
        counted = Window(wording.entity, until - wording.width_ms, until)
    return Reason(wording.name, value if value == value else None, share, text, baseline, counted)


def _say(wording: _Wording, value: float, own: float) -> _Said:
    """What a value is compared with, and the words about it."""
    grid = wording.grid
    place = percentile(grid, value)
    baseline = None
    if own == own:
        baseline = Baseline("own", own, place)
    elif place is not None:
        baseline = Baseline("peers", grid[len(grid) // 2], place)
    return baseline, _words(wording, value, place, own)


def _words(wording: _Wording, value: float, place: float | None, own: float) -> str:
    if wording.is_flag:
        return wording.subject if value == 1 else f"not: {wording.subject}"
    text = f"{wording.subject}: {_number(wording.in_cents, value)}"
    if own == own:
        text += f", usually {_number(wording.own_in_cents, own)} here"
    if place is not None and place >= 75:
        text += f"; higher than {math.floor(place)} % of claims"
    elif place is not None and place <= 25:
        text += f"; lower than {math.floor(100 - place)} % of claims"
    return text


def _number(in_cents: bool, value: float) -> str:
    if value != value:
        return "not known"
    if in_cents:
        return f"{value / 100:,.0f}"
    if value == math.floor(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def _days(width_ms: int) -> str:
    days = width_ms / _DAY_MS
    return f"{days:g} days" if days != 1 else "a day"
