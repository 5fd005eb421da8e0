"""The evaluation of a model: ranking metrics, and the frauds and money found within the capacity.

Intervals are 95 %, from a bootstrap that draws whole policies: claims of one policy are not
independent, and drawing rows would make every interval too narrow (Davison and Hinkley,
"Bootstrap Methods and their Application", 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.split import Split
from .metrics import Ranking, brier, calibration_error

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS: Final = 400
"""Bootstrap draws; 10 draws then lie beyond each end of a 95 % interval."""

METRICS: Final = ("average_precision", "auc", "precision", "recall", "money_found_ratio")
"""The metrics that `Measured.metrics` computes, in order. The last three are at capacity."""


class Interval(msgspec.Struct, frozen=True):
    """A metric on the test rows, and the 95 % interval around it."""

    value: float
    low: float
    high: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The evaluation of one model on the test time.

    Ratios are 0 .. 1; money is None if claims have no amounts. `precision` is the share of frauds
    among the referred claims that have a verdict, and `recall` the share of known frauds that are
    referred, both within the capacity. `precision_ceiling` is the precision of a perfect ranking
    with the same capacity; days with fewer frauds than capacity keep it below 1.
    """

    claims: int
    labelled: int
    frauds: int
    days: int
    base_ratio: float
    capacity_per_day: float
    average_precision: Interval
    auc: Interval
    precision: Interval
    precision_ceiling: float
    recall: Interval
    money_found_ratio: Interval | None
    money_found_cents: int | None
    calibration_error: float
    brier: float


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """All claims of the test time, with or without a verdict: both use up the day's capacity.

    Attributes:
        rows: int64[n], row numbers in the data set.
        labels: float64[n], 1 fraud, 0 legitimate, NaN unknown.
        days: int64[n], counted from the first day of the test time.
        day_count: days from the first to the last, including days without claims.
        groups: int64[n], policies as 0 .. number of policies - 1.
        fraud_cents: float64[n], the amount of a known fraud, else 0.
        has_money: whether any known fraud has an amount.
        capacity_per_day: claims of the panel that can be investigated a day.
        weights: float64[n], how many claims a row stands for.
    """

    rows: Ints
    labels: Floats
    days: Ints
    day_count: int
    groups: Ints
    fraud_cents: Floats
    has_money: bool
    capacity_per_day: float
    weights: Floats

    @classmethod
    def of(cls, dataset: Dataset, split: Split, capacity_per_day: float) -> Panel:
        """Collect the claims of a split's test time."""
        return cls.of_rows(dataset, split.panel, capacity_per_day * split.panel_share)

    @classmethod
    def of_rows(
        cls, dataset: Dataset, rows: Ints, capacity_per_day: float, weights: Floats | None = None
    ) -> Panel:
        """Collect some claims, with the capacity for them; `weights` in place of their own."""
        labels, days = dataset.labels[rows], dataset.days[rows]
        cents = np.where(labels == 1, np.nan_to_num(dataset.amounts_cents[rows]), 0.0)
        return cls(
            rows=rows,
            labels=labels,
            days=days - days[0],
            day_count=int(days[-1] - days[0]) + 1,
            groups=np.unique(dataset.groups[rows], return_inverse=True)[1].astype(np.int64),
            fraud_cents=cents,
            has_money=bool(np.any(cents > 0)),
            capacity_per_day=capacity_per_day,
            weights=dataset.weights[rows] if weights is None else weights,
        )

    @property
    def capacities(self) -> Floats:
        """float64[day_count]: whole claims that can be investigated on each day.

        Fractions are carried over to the following days: 0.5 a day is one claim every other day.
        """
        sums = np.floor(np.arange(self.day_count + 1) * self.capacity_per_day + 1e-9)
        return np.asarray(np.diff(sums), dtype=np.float64)


class Measured:
    """One model's scores on a panel, sorted once, so that metrics of any row weights are cheap."""

    def __init__(self, panel: Panel, scores: NDArray[np.floating]) -> None:
        self._panel = panel
        self._known = np.flatnonzero(~np.isnan(panel.labels))
        self._ranking = Ranking(panel.labels[self._known] == 1, scores[self._known])
        # Of equal scores on one day the earlier claim comes first, as an investigator takes it.
        self._order = np.lexsort((np.arange(len(scores)), -scores, panel.days))
        ordered_days = panel.days[self._order]
        self._day_start = np.searchsorted(ordered_days, ordered_days)
        self._capacities = panel.capacities[ordered_days]
        self._is_fraud = (panel.labels[self._order] == 1).astype(np.float64)
        self._is_known = (~np.isnan(panel.labels[self._order])).astype(np.float64)
        self._cents = panel.fraud_cents[self._order]

    def metrics(self, weights: Floats | None = None) -> Floats:
        """Compute `METRICS` as float64[5] under row weights float64[n] (None: the panel's own).

        NaN where a metric is undefined.
        """
        weights = self._panel.weights if weights is None else weights
        known, each = weights[self._known], weights[self._order]
        taken = self.taken(each)
        found, frauds = _dot(taken, self._is_fraud), _dot(each, self._is_fraud)
        return np.array(
            [
                self._ranking.average_precision(known),
                self._ranking.auc(known),
                _ratio(found, _dot(taken, self._is_known)),
                _ratio(found, frauds),
                _ratio(_dot(taken, self._cents), _dot(each, self._cents)),
            ]
        )

    def taken(self, each: Floats) -> Floats:
        """Return the part of each row's weight within the day's capacity: float64[n].

        Rows, here and in `each`, are in the order of day and then score.
        """
        until = np.cumsum(each)
        before = until - each
        before_in_day = before - before[self._day_start]
        return np.clip(self._capacities - before_in_day, 0.0, each)

    def judged_by_day(self) -> Floats:
        """Count the claims with a verdict within each day's capacity: float64[day_count]."""
        taken = self.taken(self._panel.weights[self._order]) * self._is_known
        days = self._panel.days[self._order]
        return np.asarray(np.bincount(days, taken, self._panel.day_count), np.float64)

    def money_found_cents(self) -> int:
        """Sum the amounts of known frauds within the capacity, in cents."""
        return int(_dot(self.taken(self._panel.weights[self._order]), self._cents))


def bootstrap(
    panel: Panel, measured: Sequence[Measured], seed: int, draws: int = DRAWS
) -> NDArray[np.float64]:
    """Compute the metrics of every model under the same draws of policies.

    Returns float64[models, draws, 5]. Because all models share the draws, their differences have
    the (much smaller) spread of paired samples.
    """
    generator = np.random.default_rng(seed)
    policies = int(panel.groups.max()) + 1
    drawn = np.empty((len(measured), draws, len(METRICS)))
    for draw in range(draws):
        counts = np.bincount(generator.integers(0, policies, policies), minlength=policies)
        weights = counts[panel.groups] * panel.weights
        for index, model in enumerate(measured):
            drawn[index, draw] = model.metrics(weights)
    return drawn


def evaluate(
    panel: Panel, scores: NDArray[np.floating], probabilities: Floats, drawn: Floats
) -> Evaluation:
    """Evaluate one model on a panel.

    Args:
        scores: float[n], margins, used for ranking (probabilities may have ties).
        probabilities: float64[n], calibrated, used for calibration error and Brier score.
        drawn: float64[draws, 5], this model's part of the result of `bootstrap`.
    """
    known = ~np.isnan(panel.labels)
    is_fraud, weights = panel.labels[known] == 1, panel.weights[known]
    measured = Measured(panel, scores)
    intervals = _intervals(measured.metrics(), drawn)
    return Evaluation(
        claims=round(float(np.sum(panel.weights))),
        labelled=round(float(np.sum(weights))),
        frauds=int(np.sum(is_fraud)),
        days=panel.day_count,
        base_ratio=float(np.average(is_fraud, weights=weights)),
        capacity_per_day=panel.capacity_per_day,
        average_precision=intervals[0],
        auc=intervals[1],
        precision=intervals[2],
        precision_ceiling=precision_ceiling(panel, measured),
        recall=intervals[3],
        money_found_ratio=intervals[4] if panel.has_money else None,
        money_found_cents=measured.money_found_cents() if panel.has_money else None,
        calibration_error=calibration_error(is_fraud, probabilities[known], weights=weights),
        brier=brier(is_fraud, probabilities[known], weights),
    )


def precision_ceiling(panel: Panel, measured: Measured) -> float:
    """Return the best precision for the number of judged claims that this ranking refers each day.

    Some of the referred claims have no verdict (yet) and don't count. A perfect ranking would fill
    the same number of judged claims of a day with that day's known frauds first.
    """
    frauds = np.bincount(panel.days, panel.labels == 1, panel.day_count)
    judged = measured.judged_by_day()
    return _ratio(float(np.minimum(judged, frauds).sum()), float(judged.sum()))


def _intervals(values: Floats, drawn: Floats) -> list[Interval]:
    """Return the 95 % intervals: quantiles of the draws, moved so that their median is the value.

    A policy that is drawn twice uses up the capacity twice, so draws find a little less at capacity
    than the rows themselves; without the shift the intervals would lie too low.
    """
    ends = []
    for value, sample in zip(values, drawn.T, strict=True):
        sound = sample[~np.isnan(sample)]
        if len(sound):
            low, middle, high = np.quantile(sound, [0.025, 0.5, 0.975])
            low, high = np.clip([value + low - middle, value + high - middle], 0.0, 1.0)
        else:
            low = high = np.nan
        ends.append(Interval(float(value), float(low), float(high)))
    return ends


def _dot(one: Floats, other: Floats) -> float:
    # Not BLAS: its threads add in a different order on every machine, and cost more than the sum.
    return float(np.sum(one * other))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
