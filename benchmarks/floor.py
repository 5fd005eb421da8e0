"""Measure the least work of any scorer: decode a claim, score it, append a decision to a log.

The model and its kernels are those of the engine. Claims are in memory, feature vectors are
computed beforehand, and decisions go to an embedded log of their own. There are no windows,
duplicates, rules, reasons in words, sealed chain, journal or stores. Throughput is compared with
this floor.
"""

from __future__ import annotations

from pathlib import Path
from time import process_time
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.line import Line
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace_examples.auto_claims import ClaimFiled
from featurestore.offline.tables import DECISIONS
from models.scorer import Scorer

BATCH: Final = 500
EXPLAINED_EVERY: Final = 20
TOPIC: Final = "floor"


class _Small(msgspec.Struct):
    claim_id: str
    score: float
    margin: float
    outcome: str
    reasons: list[float]


class Floor:
    """A loop over claims that decodes, scores and appends.

    Args:
        folder: where the loop keeps its log.
        scorer: the model.
        values: the claims as JSON.
        matrix: the claims' feature vectors, float64[at least as many as claims, features].
        model: the model as a file of XGBoost; when given, XGBoost itself scores and explains, on
            one thread.
    """

    def __init__(
        self,
        folder: Path,
        scorer: Scorer,
        values: list[bytes],
        matrix: NDArray[np.float64],
        model: Path | None = None,
    ) -> None:
        self.values = values
        self._scorer, self._matrix = scorer, matrix
        self._log = EmbeddedLog(folder / "floor.db", durable=False)
        self._log.create_topic(TOPIC, 1)
        self._booster = _booster(model) if model else None
        self.cost_us(explained=True)

    def cost_us(self, *, explained: bool = False) -> float:
        """Measure CPU microseconds a claim; `explained`: with reasons for one claim in twenty."""
        began_s = process_time()
        for start in range(0, len(self.values), BATCH):
            self._step(start, explained)
        return 1e6 * (process_time() - began_s) / len(self.values)

    def _step(self, start: int, explained: bool) -> None:
        values, rows = self.values[start : start + BATCH], self._matrix[start : start + BATCH]
        claims = [_decode(value) for value in values]
        rows = rows[: len(claims)]
        margins = self._margins(rows)
        told = self._reasons(rows[::EXPLAINED_EVERY]) if explained else []
        scores = self._scorer.probabilities(margins).tolist()
        out = [
            _encode(_Small(claim.claim_id, score, margin, "approve",
                           told[i // EXPLAINED_EVERY] if told and i % EXPLAINED_EVERY == 0 else []))
            for i, (claim, score, margin) in enumerate(
                zip(claims, scores, margins.tolist(), strict=True)
            )
        ]  # fmt: skip
        self._log.append_columns(TOPIC, 0, None, out, np.zeros(len(out), np.int64))

    def _margins(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        if self._booster is None:
            return self._scorer.margins(rows)
        return np.asarray(self._booster.inplace_predict(rows, predict_type="margin"))

    def _reasons(self, rows: NDArray[np.float64]) -> list[list[float]]:
        if self._booster is None:
            shares = self._scorer.contributions(rows)
        else:
            import xgboost

            shares = self._booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)
        found: list[list[float]] = np.sort(shares, axis=1)[:, :6].tolist()
        return found


def served_matrix(line: Line, rows: int) -> NDArray[np.float64]:
    """Read the first feature vectors of the offline store, float64[rows, features]."""
    features = line.offline().dataset(DECISIONS).head(rows, columns=["features"])["features"]
    return np.asarray(features.combine_chunks().flatten()).reshape(rows, -1)


def _booster(model: Path) -> Any:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(model)
    booster.set_param({"nthread": 1})
    return booster


_decode = msgspec.json.Decoder(ClaimFiled).decode
_encode = msgspec.json.Encoder().encode
