"""XGBoost itself as a kernel: the reference of the self-check, and the stand-in for our kernels.

The only file of the product that loads a model into XGBoost for scoring. XGBoost is imported when a
`Booster` is loaded, because the import takes longer than the rest of a start.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import ModelError

from .kernels.forest import as_rows

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class Booster:
    """A model in XGBoost, on one thread; build it with `Booster.load`.

    It has the methods of `Forest` and `Contributions` and answers the same matrices.
    """

    def __init__(self, booster: Any, features: int) -> None:
        self._booster = booster
        self._features = features

    @classmethod
    def load(cls, model_json: bytes, features: int, where: str) -> Booster:
        """Load XGBoost's JSON of a model with this number of features.

        Raises:
            ModelError: XGBoost refuses the model, or the model has another number of features.
        """
        import xgboost

        try:
            booster = xgboost.Booster({"nthread": 1})
            booster.load_model(bytearray(model_json))
            booster.set_param({"nthread": 1})
            found = booster.num_features()
        except xgboost.core.XGBoostError as error:
            first = str(error).strip().split("\n")[0]
            raise ModelError(f"XGBoost refuses the model: {first}", where=where) from error
        if found != features:
            raise ModelError(f"{found} features, the manifest has {features}", where=where)
        return cls(booster, features)

    def margins(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Compute the log-odds before calibration: float64[n, features] -> float32[n].

        Raises:
            ModelError: the matrix has another number of columns.
        """
        rows = as_rows(matrix, self._features)
        if not len(rows):
            return np.empty(0, np.float32)
        with np.errstate(over="ignore"):
            values = rows.astype(np.float32)
        found = self._booster.inplace_predict(
            values, predict_type="margin", validate_features=False
        )
        margins: NDArray[np.float32] = np.asarray(found, np.float32)
        return margins

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute SHAP contributions: float64[n, features] -> float64[n, features + 1].

        A DMatrix refuses infinities, so they are replaced by the greatest float32, which takes the
        same branches.

        Raises:
            ModelError: the matrix has another number of columns.
        """
        import xgboost

        rows = as_rows(matrix, self._features)
        if not len(rows):
            return np.empty((0, self._features + 1))
        bounded = xgboost.DMatrix(np.clip(rows, -_FLOAT32_MAX, _FLOAT32_MAX), nthread=1)
        found = self._booster.predict(bounded, pred_contribs=True, validate_features=False)
        contributions: NDArray[np.float64] = np.asarray(found, np.float64)
        return contributions
