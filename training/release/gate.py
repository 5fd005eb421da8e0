"""The gate: whether a new model replaces the champion.

The challenger must be better in the point estimate, and the interval must exclude that it is much
worse. Both models are measured on the same claims, newer than any that the challenger was fitted
on, under the same draws of policies. In a tie the champion stays, because a change has a cost.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..evaluation.evaluate import METRICS

Floats = NDArray[np.float64]

TOLERANCE: Final = 0.05
"""Accepted loss at the lower end of the interval: 5 % of the champion's value of a metric."""

MIN_LIFT: Final = 1.5
"""Least average precision of a first model, in multiples of the share of frauds (pure chance)."""

_GUARDED: Final = ("average_precision", "money_found_ratio")


class Difference(msgspec.Struct, frozen=True):
    """Challenger minus champion in one metric, with the 90 % interval of the paired difference."""

    metric: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float


class Verdict(msgspec.Struct, frozen=True):
    """The decision of the gate, and its reason in words that a person can sign."""

    promote: bool
    words: str
    differences: list[Difference] = []


def compare(
    challenger: Floats, champion: Floats, challenger_drawn: Floats, champion_drawn: Floats
) -> Verdict:
    """Compare a challenger with the champion by paired draws.

    The challenger is promoted if its average precision is better in the point estimate, and neither
    average precision nor the money found at capacity (recall if claims have no amounts) is worse by
    more than `TOLERANCE` at the lower end of the one-sided 95 % interval.

    Args:
        challenger, champion: float64[5], `METRICS` on the test rows.
        challenger_drawn, champion_drawn: float64[draws, 5], under the same draws.
    """
    differences = []
    for metric in (METRICS.index(name) for name in _guarded(champion)):
        sample = challenger_drawn[:, metric] - champion_drawn[:, metric]
        sound = sample[~np.isnan(sample)]
        low, high = np.quantile(sound, [0.05, 0.95]) if len(sound) else (np.nan, np.nan)
        differences.append(
            Difference(
                metric=METRICS[metric],
                champion=float(champion[metric]),
                challenger=float(challenger[metric]),
                difference=float(challenger[metric] - champion[metric]),
                low=float(low),
                high=float(high),
            )
        )
    # Written as "not >=", so that an undefined interval (NaN) counts as worse.
    worse = [d for d in differences if not d.low >= -TOLERANCE * d.champion]
    first = differences[0]
    words = "; ".join(_text(d) for d in differences)
    if not first.difference > 0:
        return Verdict(False, f"kept the champion: no better. {words}", differences)
    if worse:
        names = " and ".join(_plain(d.metric) for d in worse)
        return Verdict(False, f"kept the champion: {names} may be worse. {words}", differences)
    return Verdict(True, f"promoted: better, and not worse beyond doubt. {words}", differences)


def first_model(challenger: Floats, drawn: Floats, base_ratio: float) -> Verdict:
    """Decide on a model without a champion: it must be clearly better than chance.

    The model is promoted if its average precision is at least `MIN_LIFT` times the share of frauds,
    and the AUC exceeds one half at the lower end of its 95 % interval.

    >>> metrics = np.array([0.3, 0.8, 0.0, 0.0, 0.0])
    >>> first_model(metrics, np.tile(metrics, (9, 1)), base_ratio=0.1).promote
    True
    """
    precision, auc = float(challenger[0]), float(challenger[1])
    sound = drawn[:, 1][~np.isnan(drawn[:, 1])]
    low = float(np.quantile(sound, 0.025)) if len(sound) else float("nan")
    lift = precision / base_ratio if base_ratio > 0 else float("nan")
    words = (
        f"average precision {precision:.3f} is {lift:.1f} times the share of frauds "
        f"{base_ratio:.3f}; AUC {auc:.3f}, at least {low:.3f}"
    )
    if lift >= MIN_LIFT and low > 0.5:
        return Verdict(True, f"promoted as the first champion: {words}")
    return Verdict(False, f"no champion: not clearly better than chance. {words}")


def _guarded(champion: Floats) -> tuple[str, ...]:
    """Return the metrics in which a challenger must not be worse; average precision first."""
    has_money = not np.isnan(champion[METRICS.index("money_found_ratio")])
    return _GUARDED if has_money else ("average_precision", "recall")


def _plain(metric: str) -> str:
    return metric.replace("_ratio", "").replace("_", " ")


def _text(d: Difference) -> str:
    return (
        f"{_plain(d.metric)} {d.challenger:.3f} against {d.champion:.3f} "
        f"({d.difference:+.3f}, {d.low:+.3f} .. {d.high:+.3f})"
    )
