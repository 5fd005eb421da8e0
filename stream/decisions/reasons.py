"""The reasons of a referral, in words: the largest SHAP contributions, with value and baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from claimtrace.decisions import Baseline, Reason, Window
from featurestore.definitions.features import Feature, Own, WindowFeature
from models.baselines import percentile

_ROUND = 9
"""Decimal places of a contribution; sums still match the margin within 1e-6."""


class Explanation(NamedTuple):
    """The reasons of one claim, with the part of its margin that they don't cover.

    `rest_margin` is the sum of the contributions that are not listed, `base_margin` that of the
    model without any feature; all in margin (log-odds).
    """

    reasons: list[Reason]
    rest_margin: float
    base_margin: float


_Phrase = tuple[Baseline | None, str]
_MAX_CACHED_PHRASES: Final = 4096
"""Values of a feature whose phrases are cached: all values of a count, few of an amount."""


class _Wording(NamedTuple):
    """The parts of the text about one feature that don't depend on its value."""

    name: str
    place: int
    """Index of the feature in the served vector."""
    subject: str
    is_flag: bool
    in_cents: bool
    own_index: int
    """Index of the feature that holds the usual value of this entity; -1 for none."""
    own_in_cents: bool
    grid: Sequence[float]
    phrases: dict[float | str, _Phrase]
    """Cache by value, used where the phrase depends on the value alone (`own_index` is -1)."""
    entity: str
    width_ms: int
    delay_ms: int


class Explainer:
    """Turns exact SHAP contributions into reasons.

    Args:
        features: the definitions, in order.
        baselines: percentile grid of each feature in training.
        max_reasons: most reasons of a claim; the other contributions are summed into the rest.
        taken: names of the features that the model takes, in its order; None: all of them.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        baselines: Mapping[str, Sequence[float]],
        max_reasons: int,
        taken: Sequence[str] | None = None,
    ) -> None:
        names = [feature.name for feature in features]
        places = range(len(names)) if taken is None else [names.index(name) for name in taken]
        self._wordings = [_wording(features, place, names, baselines) for place in places]
        self._max_reasons = max_reasons

    def explain(
        self,
        matrix: NDArray[np.float64],
        contributions: NDArray[np.float64],
        event_times_ms: Sequence[int],
    ) -> list[Explanation]:
        """Explain some claims, in order; the largest contribution of each comes first.

        Args:
            matrix: float64[n, F], their served vectors.
            contributions: float64[n, taken + 1], in margin (log-odds); the last is the base.
            event_times_ms: the event time of each, for the windows of its reasons.
        """
        # stable, so that equal contributions keep the order of the model's features
        orders = np.argsort(-np.abs(contributions[:, :-1]), axis=1, kind="stable")
        rows = zip(
            orders[:, : self._max_reasons].tolist(), matrix.tolist(), contributions.tolist(),
            event_times_ms, strict=True,
        )  # fmt: skip
        return [self._explain(*row) for row in rows]

    def _explain(
        self, order: list[int], values: list[float], shares: list[float], event_time_ms: int
    ) -> Explanation:
        base = shares.pop()
        reasons = []
        listed = 0.0
        for i in order:
            share = round(shares[i], _ROUND)
            if share == 0.0:
                break  # sorted by size: all that follow are zero as well
            listed += share
            reasons.append(_reason(self._wordings[i], values, share, event_time_ms))
        # fsum is exact, so the rest doesn't depend on the order of the sum; what rounding took
        # from the listed shares is in the rest
        rest = round(math.fsum(shares) - listed, _ROUND)
        return Explanation(reasons, rest, round(base, _ROUND))


def _wording(
    features: Sequence[Feature],
    index: int,
    names: Sequence[str],
    baselines: Mapping[str, Sequence[float]],
) -> _Wording:
    feature = features[index]
    subject, entity, width_ms, delay_ms = feature.text or feature.name, "", 0, 0
    if isinstance(feature, WindowFeature):
        entity, width_ms, delay_ms = feature.entity.name, feature.width_ms, feature.delay_ms
        subject += f" in {_days(width_ms)}"
        if delay_ms:
            subject += f", up to {_days(delay_ms)} ago"
    return _Wording(
        name=feature.name,
        place=index,
        subject=subject,
        is_flag=isinstance(feature, Own) and bool(feature.equals),
        in_cents="_cents" in feature.name,
        own_index=names.index(feature.baseline) if feature.baseline in names else -1,
        own_in_cents="_cents" in feature.baseline,
        grid=baselines.get(feature.name, ()),
        phrases={},
        entity=entity,
        width_ms=width_ms,
        delay_ms=delay_ms,
    )


def _reason(wording: _Wording, values: list[float], share: float, event_time_ms: int) -> Reason:
    value = values[wording.place]
    if wording.own_index >= 0:
        baseline, text = _phrase(wording, value, values[wording.own_index])
    else:
        # 0.0 == -0.0 but their texts differ, and NaN != NaN would never be found: keyed by text
        key = value if value and value == value else str(value)
        phrase = wording.phrases.get(key)
        if phrase is None:
            phrase = _phrase(wording, value, math.nan)
            if len(wording.phrases) < _MAX_CACHED_PHRASES:
                wording.phrases[key] = phrase
        baseline, text = phrase
    counted = None
    if wording.entity:
        until = event_time_ms - wording.delay_ms
        counted = Window(wording.entity, until - wording.width_ms, until)
    return Reason(wording.name, value if value == value else None, share, text, baseline, counted)


def _phrase(wording: _Wording, value: float, own: float) -> _Phrase:
    """Compare and describe a value; `own` is the usual value of its entity, or NaN."""
    grid = wording.grid
    rank = percentile(grid, value)
    baseline = None
    if own == own:
        baseline = Baseline("own", own, rank)
    elif rank is not None:
        baseline = Baseline("peers", grid[len(grid) // 2], rank)  # the median of training
    return baseline, _text(wording, value, rank, own)


def _text(wording: _Wording, value: float, rank: float | None, own: float) -> str:
    if wording.is_flag:
        return wording.subject if value == 1 else f"not: {wording.subject}"
    text = f"{wording.subject}: {_number(wording.in_cents, value)}"
    if own == own:
        text += f", usually {_number(wording.own_in_cents, own)} here"
    if rank is not None and rank >= 75:
        text += f"; higher than {math.floor(rank)} % of claims"
    elif rank is not None and rank <= 25:
        text += f"; lower than {math.floor(100 - rank)} % of claims"
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
    days = width_ms / DAY_MS
    return f"{days:g} days" if days != 1 else "a day"
