"""The delay of verdicts, estimated from the data: how many are known at which age of a claim.

A claim without a verdict isn't one that will never get one: it is as old as it is, and no older.
Therefore the share known by an age is the product-limit estimate (Kaplan and Meier, "Nonparametric
Estimation from Incomplete Observations", 1958), in which such a claim counts up to its age.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS

from .dataset import Dataset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MATURE_SHARE: Final = 0.8
_MAX_YOUNG_RATIO: Final = 0.25
_LEAST_AT_RISK: Final = 0.05
"""Ages that fewer claims than this share have reached: the curve is too unsure there."""
_AGES_DAYS: Final = (7, 14, 30, 60, 90, 180, 365)
_RECENT_MONTHS: Final = 6


class AgeShare(msgspec.Struct, frozen=True):
    """The share of claims whose verdict is known at an age, 0 .. 1."""

    age_days: int
    known_ratio: float


class MonthShare(msgspec.Struct, frozen=True):
    """The progress of the verdicts on the claims of one month, or of all months up to one."""

    month: str
    claims: int
    labelled: int
    frauds: int

    @property
    def labelled_ratio(self) -> float:
        """The share of claims with a verdict, 0 .. 1."""
        return self.labelled / self.claims


class Maturity(msgspec.Struct, frozen=True):
    """When verdicts arrive.

    Attributes:
        mature_until_ms: up to this event time the known verdicts are a fair sample.
        delay_ms: age at which 80 % of the verdicts, and of the frauds, that come at all are known.
        by_age: the delay curve.
        by_month: the last months one by one, and all before them in the first row.
    """

    mature_until_ms: int
    delay_ms: int
    by_age: list[AgeShare]
    by_month: list[MonthShare]


def maturity_of(dataset: Dataset) -> Maturity:
    """Estimate when verdicts arrive, and up to which event time they are a fair sample.

    Fast verdicts differ from slow ones, and frauds often take longer. Therefore claims younger than
    the age at which 80 % of the verdicts, and 80 % of the frauds, are known don't count as mature;
    at most a quarter of the time span is left out, so that a short history can be used.
    """
    ages_ms, known = delay_curve(dataset, dataset.has_label)
    first, last = int(dataset.event_times_ms[0]), int(dataset.event_times_ms[-1])
    fraud_curve = delay_curve(dataset, dataset.is_fraud)
    delay_ms = max(_age_ms(ages_ms, known), _age_ms(*fraud_curve))
    earliest = last - int(_MAX_YOUNG_RATIO * (last - first))
    until_ms = min(last, max(dataset.at_ms - delay_ms, earliest))
    return Maturity(
        mature_until_ms=until_ms,
        delay_ms=delay_ms,
        by_age=_by_age(ages_ms, known),
        by_month=_by_month(dataset),
    )


def delay_curve(dataset: Dataset, verdicts_of: NDArray[np.bool_]) -> tuple[Ints, Floats]:
    """Return the ages int64[k] in ms at which verdicts came, and the share known by then.

    The share float64[k] is of all claims, rising within 0 .. 1; both are empty without a verdict.

    Args:
        verdicts_of: bool[n], claims with a verdict of the kind asked for; all others are counted as
            still without one.
    """
    until = np.where(verdicts_of, dataset.label_known_ms, dataset.at_ms) - dataset.event_times_ms
    until, weights = np.maximum(until, 0), dataset.weights
    ages, at = np.unique(until[verdicts_of], return_inverse=True)
    verdicts = np.bincount(at, weights[verdicts_of], len(ages))
    order = np.argsort(until, kind="stable")
    younger = np.concatenate([[0.0], np.cumsum(weights[order])])
    at_risk = younger[-1] - younger[np.searchsorted(until[order], ages, side="left")]
    sure = at_risk >= max(1.0, _LEAST_AT_RISK * younger[-1])
    ages, verdicts, at_risk = ages[sure], verdicts[sure], at_risk[sure]
    known = 1.0 - np.cumprod(1.0 - verdicts / at_risk)
    return ages, np.asarray(known, np.float64)


def _age_ms(ages_ms: Ints, known: Floats) -> int:
    """Return the age at which 80 % of the verdicts that come at all are known."""
    return int(ages_ms[np.searchsorted(known, _MATURE_SHARE * known[-1])]) if len(known) else 0


def _by_age(ages_ms: Ints, known: Floats) -> list[AgeShare]:
    if not len(known):
        return []
    oldest = int(ages_ms[-1])
    return [
        AgeShare(days, round(float(known[at - 1]) if at else 0.0, 4))
        for days in _AGES_DAYS
        if days * DAY_MS <= oldest
        for at in [int(np.searchsorted(ages_ms, days * DAY_MS, side="right"))]
    ]


def _by_month(dataset: Dataset) -> list[MonthShare]:
    months = dataset.event_times_ms.astype("datetime64[ms]").astype("datetime64[M]")
    names = np.unique(months)
    recent = names[-_RECENT_MONTHS:]
    parts = [(str(month), months == month) for month in recent]
    if len(names) > len(recent):
        parts.insert(0, (f"until {names[-_RECENT_MONTHS - 1]}", months < recent[0]))
    return [
        MonthShare(
            month=name,
            claims=dataset.counted(rows),
            labelled=dataset.counted(rows & dataset.has_label),
            frauds=int(np.sum(rows & dataset.is_fraud)),
        )
        for name, rows in parts
    ]
