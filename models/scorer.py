"""A loaded model: margins, probabilities and contributions, by our kernels or by XGBoost itself.

The kernels are compared with XGBoost when a model is loaded (`self_check`). A model that a kernel
doesn't support, or on which a kernel disagrees, runs on XGBoost; `Scorer.notes` names the reason
and the cost.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError

from .artefact import MODEL_FILE, Artefact, Manifest
from .booster import Booster
from .calibration import interpolate
from .kernels.forest import Forest
from .kernels.shap import Contributions
from .kernels.xgboost_json import UnsupportedModelError
from .self_check import contributions_agree, margins_agree

Kernel = Literal["numba", "xgboost"]

_MARGIN_COST: Final = "about 4 us a row in batches instead of 1.3, 200 us a row alone instead of 4"
_EXPLAIN_COST: Final = "about 2,200 us an explained row instead of 12"


class Scorer:
    """One model version, ready to score; build it with `Scorer.load`.

    Attributes:
        ref: name, version and digest of the model, as recorded on decisions.
        manifest: the published manifest.
        kernel: what computes margins, `numba` or `xgboost`.
        explain_kernel: what computes contributions, `numba` or `xgboost`.
        notes: remarks for people on the speed of this model; usually empty.
        columns: where the model's features are in the matrices; None: they are the matrices.
    """

    def __init__(
        self,
        artefact: Artefact,
        forest: Forest | None,
        tables: Contributions | None,
        booster: Booster | None,
        notes: list[str],
    ) -> None:
        self.ref: ModelRef = artefact.ref
        self.manifest: Manifest = artefact.manifest
        self.kernel: Kernel = "numba" if forest else "xgboost"
        self.explain_kernel: Kernel = "numba" if tables else "xgboost"
        self.notes = notes
        scores, explains = forest or booster, tables or booster
        assert scores, "a forest, or XGBoost in its place"
        assert explains, "contributions, or XGBoost in their place"
        self._scores: Forest | Booster = scores
        self._explains: Contributions | Booster = explains
        self._knots = artefact.manifest.calibration.knots()
        self.columns: NDArray[np.intp] | None = None
        self._taken: tuple[list[str], Scorer] | None = None
        """The last argument and result of `taking`."""

    @classmethod
    def load(cls, artefact: Artefact, *, self_check: bool = True) -> Scorer:
        """Build the kernels of an artefact, compare them with XGBoost, and compile them.

        Without `self_check` XGBoost is only imported if a kernel doesn't support the model.

        Raises:
            ModelError: the model is damaged, isn't a binary classifier, or XGBoost refuses it too.
        """
        where = f"{artefact.ref.name}/{artefact.ref.version:06d}/{MODEL_FILE}"
        forest: Forest | None = None
        tables: Contributions | None = None
        booster: Booster | None = None
        notes: list[str] = []
        try:
            forest = Forest.from_xgboost_json(artefact.model_json, where)
            tables = Contributions.of(forest, where)
        except UnsupportedModelError as error:
            # The forest is built first: where it exists, only the contributions are unsupported.
            notes.append(_note(str(error), explains_only=forest is not None))
        if self_check or forest is None or tables is None:
            booster = Booster.load(artefact.model_json, len(artefact.manifest.features), where)
        if self_check and booster is not None and forest is not None:
            if not margins_agree(forest, booster):
                notes.append(_note("the forest kernel disagrees with XGBoost", explains_only=False))
                forest = tables = None
            elif tables is not None and not contributions_agree(tables, forest, booster):
                notes.append(_note("the contributions disagree with XGBoost", explains_only=True))
                tables = None
        scorer = cls(artefact, forest, tables, booster, notes)
        scorer._compile()
        return scorer

    @property
    def reference(self) -> msgspec.Raw:
        """The drift reference as JSON; `monitoring.windows.reference` reads it."""
        return self.manifest.reference

    def taking(self, names: list[str]) -> Scorer:
        """Return a scorer of the same model for matrices with these columns; it picks its own.

        Args:
            names: the features of the served vectors, in their order.

        Raises:
            ModelError: a feature of the model isn't among them.
        """
        taken, wanted = self._taken, self.manifest.features
        # a stream asks with each batch, and always with the same list
        if taken is not None and (taken[0] is names or taken[0] == names):
            return taken[1]
        places = {name: place for place, name in enumerate(names)}
        if missing := [name for name in wanted if name not in places]:
            raise ModelError(
                f"the definitions don't have {missing[0]!r}, which the model takes"
                + (f", and {len(missing) - 1} more of its features" if missing[1:] else ""),
                where=self.ref.label,
                hint="go back to definitions that it fits, or promote another version",
            )
        found = self
        if names != wanted or self.columns is not None:
            found = copy(self)
            own = np.array([places[name] for name in wanted], np.intp)
            found.columns = None if names == wanted else own
        self._taken = names, found
        return found

    def inputs(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the model's own features of served vectors: float64[n, F] -> [n, features].

        The matrix itself where the vectors hold nothing else.
        """
        return matrix if self.columns is None else np.take(matrix, self.columns, axis=1)

    def margins(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Compute the log-odds before calibration: float64[n, F] -> float32[n].

        F are the model's own features, or the columns given to `taking`. NaN is missing.

        Raises:
            ModelError: the matrix has another number of columns.
        """
        return self._scores.margins(self.inputs(matrix))

    def probabilities(self, margins: NDArray[Any]) -> NDArray[np.float64]:
        """Return the calibrated probabilities of margins: float[n] -> float64[n]; NaN stays NaN."""
        return interpolate(margins, *self._knots)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute exact SHAP contributions: float64[n, F] -> float64[n, features + 1].

        They are of the model's own features, in its order. The last column is the bias; a row sums
        to its margin within float32's rounding. Multiples of eight rows are cheapest.

        Raises:
            ModelError: the matrix has another number of columns.
        """
        return self._explains.contributions(self.inputs(matrix))

    def _compile(self) -> None:
        """Run each kernel once, so that no batch waits for the compiler."""
        # 33 rows: a block of 32 and one row alone, so that both ways through the forest are run.
        rows = np.zeros((33, len(self.manifest.features)))
        self.probabilities(self.margins(rows))
        if self.explain_kernel == "numba":
            self.contributions(rows[:1])


def _note(why: str, explains_only: bool) -> str:
    if explains_only:
        return f"explanations run on XGBoost itself: {why}. It costs {_EXPLAIN_COST}."
    return (
        f"scores and explanations run on XGBoost itself: {why}."
        f" It costs {_MARGIN_COST}, and {_EXPLAIN_COST}."
    )
