"""Distances of two histograms, and differences of two rates, with their significance.

All functions are pure and take counts on the same bins, so they work on rows, merged tiles and
subtracted tiles alike. A distance that ignores the number of rows gives false alarms on small
windows or overlooks drift in large ones. Therefore each difference has a *size* (for people, and
for ranking) and a *p-value* (for the decision whether it is more than chance).

Logarithms are allowed here because no decision depends on these numbers. Numbers that are written
to a topic are rounded to 6 significant digits (`significant`), so that the last bits of a
machine's `log` don't change their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_EXPECTED_COUNT: Final = 5.0
"""Least expected rows of a bin on both sides; smaller neighbours are pooled (Cochran's rule)."""

SMOOTHING_COUNT: Final = 0.5
"""Rows added to every bin on both sides to avoid log(0), as Haldane and Anscombe for log-odds."""

Floats = NDArray[np.float64]


class Psi(NamedTuple):
    """A population stability index, and its distribution without drift.

    `expected` is the mean without drift, `z` the distance of `value` from this mean in standard
    deviations, `p` the probability of at least this value without drift, and `bins` the number of
    bins after pooling.
    """

    value: float
    expected: float
    z: float
    p: float
    bins: int


class RateDifference(NamedTuple):
    """A rate compared with its reference: `z` is the pooled two-sample z, `p` Fisher's exact test.

    Both are two-sided.
    """

    ratio: float
    reference_ratio: float
    difference: float
    z: float
    p: float


def significant(number: float) -> float:
    """Round a number to 6 significant digits.

    >>> significant(0.123456789), significant(1234567.0)
    (0.123457, 1234570.0)
    """
    return float(f"{number:.6g}")


def psi(ref_counts: ArrayLike, counts: ArrayLike) -> Psi:
    """Compute the population stability index: the sum of (p - q) ln(p / q) over bins; symmetric.

    Without drift the index is distributed about as (1/n + 1/m) chi2 with (bins - 1) degrees of
    freedom, n and m being the rows of each side (B. Yurdakul, Statistical Properties of Population
    Stability Index, 2018). `expected` and `z` use the mean and standard deviation of this
    distribution; `p` is the tail of chi2 itself: with few degrees of freedom chi2 is far from
    normal, and a limit on z would raise false alarms on features with few bins.

    Neighbouring bins are pooled until the smaller side expects `MIN_EXPECTED_COUNT` rows in each,
    and `SMOOTHING_COUNT` is added to each. The distance is 0 if one bin is left or a side is empty.

    >>> psi([50, 50], [50, 50]).value
    0.0
    >>> round(psi([500, 500], [600, 400]).value, 3), psi([500, 500], [600, 400]).p < 1e-4
    (0.04, True)
    """
    ref, live = _pair(ref_counts, counts)
    m, n = float(ref.sum()), float(live.sum())
    if not m or not n:
        return Psi(0.0, 0.0, 0.0, 1.0, 1)
    ref, live = _pool(ref, live)
    bins = len(ref)
    if bins == 1:
        return Psi(0.0, 0.0, 0.0, 1.0, 1)
    q = (ref + SMOOTHING_COUNT) / (m + SMOOTHING_COUNT * bins)
    p = (live + SMOOTHING_COUNT) / (n + SMOOTHING_COUNT * bins)
    value = float(np.sum((p - q) * np.log(p / q)))
    scale, freedom = 1 / n + 1 / m, bins - 1
    spread = math.sqrt(2 * freedom)
    z = (value / scale - freedom) / spread
    return Psi(value, scale * freedom, z, _chi2_above(value / scale, freedom), bins)


def ks(ref_counts: ArrayLike, counts: ArrayLike) -> float:
    """Compute the Kolmogorov-Smirnov distance on bins: the greatest gap of the cumulative shares.

    The result is at most the distance of the rows themselves, and equal to that distance if the
    greatest gap falls on an edge.

    >>> ks([1, 1, 1, 1], [0, 0, 2, 2])
    0.5
    """
    ref, live = _shares(ref_counts, counts)
    return float(np.max(np.abs(np.cumsum(ref) - np.cumsum(live)), initial=0.0))


def linf(ref_counts: ArrayLike, counts: ArrayLike) -> float:
    """Compute the greatest change of one bin's share.

    Deequ and SageMaker Model Monitor use this distance for categories.

    >>> linf([2, 2], [3, 1])
    0.25
    """
    ref, live = _shares(ref_counts, counts)
    return float(np.max(np.abs(ref - live), initial=0.0))


def higher_ratio(ref_counts: ArrayLike, counts: ArrayLike) -> float:
    """Compute the share of pairs (reference row, live row) with the higher live value; ties half.

    This is the Mann-Whitney U divided by its maximum; 0.5 means that neither side is higher. It
    gives drift a direction that, unlike a difference of means, heavy tails don't disturb.

    >>> higher_ratio([1, 1], [0, 2]), higher_ratio([1, 2], [1, 2])
    (0.75, 0.5)
    """
    ref, live = _pair(ref_counts, counts)
    if not ref.sum() or not live.sum():
        return 0.5
    below = np.cumsum(ref) - ref
    return float(np.sum(live * (below + ref / 2)) / (ref.sum() * live.sum()))


def rate_difference(ref_hits: int, ref_n: int, hits: int, n: int) -> RateDifference:
    """Compare `hits` of `n` live rows with `ref_hits` of `ref_n` reference rows.

    `z`, the pooled two-sample z, is for display. Decisions use `p`, Fisher's exact test (twice the
    tail away from the mean): the monitored rates are often near zero, where z would take a single
    row in a small window for certain drift.

    >>> rate_difference(50, 1000, 5, 100).p
    1.0
    >>> found = rate_difference(50, 1000, 20, 100)
    >>> round(found.difference, 3), round(found.z, 2), found.p < 1e-5
    (0.15, 5.86, True)
    """
    if not n or not ref_n:
        return RateDifference(hits / n if n else 0.0, ref_hits / ref_n if ref_n else 0.0, 0, 0, 1)
    ratio, reference_ratio = hits / n, ref_hits / ref_n
    pooled = (hits + ref_hits) / (n + ref_n)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / ref_n))
    difference = ratio - reference_ratio
    z = difference / spread if spread else 0.0
    return RateDifference(ratio, reference_ratio, difference, z, _fisher(ref_hits, ref_n, hits, n))


def missing_rate_difference(ref_missing: int, ref_n: int, missing: int, n: int) -> RateDifference:
    """Compare the rate of missing values with the reference's (Model Monitor's completeness).

    >>> missing_rate_difference(0, 5000, 100, 1000).difference
    0.1
    """
    return rate_difference(ref_missing, ref_n, missing, n)


def benjamini_hochberg(p_values: Sequence[float], false_discovery_ratio: float) -> list[bool]:
    """Select the significant among many tests, limiting the expected share of false ones.

    Y. Benjamini and Y. Hochberg, Controlling the False Discovery Rate, 1995: of the p-values in
    rising order, all are selected up to the last with p <= rank / count * ratio. Without any drift,
    the chance that even one test is selected is at most the ratio. The limit holds for positively
    dependent tests too.

    >>> benjamini_hochberg([0.001, 0.03, 0.04, 0.9], 0.05)
    [True, False, False, False]
    """
    count = len(p_values)
    limit = -1.0
    for rank, p in enumerate(sorted(p_values), start=1):
        if p <= rank / count * false_discovery_ratio:
            limit = p
    return [p <= limit for p in p_values]


def _pair(ref_counts: ArrayLike, counts: ArrayLike) -> tuple[Floats, Floats]:
    ref = np.asarray(ref_counts, dtype=np.float64)
    live = np.asarray(counts, dtype=np.float64)
    if ref.shape != live.shape:
        raise ValueError(f"histograms on different bins: {ref.shape} and {live.shape}")
    return ref, live


def _shares(ref_counts: ArrayLike, counts: ArrayLike) -> tuple[Floats, Floats]:
    ref, live = _pair(ref_counts, counts)
    if not ref.sum() or not live.sum():
        return np.zeros_like(ref), np.zeros_like(live)
    return ref / ref.sum(), live / live.sum()


def _pool(ref: Floats, live: Floats) -> tuple[Floats, Floats]:
    """Pool neighbouring bins from the left until each holds enough rows; the rest joins the last.

    A bin has enough rows if both sides expect `MIN_EXPECTED_COUNT` in it under a common
    distribution.
    """
    m, n = ref.sum(), live.sum()
    needed = MIN_EXPECTED_COUNT * (n + m) / min(n, m)
    pooled: list[list[float]] = []
    open_ref = open_live = 0.0
    for r, c in zip(ref.tolist(), live.tolist(), strict=True):
        open_ref, open_live = open_ref + r, open_live + c
        if open_ref + open_live >= needed:
            pooled.append([open_ref, open_live])
            open_ref = open_live = 0.0
    if not pooled:
        pooled.append([0.0, 0.0])
    pooled[-1][0] += open_ref
    pooled[-1][1] += open_live
    table = np.asarray(pooled, dtype=np.float64)
    return table[:, 0], table[:, 1]


def _chi2_above(value: float, freedom: int) -> float:
    """Return P(chi2 > value), exact: the upper incomplete gamma function by its recurrence.

    The recurrence starts at 1/2 or 1, according to the parity of `freedom`.
    """
    half = max(value, 0.0) / 2
    if not half:
        return 1.0
    at, above = (1.0, math.exp(-half)) if freedom % 2 == 0 else (0.5, math.erfc(math.sqrt(half)))
    while at < freedom / 2:
        above += math.exp(at * math.log(half) - half - math.lgamma(at + 1))
        at += 1
    return min(1.0, above)


def _fisher(ref_hits: int, ref_n: int, hits: int, n: int) -> float:
    """Return twice the tail of the hypergeometric distribution that `hits` lies in, at most 1."""
    total = hits + ref_hits
    tail = term = math.exp(
        _log_choose(n, hits) + _log_choose(ref_n, ref_hits) - _log_choose(n + ref_n, total)
    )
    # Each term of the tail is the term before times a ratio. Away from the mean terms shrink, so
    # the sum may stop once a term is below its last bit.
    if hits * (n + ref_n) >= total * n:
        for k in range(hits, min(total, n)):
            term *= (total - k) * (n - k) / ((k + 1) * (ref_n - total + k + 1))
            tail += term
            if term <= tail * 1e-17:
                break
    else:
        for k in range(hits, max(0, total - ref_n), -1):
            term *= k * (ref_n - total + k) / ((total - k + 1) * (n - k + 1))
            tail += term
            if term <= tail * 1e-17:
                break
    return min(1.0, 2 * tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
