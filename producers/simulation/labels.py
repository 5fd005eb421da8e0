"""Outcomes that arrive weeks after a claim: source, delay, and the share that never arrives.

The published curve: the days from filing to the outcome on the log are lognormal,

| source | claims | median | sigma | 95 % by |
|---|---|---|---|---|
| settlement | paid or declined as filed | 16 d | 0.55 | 40 d |
| investigation | all found frauds, and 4 % of honest claims | 45 d | 0.45 | 94 d |

and `delay_cdf` is its distribution. A share of the frauds is never found (settled as legit), and a
share of all claims never gets an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, log, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from claimtrace.clock import DAY_MS, HOUR_MS

from .config import SimulationConfig
from .draws import Ints, lognormal

SOURCES: Final = ("settlement", "investigation")
OUTCOMES: Final = ("legit", "fraud")
MEDIAN_DAYS: Final = (16.0, 45.0)
SIGMA: Final = (0.55, 0.45)
INVESTIGATED_HONEST_RATIO: Final = 0.04
TYPICAL_INVESTIGATED_RATIO: Final = 0.067
"""Share of claims that are investigated at the default fraud rate, for the curve of all claims."""


@dataclass(frozen=True)
class Labels:
    """Outcomes in columns; `row` is the index of the claim."""

    row: Ints
    arrives_ms: Ints
    decided_ms: Ints
    outcome: Ints
    source: Ints


def delay_cdf(age_days: float, source: str | None = None) -> float:
    """Compute the share of outcomes, among those that ever arrive, known `age_days` after filing.

    Args:
        age_days: days since the claim was filed.
        source: one of `SOURCES`; None: all together at the default fraud rate.

    >>> round(delay_cdf(16, "settlement"), 3), round(delay_cdf(45, "investigation"), 3)
    (0.5, 0.5)
    >>> delay_cdf(0), round(delay_cdf(400), 4)
    (0.0, 1.0)
    """
    if source is None:
        weight = TYPICAL_INVESTIGATED_RATIO
        slow, quick = delay_cdf(age_days, SOURCES[1]), delay_cdf(age_days, SOURCES[0])
        return weight * slow + (1 - weight) * quick
    if age_days <= 0:
        return 0.0
    number = SOURCES.index(source)
    z = log(age_days / MEDIAN_DAYS[number]) / SIGMA[number]
    return 0.5 * (1 + erf(z / sqrt(2)))


def draw_labels(
    is_fraud: npt.NDArray[np.bool_],
    filed_ms: Ints,
    on_log_ms: Ints,
    config: SimulationConfig,
    rng: np.random.Generator,
) -> Labels:
    """Draw the outcomes of some claims; none arrives before the claim itself is on the log.

    Args:
        is_fraud, filed_ms, on_log_ms: `[claims]`, the truth, filing times and arrivals.
        config: the ratios of frauds never found and of claims never labelled.
        rng: the generator to draw from.
    """
    count = len(is_fraud)
    found = is_fraud & (rng.random(count) >= config.undetected_ratio)
    audited = rng.random(count) < INVESTIGATED_HONEST_RATIO
    source = (found | (audited & ~is_fraud)).astype(np.int64)
    # both are drawn for every claim: a claim's source doesn't shift the draws of the others
    days = np.where(
        source == 1,
        lognormal(rng, count, MEDIAN_DAYS[1], SIGMA[1]),
        lognormal(rng, count, MEDIAN_DAYS[0], SIGMA[0]),
    )
    arrives_ms = np.maximum(filed_ms + (days * DAY_MS).astype(np.int64), on_log_ms + HOUR_MS)
    decided_ms = arrives_ms - rng.integers(1000, HOUR_MS, count)
    row = np.flatnonzero(rng.random(count) >= config.unlabelled_ratio)
    outcome = found.astype(np.int64)
    return Labels(row, arrives_ms[row], decided_ms[row], outcome[row], source[row])
