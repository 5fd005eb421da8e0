"""SHAP values of a fitted model on some claims: by the stream's kernel, or against a background.

Two questions, two sets of values (Lundberg et al., "From local explanations to global understanding
with explainable AI for trees", Nature Machine Intelligence 2, 2020):

- `tree_path`: against what the trees themselves saw in training (path-dependent TreeSHAP). These
  are the values on the decisions of the stream.
- `interventional`: against a group of claims, such as those known to be legitimate: by how much
  does a value move the score away from the mean score of the group?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.booster import Booster
from models.kernels.forest import Forest
from models.kernels.shap import Contributions
from models.kernels.xgboost_json import UnsupportedModelError

Floats = NDArray[np.float64]

_PART: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """SHAP values of n claims, in log-odds.

    Attributes:
        values: float64[n, F]; a row and `expected` sum to the claim's margin.
        expected: the margin from which all explanations start.
    """

    values: Floats
    expected: float

    @property
    def margins(self) -> Floats:
        """float64[n]: the log-odds of each claim, before calibration."""
        return np.asarray(self.values.sum(axis=1) + self.expected, np.float64)


def tree_path(model_json: bytes, matrix: Floats) -> Attribution:
    """Explain by the stream's kernel; by XGBoost itself where the kernel doesn't take the model.

    Args:
        model_json: XGBoost's JSON.
        matrix: float64[n, F], n at least 1.

    Raises:
        ModelError: the model is damaged, or has another number of features.
    """
    found: Floats
    try:
        found = Contributions.of(Forest.from_xgboost_json(model_json)).contributions(matrix)
    except UnsupportedModelError:
        found = Booster.load(model_json, matrix.shape[1], "model.json").contributions(matrix)
    return Attribution(np.ascontiguousarray(found[:, :-1]), float(found[0, -1]))


def interventional(model_json: bytes, matrix: Floats, background: Floats) -> Attribution:
    """Explain against a group of claims, by shap's TreeExplainer.

    The time is in proportion to the claims times the background: 1,000 against 100 take 4 seconds
    of CPU with 149 trees of depth 4.

    Args:
        matrix: float64[n, F].
        background: float64[b, F], the group that claims are compared with, b at least 1.
    """
    import shap
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(model_json))
    most = float(np.finfo(np.float32).max)  # takes the branches of an infinity, which shap refuses
    explainer = shap.TreeExplainer(
        booster,
        data=np.clip(background, -most, most),
        feature_perturbation="interventional",
        model_output="raw",
    )
    rows = np.clip(matrix, -most, most)
    # In parts: shap draws a progress bar of its own over calls that take longer than ten seconds.
    values = [
        explainer.shap_values(rows[at : at + _PART], check_additivity=False)
        for at in range(0, len(rows), _PART)
    ]
    return Attribution(np.concatenate(values), float(explainer.expected_value))
