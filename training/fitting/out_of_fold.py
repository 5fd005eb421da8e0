"""Margins out of fold: each claim scored by a model that hasn't seen it, for the calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.kernels.forest import Forest

from ..data.dataset import Dataset
from ..data.folds import Fold
from .choice import rows_of
from .fitters import Fitter, Params, Progress, silent


def margins_out_of_fold(
    dataset: Dataset, folds: Sequence[Fold], params: Params, fitter: Fitter, seed: int,
    progress: Progress = silent,
) -> NDArray[np.float32]:  # fmt: skip
    """Fit the chosen settings on each fold and score its held-out claims by the stream's kernel.

    Returns float32[n] of the whole data set, NaN for claims that no fold holds out, or whose fold
    has no fraud to learn from.
    """
    margins = np.full(len(dataset.labels), np.nan, np.float32)
    for number, fold in enumerate(folds):
        progress("calibrate", number, len(folds))
        rows = rows_of(dataset, fold.fit, seed)
        if rows.labels.any() and not rows.labels.all():
            fitted = fitter(rows, None, params, seed, silent)
            forest = Forest.from_xgboost_json(fitted.model_json)
            margins[fold.held] = forest.margins(dataset.matrix[fold.held])
    progress("calibrate", len(folds), len(folds))
    return margins
