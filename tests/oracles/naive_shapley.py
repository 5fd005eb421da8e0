"""Shapley values by their definition: every coalition of features, weighted; no tables.

The game is path-dependent TreeSHAP's (arXiv 1802.03888, algorithm 1): the worth of a coalition is
the expected margin where features outside of it go both ways, by their share of the cover.
"""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np


def naive_contributions(document: bytes, row: np.ndarray) -> np.ndarray:
    """float64[features] -> float64[features + 1]; the last is the expected margin."""
    learner = json.loads(document)["learner"]
    parameters = learner["learner_model_param"]
    features = int(parameters["num_feature"])
    base_score = float(parameters["base_score"].strip("[]"))
    trees = learner["gradient_booster"]["model"]["trees"]
    row = row.astype(np.float32)

    def worth(coalition: frozenset[int]) -> float:
        return sum(_expected(tree, 0, row, coalition) for tree in trees)

    worths = {
        frozenset(some): worth(frozenset(some))
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
    out[features] = worths[frozenset()] - math.log(1 / base_score - 1)
    return out


def _expected(tree: dict, node: int, row: np.ndarray, known: frozenset[int]) -> float:
    left, right = tree["left_children"][node], tree["right_children"][node]
    if left == -1:
        return tree["split_conditions"][node]
    feature = tree["split_indices"][node]
    if feature in known:
        if np.isnan(row[feature]):
            goes_left = bool(tree["default_left"][node])
        else:
            goes_left = bool(row[feature] < np.float32(tree["split_conditions"][node]))
        return _expected(tree, left if goes_left else right, row, known)
    cover = tree["sum_hessian"]
    return (
        cover[left] * _expected(tree, left, row, known)
        + cover[right] * _expected(tree, right, row, known)
    ) / cover[node]
