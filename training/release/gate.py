"""Whether a new model takes the champion's place: better on the point, not worse beyond doubt.

Both are measured on the same claims, newer than anything the new model has seen, under the same
draws of policies. A champion keeps its place in a tie: a change has a cost of its own.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..evaluation.evaluate import METRICS

Floats = NDArray[np.float64]

TOLERANCE: Final = 0.05
"""How much of a metric the lower end of the interval may give away: 5 % of the champion's value."""

MIN_LIFT: Final = 1.5
"""A first model must beat the share of frauds (what chance would give) by this factor."""

_GUARDED: Final = ("average_precision", "money_found_ratio")


class Difference(msgspec.Struct, frozen=True):
    """Challenger minus champion in one metric, with the 90 % interval of the pairs."""

    metric: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says, in words a person can sign."""

    promote: bool
    words: str
    differences: list[Difference] = []


def compare(
    challenger: Floats, champion: Floats, challenger_drawn: Floats, champion_drawn: Floats
) -> Verdict:
    """Champion against challenger, paired.

    Promotes when average precision is better on the point, and neither it nor the money found at
    capacity (recall where claims say no amounts) is worse by more than `TOLERANCE` at the lower end
    of the one-sided 95 % interval.

    Args:
        challenger, champion: float64[5], `METRICS` on the test rows.
        challenger_drawn, champion_drawn: float64[draws, 5], under the same draws.
    """
    differences = []
    for place in (METRICS.index(name) for name in _guarded(champion)):
        sample = challenger_drawn[:, place] - champion_drawn[:, place]
        sound = sample[~np.isnan(sample)]
        low, high = np.quantile(sound, [0.05, 0.95]) if len(sound) else (np.nan, np.nan)
        differences.append(
            Difference(
                metric=METRICS[place],
                champion=float(champion[place]),
                challenger=float(challenger[place]),
                difference=float(challenger[place] - champion[place]),
                low=float(low),
                high=float(high),
            )
        )
    worse = [d for d in differences if not d.low >= -TOLERANCE * d.champion]
    first = differences[0]
    words = "; ".join(_say(d) for d in differences)
    if not first.difference > 0:
        return Verdict(False, f"kept the champion: no better. {words}", differences)
    if worse:
        names = " and ".join(_plain(d.metric) for d in worse)
        return Verdict(False, f"kept the champion: {names} may be worse. {words}", differences)
    return Verdict(True, f"promoted: better, and not worse beyond doubt. {words}", differences)


def first_model(challenger: Floats, drawn: Floats, base_ratio: float) -> Verdict:
    """Without a champion: is it clearly better than drawing claims by lot?

    Promotes when average precision is at least `MIN_LIFT` times the share of frauds, and the AUC is
    above one half at the lower end of its 95 % interval.

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
    has_money = not np.isnan(champion[METRICS.index("money_found_ratio")])
    return _GUARDED if has_money else ("average_precision", "recall")


def _plain(metric: str) -> str:
    return metric.replace("_ratio", "").replace("_", " ")


def _say(d: Difference) -> str:
    return (
        f"{_plain(d.metric)} {d.challenger:.3f} against {d.champion:.3f} "
        f"({d.difference:+.3f}, {d.low:+.3f} .. {d.high:+.3f})"
    )
