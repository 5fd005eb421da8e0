"""A loaded model: margins, probabilities and contributions, by our kernels or XGBoost itself.

The kernels are compared with XGBoost when a model loads. A model they can't take, or don't agree
on, runs on XGBoost; `notes` says so and what it costs.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError

from .artefact import Artefact, Manifest
from .calibration import interpolate
from .kernels.forest import Forest, as_rows
from .kernels.shap import Contributions
from .kernels.xgboost_json import UnsupportedModelError

Kernel = Literal["numba", "xgboost"]

CHECK_ROWS: Final = 256
EXPLAINED_ROWS: Final = 48
"""XGBoost takes 2 ms to explain a row: these keep the check near a tenth of a second."""

MARGIN_TOLERANCE: Final = 2e-6
CONTRIBUTION_TOLERANCE: Final = 1e-4
"""Relative to 1 + the size of the number: XGBoost's contributions are sums in float32."""

_MARGIN_COST: Final = "about 4 us a row in batches instead of 1.3, 200 us a row alone instead of 4"
_EXPLAIN_COST: Final = "about 2,200 us an explained row instead of 12"
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class Scorer:
    """One version, ready to score. Build it with `Scorer.load`.

    Attributes:
        ref: name, version and digest, as they stand on decisions.
        manifest: what was published.
        kernel: what computes margins.
        explain_kernel: what computes contributions.
        notes: what a person should know about this model's speed; usually empty.
    """

    def __init__(
        self,
        artefact: Artefact,
        forest: Forest | None,
        tables: Contributions | None,
        booster: Any,
        notes: list[str],
    ) -> None:
        self.ref: ModelRef = artefact.ref
        self.manifest: Manifest = artefact.manifest
        self.kernel: Kernel = "numba" if forest else "xgboost"
        self.explain_kernel: Kernel = "numba" if tables else "xgboost"
        self.notes = notes
        self._forest, self._tables, self._booster = forest, tables, booster
        self._knots = artefact.manifest.calibration.knots()

    @classmethod
    def load(cls, artefact: Artefact, *, self_check: bool = True) -> Scorer:
        """Build the kernels of an artefact, compare them with XGBoost, and compile them.

        Without `self_check` XGBoost is only imported if a kernel can't take the model.

        Raises:
            ModelError: the model is damaged or no binary classifier, or XGBoost refuses it too.
        """
        where = f"{artefact.ref.name}/{artefact.ref.version:06d}/model.json"
        forest: Forest | None = None
        tables: Contributions | None = None
        booster: Any = None
        notes: list[str] = []
        try:
            forest = Forest.from_xgboost_json(artefact.model_json, where)
            tables = Contributions.of(forest, where)
        except UnsupportedModelError as error:
            notes.append(_note(str(error), forest is not None))
        if self_check or forest is None or tables is None:
            booster = _load_booster(artefact.model_json, len(artefact.manifest.features), where)
        if self_check and forest is not None:
            rows = check_rows(forest, CHECK_ROWS)
            if not _agree(forest.margins(rows), _margins(booster, rows), MARGIN_TOLERANCE):
                forest = tables = None
                notes.append(_note("the forest kernel disagrees with XGBoost", explains_only=False))
        if self_check and tables is not None:
            rows = rows[:EXPLAINED_ROWS]
            ours, theirs = tables.contributions(rows), _contributions(booster, rows)
            if not _agree(ours, theirs, CONTRIBUTION_TOLERANCE):
                tables = None
                notes.append(_note("the contributions disagree with XGBoost", explains_only=True))
        scorer = cls(artefact, forest, tables, booster, notes)
        scorer._compile()
        return scorer

    @property
    def reference(self) -> msgspec.Raw:
        """The drift reference as JSON; `monitoring.windows.reference` reads it."""
        return self.manifest.reference

    def margins(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Log-odds before calibration: float64[n, features], NaN missing -> float32[n].

        Raises:
            ModelError: the matrix has another number of columns.
        """
        if self._forest is not None:
            return self._forest.margins(matrix)
        return _margins(self._booster, as_rows(matrix, len(self.manifest.features)))

    def probabilities(self, margins: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated probabilities: float[n] -> float64[n]; NaN stays NaN."""
        return interpolate(margins, *self._knots)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact SHAP: float64[k, features] -> float64[k, features + 1]; the last is the base.

        A row sums to its margin, but for float32's rounding. Multiples of eight rows are cheapest.

        Raises:
            ModelError: the matrix has another number of columns.
        """
        if self._tables is not None:
            return self._tables.contributions(matrix)
        return _contributions(self._booster, as_rows(matrix, len(self.manifest.features)))

    def _compile(self) -> None:
        """Run each kernel once, so that no batch waits for the compiler."""
        rows = np.zeros((33, len(self.manifest.features)))
        self.probabilities(self.margins(rows))
        if self._tables is not None:
            self.contributions(rows[:1])


def check_rows(forest: Forest, count: int) -> NDArray[np.float64]:
    """Rows that try a forest's corners: thresholds, their neighbours in float32, missing, infinite.

    float64[count, features], the same for the same forest.
    """
    inner = np.flatnonzero(~np.isnan(forest.threshold))
    feature = forest.column[inner].astype(np.int64) % forest.features
    matrix = np.zeros((count, forest.features))
    turn = np.arange(count)
    for place in range(forest.features):
        splits = forest.threshold[inner[feature == place]]
        splits = splits if len(splits) else np.zeros(1, np.float32)
        # Odd strides let the columns drift past each other.
        value = splits[(turn * (2 * place + 1) + place) % len(splits)]
        kind = (turn * 7 + place * 5 + turn // 11) % 16
        value = np.where(kind < 4, np.nextafter(value, np.float32(-np.inf)), value)
        value = np.where((kind >= 4) & (kind < 8), np.nextafter(value, np.float32(np.inf)), value)
        value = np.where(kind >= 14, np.float32(np.nan), value)
        value = np.where(kind == 13, np.float32(np.inf), value)
        value = np.where(kind == 12, np.float32(-np.inf), value)
        matrix[:, place] = value
    return matrix


def _note(why: str, explains_only: bool) -> str:
    if explains_only:
        return f"explanations run on XGBoost itself: {why}. It costs {_EXPLAIN_COST}."
    return (
        f"scores and explanations run on XGBoost itself: {why}."
        f" It costs {_MARGIN_COST}, and {_EXPLAIN_COST}."
    )


def _agree(ours: NDArray[Any], theirs: NDArray[Any], tolerance: float) -> bool:
    return bool((np.abs(ours - theirs) <= tolerance * (1.0 + np.abs(theirs))).all())


def _load_booster(model_json: bytes, features: int, where: str) -> Any:
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
    return booster


def _margins(booster: Any, rows: NDArray[np.float64]) -> NDArray[np.float32]:
    if not len(rows):
        return np.empty(0, np.float32)
    with np.errstate(over="ignore"):
        values = rows.astype(np.float32)
    found = booster.inplace_predict(values, predict_type="margin", validate_features=False)
    margins: NDArray[np.float32] = np.asarray(found, np.float32)
    return margins


def _contributions(booster: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """XGBoost's own; a DMatrix refuses infinities, and the greatest float32 goes the same way."""
    import xgboost

    if not len(rows):
        return np.empty((0, rows.shape[1] + 1))
    matrix = xgboost.DMatrix(np.clip(rows, -_FLOAT32_MAX, _FLOAT32_MAX), nthread=1)
    found = booster.predict(matrix, pred_contribs=True, validate_features=False)
    contributions: NDArray[np.float64] = np.asarray(found, np.float64)
    return contributions
