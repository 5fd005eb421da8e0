"""The margin of a row as XGBoost's JSON reads: one node at a time, no tricks."""

from __future__ import annotations

import json
import math

import numpy as np


def naive_margins(document: bytes, matrix: np.ndarray) -> np.ndarray:
    """float64[n, features] -> float32[n], trees in order, sums in float32, base margin first."""
    learner = json.loads(document)["learner"]
    base_score = float(learner["learner_model_param"]["base_score"].strip("[]"))
    trees = learner["gradient_booster"]["model"]["trees"]
    with np.errstate(over="ignore"):
        rows = matrix.astype(np.float32)
    out = []
    for row in rows:
        margin = np.float32(-math.log(1 / base_score - 1))
        for tree in trees:
            margin += np.float32(tree["split_conditions"][leaf_of(tree, row)])
        out.append(margin)
    return np.array(out, np.float32)


def leaf_of(tree: dict, row: np.ndarray) -> int:
    """The leaf that a row of float32 ends in."""
    node = 0
    while tree["left_children"][node] != -1:
        value = row[tree["split_indices"][node]]
        if np.isnan(value):
            left = bool(tree["default_left"][node])
        else:
            left = bool(value < np.float32(tree["split_conditions"][node]))
        node = tree["left_children" if left else "right_children"][node]
    return node
