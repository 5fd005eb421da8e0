"""Global explanations: the influence of each feature on the scores of many claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Influence(msgspec.Struct, frozen=True):
    """The SHAP values of one feature over a sample of claims, in log-odds.

    `mean_absolute`, `median` and `mean_square` are the three aggregations of SageMaker Clarify
    (mean of absolute values, median of values, mean of squares), over all claims; `among_frauds` is
    the mean value among known frauds, None without any: above 0, the feature helps to find them.
    `text` is the feature in words, as its definition has it; empty without any.
    """

    feature: str
    text: str
    mean_absolute: float
    median: float
    mean_square: float
    among_frauds: float | None


def influences_of(
    names: Sequence[str],
    values: Floats,
    weights: Floats,
    is_fraud: NDArray[np.bool_],
    texts: Mapping[str, str] | None = None,
) -> list[Influence]:
    """Aggregate SHAP values, the most influential feature first; ties in the order of features.

    Args:
        names: F names.
        values: float64[n, F].
        weights: float64[n], how many claims each one stands for.
        is_fraud: bool[n].
        texts: features in words, by their names.

    >>> one = influences_of(["a"], np.array([[1.0], [-3.0]]), np.ones(2), np.array([True, False]))
    >>> one[0].mean_absolute, one[0].mean_square, one[0].among_frauds
    (2.0, 5.0, 1.0)
    """
    whole = float(weights.sum())
    each = weights[:, None]
    mean_absolute = (np.abs(values) * each).sum(axis=0) / whole
    mean_square = (values * values * each).sum(axis=0) / whole
    frauds = values[is_fraud]
    among = frauds.mean(axis=0) if len(frauds) else None
    found = [
        Influence(
            feature=name,
            text=(texts or {}).get(name, ""),
            mean_absolute=float(mean_absolute[at]),
            median=weighted_median(values[:, at], weights),
            mean_square=float(mean_square[at]),
            among_frauds=None if among is None else float(among[at]),
        )
        for at, name in enumerate(names)
    ]
    return sorted(found, key=lambda one: -one.mean_absolute)


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the least value at which half of the weight is reached.

    >>> weighted_median(np.array([5.0, 1.0, 2.0]), np.array([1.0, 1.0, 4.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2)]])
