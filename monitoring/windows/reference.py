"""The drift reference: histograms of a model's training rows, for comparison with live windows.

A bin is `(previous edge, edge]`. The inner edges are values of the training rows, chosen so that
bins hold equally many rows; the two outer bins are for values below the least and above the
greatest value of training. Live windows that are counted on the same edges can be merged and
subtracted exactly, in any order, which randomised sketches don't allow (`tile`).

The reference is part of the published artefact: written as JSON, read with `read_reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import ModelError

from ..statistics.distances import psi, significant

MAX_BINS: Final = 20
"""Most bins of a feature, outer bins included; at a day's claims, finer bins lose power."""

SCORE_LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""Quantiles that become edges of the score: finer at the top, where decisions are made."""

MIN_NOISE_WINDOWS: Final = 5
"""Fewest training windows from which the noise among windows can be estimated."""

MIN_NOISE_ROWS: Final = 100
"""Fewest rows of a window that counts for this estimate."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class FeatureReference(msgspec.Struct, frozen=True):
    """One feature's training histogram, and three statistics for people.

    `counts[i]` is the number of rows in `(edges[i-1], edges[i]]`, so there is one more count than
    edges; `missing` counts NaN. `mean`, `std` and `median` are taken over finite values, and None
    without any.
    """

    name: str
    edges: list[float]
    counts: list[int]
    missing: int
    mean: float | None = None
    std: float | None = None
    median: float | None = None


class WindowNoise(msgspec.Struct, frozen=True):
    """The ordinary differences between windows of the training time and the whole training time.

    Season, weekday and repeat claimants cause such differences; a live window that differs no more
    than this doesn't count as drift. Each number is the mean over windows + 3 standard deviations,
    of the PSI beyond chance (`score`, and `features` in definition order) and of the referral
    rate's distance (`referral_ratio`). The rule of mean + 3 standard deviations over reference
    windows is NannyML's.
    """

    window_ms: int
    windows: int
    features: list[float]
    score: float
    referral_ratio: float


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a live window is compared with; made once, when the model is trained.

    Attributes:
        n: number of rows.
        features: histograms of the features, in definition order.
        score: histogram of the calibrated probability; the lowest score that is referred lies just
            above an edge.
        refer_threshold: scores from here on are referred; None if unknown.
        referred: rows with a score that would be referred.
        unseen: rows with at least one category that the encoder doesn't know.
        labels: known outcomes.
        frauds: known outcomes that are fraud.
        window_noise: ordinary differences among windows; None if there are too few windows.
    """

    schema_version: int = 1
    n: int
    features: list[FeatureReference]
    score: FeatureReference
    refer_threshold: float | None
    referred: int
    unseen: int
    labels: int
    frauds: int
    window_noise: WindowNoise | None = None

    @property
    def names(self) -> list[str]:
        """The names of the features, in definition order."""
        return [feature.name for feature in self.features]

    @property
    def scored(self) -> int:
        """The number of rows with a score, the denominator of the referral rate."""
        return self.n - self.score.missing


def build_reference(
    names: Sequence[str],
    matrix: Floats,
    scores: Floats,
    referred: NDArray[np.bool_],
    labels: NDArray[np.generic] | None = None,
    *,
    refer_threshold: float | None = None,
    unseen: Counts | None = None,
    event_times_ms: Counts | None = None,
    window_ms: int | None = None,
) -> Reference:
    """Count the training rows. The same rows in any order give the same reference.

    Pass the *served* vectors, and scores only of rows that the model wasn't fitted on (NaN for the
    others): in-sample scores are too confident, and every live window would seem to drift.

    Args:
        names: F names in definition order.
        matrix: float64[n, F], NaN where missing.
        scores: float64[n], calibrated probabilities, NaN for rows without a score.
        referred: bool[n], whether the row would be referred; counted for rows with a score.
        labels: bool[n], or float64[n] with 1 fraud, 0 legitimate, NaN unknown.
        refer_threshold: scores from here on are referred; becomes an edge.
        unseen: int64[n], number of the row's categories that the encoder doesn't know; default 0.
        event_times_ms, window_ms: int64[n] and the width of live windows; both are needed for
            `window_noise`.

    Raises:
        ModelError: shapes differ, or names are repeated.

    >>> reference = build_reference(
    ...     ["amount"], np.array([[1.0], [2.0], [np.nan]]), np.array([0.1, 0.2, 0.9]),
    ...     np.array([False, False, True]), refer_threshold=0.5)
    >>> reference.features[0].counts, reference.features[0].missing, reference.referred
    ([0, 1, 1, 0], 1, 1)
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    _check_shapes(names, matrix, scores, referred, labels, unseen)
    features = [
        _histogram(name, column, _equal_mass_edges(_finite(column)))
        for name, column in zip(names, matrix.T, strict=True)
    ]
    score = _histogram("score", scores, _score_edges(_finite(scores), refer_threshold))
    noise = None
    if event_times_ms is not None and window_ms is not None:
        windows = np.asarray(event_times_ms, dtype=np.int64) // window_ms
        noise = _window_noise(features, score, matrix, scores, referred, windows, window_ms)
    known = np.zeros(0) if labels is None else np.asarray(labels, dtype=np.float64)
    return Reference(
        n=len(matrix),
        features=features,
        score=score,
        refer_threshold=refer_threshold,
        referred=int(np.count_nonzero(referred & ~np.isnan(scores))),
        unseen=0 if unseen is None else int(np.count_nonzero(unseen)),
        labels=int(np.count_nonzero(~np.isnan(known))),
        frauds=int(np.count_nonzero(known == 1)),
        window_noise=noise,
    )


def read_reference(document: object, where: str = "reference") -> Reference:
    """Read a reference from JSON bytes, `msgspec.Raw` or the plain dict of a manifest.

    Raises:
        ModelError: the document isn't a reference: a wrong type, edges that don't rise, or counts
            that don't match the edges.

    >>> read_reference({"n": 1})
    Traceback (most recent call last):
    ...
    claimtrace.errors.ModelError: not a drift reference:
    Object missing required field `features` [reference] (train and publish the model again)
    """
    hint = "train and publish the model again"
    try:
        if isinstance(document, bytes | msgspec.Raw):
            reference = msgspec.json.decode(document, type=Reference)
        else:
            reference = msgspec.convert(document, Reference)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ModelError(f"not a drift reference: {error}", where=where, hint=hint) from error
    for feature in (*reference.features, reference.score):
        edges = np.asarray(feature.edges, dtype=np.float64)
        rising = bool(np.all(np.isfinite(edges)) and np.all(edges[1:] > edges[:-1]))
        if not rising or len(edges) >= MAX_BINS or len(feature.counts) != len(edges) + 1:
            raise ModelError(
                f"the bins of {feature.name} are damaged",
                where=where,
                hint=hint,
            )
    return reference


def bin_counts(column: Floats, edges: Sequence[float]) -> Counts:
    """Count the rows in each bin `(edges[i-1], edges[i]]`, without NaN: int64[len(edges) + 1].

    >>> bin_counts(np.array([1.0, 2.0, 2.5, np.nan]), [1.0, 2.0]).tolist()
    [1, 1, 1]
    """
    bins = np.searchsorted(np.asarray(edges, dtype=np.float64), column[~np.isnan(column)], "left")
    return np.bincount(bins, minlength=len(edges) + 1).astype(np.int64)


def _check_shapes(
    names: Sequence[str],
    matrix: Floats,
    scores: Floats,
    referred: NDArray[np.bool_],
    labels: NDArray[np.generic] | None,
    unseen: Counts | None,
) -> None:
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or len(set(names)) != len(names):
        raise ModelError(
            f"{len(names)} names ({len(set(names))} different) for a matrix of {matrix.shape}",
            where="drift reference",
            hint="give each column one name, and no name twice",
        )
    columns = (("scores", scores), ("referred", referred), ("labels", labels), ("unseen", unseen))
    for what, column in columns:
        if column is not None and len(column) != len(matrix):
            raise ModelError(
                f"{len(column)} {what} for {len(matrix)} rows",
                where="drift reference",
                hint="give one value for each row",
            )


def _finite(column: Floats) -> Floats:
    """Return the finite values in rising order, zeros without a sign."""
    # 0.0 and -0.0 are equal for a sort, which leaves them in any order: adding 0.0 makes all of
    # them 0.0, or else edges and median would depend on the order of rows and on the processor.
    return np.sort(column[np.isfinite(column)]) + 0.0


def _outer_edges(ordered: Floats) -> tuple[float, float]:
    """Return the edges that separate the range of the sorted values from the two outer bins."""
    # Bins are closed above, so the edge below the least value lies one float below that value;
    # clipped, since JSON has no infinity.
    with np.errstate(over="ignore"):
        least = float(np.nextafter(ordered[0], -np.inf))
    return max(least, -float(np.finfo(np.float64).max)), float(ordered[-1])


def _equal_mass_edges(ordered: Floats) -> list[float]:
    """Choose edges for sorted values so that bins hold equally many rows.

    After each bin the remaining rows are divided anew among the remaining bins, so a frequent value
    (the zeros of a count) takes one bin and the others still divide the tail. Edges are values that
    occur; nothing is interpolated.
    """
    if not len(ordered):
        return []
    edges = [_outer_edges(ordered)[0]]
    start, bins_left = 0, MAX_BINS - 2
    while start < len(ordered):
        share = -(-(len(ordered) - start) // bins_left)
        edge = float(ordered[start + share - 1])
        edges.append(edge)
        start = int(np.searchsorted(ordered, edge, "right"))
        bins_left -= 1
    return sorted(set(edges))


def _score_edges(ordered: Floats, refer_threshold: float | None) -> list[float]:
    """Choose edges for sorted scores: quantiles at `SCORE_LEVELS`, and the referral threshold."""
    edges: set[float] = set()
    if len(ordered):
        edges.update(_outer_edges(ordered))
        # Levels in thousandths, so that the row of a quantile is computed in integers.
        rows = [-(-len(ordered) * round(level * 1000) // 1000) - 1 for level in SCORE_LEVELS]
        edges.update(float(ordered[row]) for row in rows)
    if refer_threshold is not None:
        # Scores equal to the threshold are referred, so the threshold belongs above the edge.
        edges.add(float(np.nextafter(refer_threshold, -np.inf)))
    return sorted(edges)


def _histogram(name: str, column: Floats, edges: list[float]) -> FeatureReference:
    finite = _finite(column)
    return FeatureReference(
        name=name,
        edges=edges,
        counts=bin_counts(column, edges).tolist(),
        missing=int(np.count_nonzero(np.isnan(column))),
        mean=_rounded(np.mean, finite),
        std=_rounded(np.std, finite),
        median=float(finite[(len(finite) - 1) // 2]) if len(finite) else None,
    )


def _rounded(statistic: Callable[[Floats], np.float64], finite: Floats) -> float | None:
    """Return a statistic with 6 significant digits; None without values or on overflow."""
    # Statistics of values near the greatest float overflow, and JSON has no infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        number = float(statistic(finite)) if len(finite) else np.nan
    return significant(number) if np.isfinite(number) else None


def _window_noise(
    features: list[FeatureReference],
    score: FeatureReference,
    matrix: Floats,
    scores: Floats,
    referred: NDArray[np.bool_],
    windows: Counts,
    window_ms: int,
) -> WindowNoise | None:
    """Estimate the noise among windows; None if fewer than `MIN_NOISE_WINDOWS` have enough rows."""
    rows = _split(windows, np.ones(len(windows), dtype=np.bool_))
    scored = _split(windows, ~np.isnan(scores))
    if len(rows) < MIN_NOISE_WINDOWS:
        return None

    def beyond_chance(feature: FeatureReference, column: Floats, parts: list[Counts]) -> float:
        whole = np.asarray(feature.counts, dtype=np.int64)
        distances = [psi(whole, bin_counts(column[part], feature.edges)) for part in parts]
        return _upper_limit([max(0.0, each.value - each.expected) for each in distances])

    rates = np.array([np.mean(referred[part]) for part in scored])
    return WindowNoise(
        window_ms=window_ms,
        windows=len(rows),
        features=[beyond_chance(f, c, rows) for f, c in zip(features, matrix.T, strict=True)],
        score=beyond_chance(score, scores, scored),
        referral_ratio=_upper_limit(np.abs(rates - np.mean(rates)).tolist() if len(rates) else []),
    )


def _split(windows: Counts, wanted: NDArray[np.bool_]) -> list[Counts]:
    """Return the row numbers of each window with enough wanted rows, in order of time."""
    chosen = np.flatnonzero(wanted)
    ordered = chosen[np.argsort(windows[chosen], kind="stable")]
    cuts = np.flatnonzero(np.diff(windows[ordered])) + 1
    parts = np.split(ordered, cuts)
    return [part for part in parts if len(part) >= MIN_NOISE_ROWS]


def _upper_limit(distances: list[float]) -> float:
    """Return mean + 3 standard deviations of distances; 0 if there are too few to tell."""
    if len(distances) < MIN_NOISE_WINDOWS:
        return 0.0
    return significant(float(np.mean(distances) + 3 * np.std(distances)))
