"""The walks of `models.kernels.shap` one row at a time, in NumPy's float32: no lanes.

NumPy rounds after each operation and joins none, so equal bytes say that the kernel does neither.
"""

from __future__ import annotations

import numpy as np

from models.kernels.shap import Contributions
from models.kernels.splits import LEFT, LINKS, NUMBERS, RIGHT

F32 = np.float32


def plain_contributions(tables: Contributions, weights: np.ndarray, row: np.ndarray) -> np.ndarray:
    """float64[features] -> float64[features + 1]."""
    splits = tables.splits
    with np.errstate(over="ignore"):
        row = row.astype(F32)
    missing = np.isnan(row)
    values = np.concatenate((np.where(missing, -np.inf, row), np.where(missing, np.inf, row)))
    sums = np.zeros(2 * tables.features)
    links = splits.links.reshape(-1, LINKS).tolist()
    numbers = splits.numbers.reshape(-1, NUMBERS)
    for tree in range(len(splits.trees) - 1):
        first, end = splits.trees[tree : tree + 2].tolist()
        worths, shares, steps = {1: weights.astype(F32)}, {}, {}
        ways = {0: LEFT}
        for at in range(first, end):
            here = at - first + 1
            column, child, before, side = links[at]
            threshold, cover, left_leaf, right_leaf = numbers[at, :4]
            held, failed, scale = numbers[at, 4:].reshape(3, -1)
            left = values[column] < threshold
            passed = ways[before] == side
            share = (held if left else failed) if passed else np.full(len(held), cover)
            step = F32(left) - cover if passed else F32(0)
            reach = worths[here]
            if child:
                shares[here], steps[here] = share, step
                ways[here] = (LEFT if left else RIGHT) if passed else 0
                worths[child] = reach * share
                worths[child + 1] = reach - worths[child]
            else:
                gap = left_leaf - right_leaf
                sums[column] += _total(reach * scale) * (step * gap)
                worths[here] = right_leaf + share * gap
        for at in range(end - 1, first - 1, -1):
            here, (column, child, _, _) = at - first + 1, links[at]
            if child:
                scale = numbers[at, 4:].reshape(3, -1)[2]
                gap = worths[child] - worths[child + 1]
                sums[column] += _total(worths[here] * (scale * gap)) * steps[here]
                worths[here] = worths[child + 1] + shares[here] * gap
    added = sums[: tables.features] + sums[tables.features :]
    return np.append(added, tables.bias)


def _total(points: np.ndarray) -> np.float32:
    found = points[0]
    for point in points[1:]:
        found = found + point
    return found
