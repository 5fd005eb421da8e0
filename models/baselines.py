"""Percentiles of each feature in training, against which reasons compare a claim's value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

GRID: Final = 101
"""Points of a grid: the percentiles 0, 1 .. 100."""


def build_baselines(names: Sequence[str], matrix: NDArray[np.float64]) -> dict[str, list[float]]:
    """Compute the percentile grid of each column of float64[n, features].

    Grid points are values that occur in the column, so the grid of a 0/1 flag holds only 0 and 1.
    The grid of a column without finite values is empty.

    >>> grids = build_baselines(["a"], np.array([[1.0], [np.nan], [3.0], [2.0]]))
    >>> grids["a"][0], grids["a"][50], grids["a"][100]
    (1.0, 2.0, 3.0)
    """
    grids: dict[str, list[float]] = {}
    for index, name in enumerate(names):
        # Adding 0.0 turns -0.0 into 0.0: a sort may leave equal zeros in any order.
        column = np.sort(matrix[:, index][np.isfinite(matrix[:, index])]) + 0.0
        steps = (np.arange(GRID) * max(len(column) - 1, 0)) // (GRID - 1)
        grids[name] = column[steps].tolist() if len(column) else []
    return grids


def percentile(grid: Sequence[float], value: float) -> float | None:
    """Return the percentile of a value on a training grid, 0 .. 100.

    A value that fills several grid points gets the middle of them. None if the grid is empty or
    the value is missing (NaN).

    >>> percentile([0.0, 0.0, 0.0, 1.0, 5.0], 0.0)
    25.0
    >>> percentile([0.0, 0.0, 0.0, 1.0, 5.0], 3.0)
    87.5
    """
    if not grid or value != value:
        return None
    if len(grid) == 1:
        return 50.0 if value == grid[0] else (0.0 if value < grid[0] else 100.0)
    below, up_to = bisect_left(grid, value), bisect_right(grid, value)
    middle = (below + up_to - 1) / 2.0
    return min(100.0, max(0.0, 100.0 * middle / (len(grid) - 1)))
