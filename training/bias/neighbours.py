"""Nearest neighbours of claims, for the counterfactual flip test and for SMOTE.

Each feature is replaced by the percentile of its value among the claims looked at, 50 if it is
missing, so that amounts and marks count alike. Percentiles are whole numbers: distances are exact
in floating point, whatever the order of a sum, and the same on every machine.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .counts import A, D

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEIGHBOURS: Final = 5
FEW: Final = 9
"""With at most this many others only the nearest one is asked."""
MOST_FACET: Final = 1_000
MOST_OTHERS: Final = 10_000
"""Most claims of a side that the flip test looks at, evenly spread over time."""
_CHUNK: Final = 256


def percentiles(matrix: Floats) -> Floats:
    """Replace each value by its percentile in its column, 0 .. 100; equal values share the middle.

    >>> percentiles(np.array([[1.0], [1.0], [9.0], [np.nan]])).ravel().tolist()
    [33.0, 33.0, 83.0, 50.0]
    """
    placed = np.full(matrix.shape, 50.0)
    for column in range(matrix.shape[1]):
        known = ~np.isnan(matrix[:, column])
        if known.any():
            _, codes, counts = np.unique(
                matrix[known, column], return_inverse=True, return_counts=True
            )
            middles = np.cumsum(counts) - counts / 2
            placed[known, column] = np.round(100 * middles / counts.sum())[codes]
    return placed


def nearest(
    points: Floats, others: Floats, count: int, own: Ints | None = None
) -> NDArray[np.int64]:
    """Return the rows of the nearest others of each point: int64[points, count], unordered.

    The lower row wins a tie. Distances are squared Euclidean over whole numbers.

    Args:
        points, others: float64[n, F], from `percentiles`.
        count: at most the number of others, less one with `own`.
        own: int64[n], the row in `others` that is the point itself and is left out.
    """
    found = np.empty((len(points), count), np.int64)
    squares = (others**2).sum(axis=1)
    rows = np.arange(len(others), dtype=np.float64)
    for start in range(0, len(points), _CHUNK):
        some = points[start : start + _CHUNK]
        keys = ((some**2).sum(axis=1)[:, None] + squares - 2 * (some @ others.T)) * len(others)
        keys += rows
        if own is not None:
            keys[np.arange(len(some)), own[start : start + _CHUNK]] = np.inf
        found[start : start + _CHUNK] = np.argpartition(keys, count - 1, axis=1)[:, :count]
    return found


def flips(sides: Ints, referred: Bools, matrix: Floats, rows: Ints, columns: Ints) -> Ints:
    """Count the flips of the facet's claims: int64[3], (F+, F-, neither).

    F+ are referred claims of the facet most of whose nearest neighbours among the others pass; F-
    are passed ones most of whose neighbours are referred. Source: "Counterfactual Fliptest (FT)" in
    the documentation of Amazon SageMaker Clarify; five neighbours, one if there are few others.

    Args:
        sides, referred: [n], of the claims in `rows`.
        matrix: float64[N, F], of all claims; no copy of it is made.
        rows: int64[n], the places of the claims in `matrix`.
        columns: the features that neighbours are told by, without those that tell the sides apart.
    """
    inside = _spread(np.flatnonzero(sides == D), MOST_FACET)
    others = _spread(np.flatnonzero(sides == A), MOST_OTHERS)
    if not len(inside) or not len(others):
        return np.zeros(3, np.int64)
    placed = percentiles(matrix[np.ix_(rows[np.concatenate([inside, others])], columns)])
    count = 1 if len(others) <= FEW else NEIGHBOURS
    near = nearest(placed[: len(inside)], placed[len(inside) :], count)
    neighbours_pass = 2 * referred[others][near].sum(axis=1) < count
    plus = int(np.sum(referred[inside] & neighbours_pass))
    minus = int(np.sum(~referred[inside] & ~neighbours_pass))
    return np.array([plus, minus, len(inside) - plus - minus], np.int64)


def _spread(rows: Ints, most: int) -> Ints:
    """Return at most so many of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.arange(most) * len(rows) // most]
