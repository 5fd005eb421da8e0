"""Small XGBoost models for tests, fitted on synthetic claims with missing values."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import xgboost


@cache
def booster(
    features: int = 6, trees: int = 12, depth: int = 4, seed: int = 3, base_score: float = 0.2
) -> tuple[xgboost.Booster, bytes]:
    """Train a booster; returns it and its JSON, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    matrix = some_rows(rng, 1500, features)
    matrix[np.isinf(matrix)] = np.nan
    score = np.nansum(matrix[:, : max(1, features // 2)], axis=1)
    labels = (score + rng.normal(size=len(matrix)) > 1.0).astype(int)
    parameters = {
        "objective": "binary:logistic",
        "max_depth": depth,
        "eta": 0.3,
        "nthread": 1,
        "seed": seed,
        "base_score": base_score,
        "min_child_weight": 0.5,
    }
    names = [f"f{number}" for number in range(features)]
    fitted = xgboost.train(
        parameters, xgboost.DMatrix(matrix, labels, feature_names=names), num_boost_round=trees
    )
    return fitted, bytes(fitted.save_raw("json"))


def some_rows(rng: np.random.Generator, count: int, features: int) -> np.ndarray:
    """Return rows on a coarse grid, so that values coincide; with missing values and infinities."""
    matrix = np.round(rng.normal(size=(count, features)), 1)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    matrix[rng.random(matrix.shape) < 0.01] = np.inf
    matrix[rng.random(matrix.shape) < 0.01] = -np.inf
    return matrix


def rows_at_splits(document: bytes, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return rows made of the model's own thresholds, and their neighbours in float32."""
    learner = json.loads(document)["learner"]
    features = int(learner["learner_model_param"]["num_feature"])
    splits: list[list[float]] = [[0.0] for _ in range(features)]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        for left, feature, value in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        ):
            if left != -1:
                splits[feature].append(value)
    columns = [rng.choice(np.array(values, np.float32), count) for values in splits]
    matrix = np.stack(columns, axis=1)
    way = rng.choice([-np.inf, 0.0, np.inf], matrix.shape)
    moved = np.nextafter(matrix, np.where(way == 0.0, matrix, way).astype(np.float32))
    return moved.astype(np.float64)


def edited(document: bytes, change: Any) -> bytes:
    """Return the document after `change(parsed)` has edited it in place."""
    parsed = json.loads(document)
    change(parsed)
    return json.dumps(parsed).encode()
