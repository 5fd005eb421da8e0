"""Settings chosen as `claimtrace train` chooses them, fitted and scored, on any table of claims."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.kernels.forest import Forest
from training.data.dataset import NEVER_MS, Dataset
from training.data.folds import choice_folds
from training.fitting.choice import choose
from training.fitting.fitters import FITTERS, Params, Rows, silent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SEED: Final = 7
FITTER: Final = FITTERS["xgboost"]


def claims_of(matrix: Floats, frauds: Bools, times_ms: Ints, groups: Ints) -> Dataset:
    """Make a data set of claims whose verdicts are all known, in order of time.

    Args:
        matrix: float64[n, F]; the other arrays have n values too.
        groups: equal for claims of one policy or customer.
    """
    rows = len(matrix)
    return Dataset(
        definitions="", features=[f"f{number}" for number in range(matrix.shape[1])],
        claim_ids=[str(row) for row in range(rows)], matrix=matrix,
        labels=frauds.astype(np.float64), event_times_ms=times_ms,
        label_known_ms=np.zeros(rows, np.int64), groups=groups,
        amounts_cents=np.full(rows, np.nan), unseen=np.zeros(rows, np.int64), at_ms=NEVER_MS,
        lineage={},
    )  # fmt: skip


def fitted(claims: Dataset, rows: Ints, *, by_time: bool = True) -> tuple[Forest, Params]:
    """Choose settings on some claims, fit them on all of these; return the trees and the settings.

    Args:
        rows: int64, rising row numbers.
        by_time: whether the claims have a usable time.
    """
    folds = choice_folds(claims, rows, SEED, by_time=by_time)
    params = choose(claims, folds, {}, FITTER, SEED).params
    return fit(claims.matrix[rows], claims.is_fraud[rows], params), params


def fit(matrix: Floats, frauds: Bools, params: Params) -> Forest:
    """Fit one model with given settings."""
    return Forest.from_xgboost_json(
        FITTER(Rows(matrix, frauds), None, params, SEED, silent).model_json
    )


def plain(matrix: Floats, frauds: Bools) -> Forest:
    """Fit XGBoost as it comes, with the defaults of the installed version."""
    import xgboost

    data = xgboost.DMatrix(matrix, label=frauds.astype(np.float32))
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 2, "seed": SEED}, data, 100)
    return Forest.from_xgboost_json(bytes(booster.save_raw("json")))
