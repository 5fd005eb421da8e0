"""Interventional Shapley values by their definition: every coalition, every background claim.

The worth of a coalition is the mean margin over the background, when the features of the coalition
have the claim's values and the others those of the background claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np


def naive_interventional(
    margins: Callable[[np.ndarray], np.ndarray], row: np.ndarray, background: np.ndarray
) -> np.ndarray:
    """float64[F], float64[b, F] -> float64[F + 1]; the last is the mean margin of the group."""
    features = len(row)

    def worth(coalition: tuple[int, ...]) -> float:
        mixed = background.copy()
        mixed[:, list(coalition)] = row[list(coalition)]
        return float(np.mean(margins(mixed).astype(np.float64)))

    worths = {
        frozenset(some): worth(some)
        for size in range(features + 1)
        for some in combinations(range(features), size)
    }
    out = np.zeros(features + 1)
    for feature in range(features):
        for coalition, value in worths.items():
            if feature not in coalition:
                size = len(coalition)
                weight = math.factorial(size) * math.factorial(features - 1 - size)
                gain = worths[coalition | {feature}] - value
                out[feature] += weight / math.factorial(features) * gain
    out[features] = worths[frozenset()]
    return out
