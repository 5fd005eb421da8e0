"""Gates about the released trees: whether the stream can run them exactly, and fast enough.

Time is judged by counting steps and not by a clock: the same model must give the same gates on any
machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from claimtrace.settings.schema import GateSettings
from models.booster import Booster
from models.kernels.forest import Forest
from models.kernels.shap import Contributions
from models.kernels.xgboost_json import UnsupportedModelError
from models.self_check import contributions_agree, margins_agree

from .gates import Gate

MOST_ROWS = 256
"""Claims of the data whose margins are compared, beside rows at the corners of the trees."""


def kernel_gate(model_json: bytes, matrix: NDArray[np.float64]) -> Gate:
    """Whether our kernels take a model and give what XGBoost gives.

    Compared are rows at the corners of the trees (`models.self_check`), and claims of the data. A
    model that fails can be served all the same, by XGBoost itself, some hundred times slower.

    Args:
        model_json: the model.
        matrix: float64[n, features], claims; `MOST_ROWS` of them are taken, evenly.
    """
    name, evidence = "kernel", "models.self_check"
    try:
        forest = Forest.from_xgboost_json(model_json)
        tables = Contributions.of(forest)
    except UnsupportedModelError as error:
        return Gate(name=name, state="failed", words=f"the kernels don't take it: {error}",
                    evidence=evidence)  # fmt: skip
    booster = Booster.load(model_json, matrix.shape[1], "the released model")
    rows = matrix[:: max(1, -(-len(matrix) // MOST_ROWS))]
    agree = {
        "margins": margins_agree(forest, booster) and margins_agree(forest, booster, rows),
        "contributions": contributions_agree(tables, forest, booster),
    }
    wrong = [what for what, fine in agree.items() if not fine]
    depth = f"depth {int(forest.depths.max(initial=0))}"
    if wrong:
        return Gate(name=name, state="failed", evidence=evidence,
                    words=f"{' and '.join(wrong)} differ from XGBoost's; {depth}")  # fmt: skip
    words = f"margins and contributions are XGBoost's on corners and {len(rows)} claims; {depth}"
    return Gate(name=name, state="passed", words=words, evidence=evidence)


def latency_gate(model_json: bytes, limits: GateSettings) -> Gate:
    """Whether a claim is scored and explained in few enough steps.

    A score compares once for each level of each tree, and the reasons visit each split of each
    tree; docs/models.md says how long such a step took where it was measured.
    """
    name, evidence = "latency", "levels and splits of the trees"
    try:
        forest = Forest.from_xgboost_json(model_json)
    except UnsupportedModelError as error:
        return Gate(name=name, state="failed", evidence=evidence,
                    words=f"XGBoost itself would score, 200 us a claim: {error}")  # fmt: skip
    steps = int(forest.depths.sum())
    splits = int(np.count_nonzero(~np.isnan(forest.threshold)))
    fine = steps <= limits.scoring_steps and splits <= limits.splits
    return Gate(
        name=name,
        state="passed" if fine else "failed",
        words=f"{steps:,} comparisons a score (limit {limits.scoring_steps:,}), {splits:,} splits "
        f"for reasons (limit {limits.splits:,})",
        evidence=evidence,
    )


def size_gate(model_json: bytes, trees: int, limits: GateSettings) -> Gate:
    """Whether the model is small enough: bytes of its JSON, and trees."""
    most = limits.model_mib * 2**20
    fine = len(model_json) <= most and trees <= limits.trees
    return Gate(
        name="size",
        state="passed" if fine else "failed",
        words=f"{len(model_json) / 2**20:.1f} MiB (limit {limits.model_mib}), {trees:,} trees "
        f"(limit {limits.trees:,})",
        evidence="model.json",
    )
