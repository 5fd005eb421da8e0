"""Gates about quality on claims that the judged model hasn't learned from.

Each allows for chance: a small test must not fail by noise, nor pass because it is small.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.settings.schema import GateSettings

from ..evaluation.metrics import Ranking, calibration_error
from .gate import Verdict
from .gates import QUALITY, Gate, finding_of

Floats = NDArray[np.float64]

LEAST_OF_A_CLASS: Final = 10
"""Fewest frauds, and fewest honest claims, of a month that is judged."""
SURELY: Final = 3.0
"""Standard errors by which a month must be worse: by chance alone 1 month of 740 would be."""
_BINS: Final = 10


class MonthQuality(msgspec.Struct, frozen=True):
    """The AUC of one month of the test, and its standard error."""

    month: str
    claims: int
    frauds: int
    auc: float
    error: float


def quality_gate(verdict: Verdict) -> Gate:
    """Whether the model is better than the champion, or than chance where there is none."""
    return Gate(
        name=QUALITY,
        state="passed" if verdict.promote else "failed",
        words=finding_of(verdict),
        evidence="Quality, on the test claims",
    )


def calibration_gate(
    labels: Floats, probabilities: Floats, limits: GateSettings, weights: Floats | None = None
) -> Gate:
    """Whether probabilities are about the shares of frauds that were found.

    The calibration error (`evaluation.metrics`) is not 0 for perfect probabilities either, because
    shares of few claims are noisy. What chance alone gives is taken off: for a part of n claims
    the mean of a half-normal with the deviation of its share, sqrt(2 / pi sum p (1 - p)) / n. Rows
    of a sample count with their weights w: sqrt(2 / pi sum w^2 p (1 - p)) / sum w.

    Args:
        labels: float64[n], 1 fraud, 0 legitimate, NaN unknown.
        probabilities: float64[n].
        weights: float64[n], how many claims a row stands for; None: one.
    """
    name, evidence = "calibration", "Quality: calibration error"
    known = ~np.isnan(labels)
    frauds, p = labels[known] == 1, probabilities[known]
    w = np.ones(len(p)) if weights is None else weights[known]
    base = float(np.sum(w * frauds) / np.sum(w)) if len(frauds) else 0.0
    if base == 0.0:
        return Gate(name=name, state="not evaluable", words="no fraud in the test",
                    evidence=evidence)  # fmt: skip
    error = calibration_error(frauds, p, _BINS, w)
    parts = np.array_split(np.argsort(p, kind="stable"), min(_BINS, len(p)))
    noise = w * w * p * (1 - p)
    chance = sum(math.sqrt(2 / math.pi * float(np.sum(noise[q]))) for q in parts) / np.sum(w)
    limit = limits.calibration_error_ratio * base
    return Gate(
        name=name,
        state="passed" if error - chance <= limit else "failed",
        words=f"probabilities are off by {error:.4f} on average, {chance:.4f} of it by chance; "
        f"limit {limit:.4f} beyond chance, {limits.calibration_error_ratio:g} of the share of "
        f"frauds {base:.4f}",
        evidence=evidence,
    )


def months_of(
    times_ms: NDArray[np.int64], labels: Floats, scores: NDArray[np.floating]
) -> list[MonthQuality]:
    """Judge each month by its claims with a verdict; months with too few of a class are left out.

    The standard error of an AUC A with n frauds and m honest claims is that of Hanley and McNeil
    ("The meaning and use of the area under a ROC curve", 1982):

        sqrt((A (1 - A) + (n - 1) (A / (2 - A) - A^2) + (m - 1) (2 A^2 / (1 + A) - A^2)) / (n m))

    Args:
        times_ms: int64[n], event times in ms.
        labels: float64[n], 1 fraud, 0 legitimate, NaN unknown.
        scores: float[n].
    """
    months = times_ms.astype("datetime64[ms]").astype("datetime64[M]")
    known, found = ~np.isnan(labels), []
    for month in np.unique(months[known]):
        rows = known & (months == month)
        judged = _judged(str(month), labels[rows] == 1, scores[rows])
        if judged is not None:
            found.append(judged)
    return found


def stability_gate(
    times_ms: NDArray[np.int64], labels: Floats, scores: NDArray[np.floating], limits: GateSettings
) -> Gate:
    """Whether no month of the test is surely worse than the others.

    Judged by AUC, which doesn't depend on the share of frauds. A month fails the gate when the AUC
    of all other months together exceeds its own by more than `month_drop` and by `SURELY` standard
    errors beyond that; so a month with few frauds fails it only when the ranking has broken down.

    Arguments as for `months_of`.
    """
    name, evidence = "stability", "AUC of each month of the test"
    judged = months_of(times_ms, labels, scores)
    if len(judged) < 2:
        return Gate(
            name=name, state="not evaluable", evidence=evidence,
            words=f"fewer than two months of the test have {LEAST_OF_A_CLASS} frauds and as many "
            "honest claims",
        )  # fmt: skip
    months = times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(str)
    worse = []
    for each in judged:
        rows = ~np.isnan(labels) & (months != each.month)
        rest = _judged("", labels[rows] == 1, scores[rows])
        if rest is None:
            continue
        noise = SURELY * math.sqrt(each.error**2 + rest.error**2)
        if rest.auc - each.auc - noise > limits.month_drop:
            worse.append(f"{each.month} has {each.auc:.3f}, the others {rest.auc:.3f}")
    spread = f"AUC {min(m.auc for m in judged):.3f} .. {max(m.auc for m in judged):.3f} in "
    return Gate(
        name=name,
        state="failed" if worse else "passed",
        words=("; ".join(worse) + "; " if worse else "") + spread
        + f"{len(judged)} months (a surely greater drop than {limits.month_drop:g} fails)",
        evidence=evidence,
    )  # fmt: skip


def _judged(
    month: str, frauds: NDArray[np.bool_], scores: NDArray[np.floating]
) -> MonthQuality | None:
    n = int(np.sum(frauds))
    m = len(frauds) - n
    if min(n, m) < LEAST_OF_A_CLASS:
        return None
    a = float(Ranking(frauds, scores).auc())
    variance = (
        a * (1 - a) + (n - 1) * (a / (2 - a) - a * a) + (m - 1) * (2 * a * a / (1 + a) - a * a)
    )
    return MonthQuality(month, n + m, n, a, math.sqrt(max(variance, 0.0) / (n * m)))
