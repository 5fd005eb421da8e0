"""Drift of the live model: count scored claims into tiles and judge each window that closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import ALERTS_TOPIC, DRIFT_TOPIC, ModelRef
from claimtrace.encoding.encoder import encode
from claimtrace.events import Outgoing
from featurestore.definitions.verdicts import FRAUD, RETRACTED
from featurestore.state.intake import Outcome
from featurestore.state_arrays import Arrays
from models.scorer import Scorer
from monitoring.alerting.alert_book import AlertBook
from monitoring.layers.drift import DriftPolicy, judge
from monitoring.layers.records import DriftAlert, DriftRecord
from monitoring.windows.reference import read_reference
from monitoring.windows.tile import Tile
from monitoring.windows.tile_book import TileBook

from ..journal.terms import Terms


class DriftWatch:
    """The tiles of the model that scores now, and the alerts of all models.

    Args:
        terms: window, lateness, least count, and the m-of-n rule of alerts.
        moving: features whose values follow the calendar; only the share of missing values is
            judged for them.
    """

    def __init__(self, terms: Terms, moving: frozenset[str] = frozenset()) -> None:
        self._terms = terms
        self._policy = DriftPolicy(min_count=terms.drift_min_count, moving=moving)
        self._alerts = AlertBook(terms.drift_alert_m, terms.drift_alert_n)
        self._model: ModelRef | None = None
        self._book: TileBook | None = None
        self._reference: Any = None

    def switch_model(self, ref: ModelRef, scorer: Scorer) -> list[DriftRecord | DriftAlert]:
        """Count for another model from now on; returns the results of the one before.

        Its open windows are closed early and judged, and its alerts are retired. Does nothing when
        the model is the same.
        """
        if ref == self._model:
            return []
        results: list[DriftRecord | DriftAlert] = []
        if self._book is not None:
            at_ms = self._book.watermark or 0
            results += self._judge(self._book.flush())
            results += self._alerts.retire(self._book.model_label, at_ms)
        self._model = ref
        self._reference = read_reference(scorer.manifest.reference, ref.label)
        self._book = self._new_book(ref)
        return results

    def count(
        self,
        times_ms: NDArray[np.int64],
        matrix: NDArray[np.float64],
        scores: NDArray[np.float64],
        referred: NDArray[np.bool_],
        unseen: NDArray[np.int64],
    ) -> None:
        """Count scored claims, in log order.

        Args:
            times_ms: int64[n], their event times.
            matrix: float64[n, features], the model's features of their served vectors.
            scores: float64[n], NaN where the model gave none.
            referred: bool[n].
            unseen: int64[n], 1 where a category was not known to the definitions.
        """
        if self._book is not None:
            self._book.add(times_ms, matrix, scores, referred, unseen)

    def count_outcomes(self, outcomes: list[Outcome]) -> None:
        """Count outcomes by the time of decision, each in place of its claim's last one."""
        if self._book is not None and outcomes:
            decided, codes, rows = np.array(outcomes, np.int64).T
            self._book.add_outcomes(decided, codes == FRAUD, rows, codes == RETRACTED)

    def judge_closed(self) -> list[DriftRecord | DriftAlert]:
        """Judge the windows that have closed since the last call."""
        return self._judge(self._book.close()) if self._book is not None else []

    def arrays(self) -> Arrays:
        """Return all state as named arrays, for a snapshot; none before the first model."""
        if self._book is None:
            return {}
        ref = msgspec.json.encode([self._model, self._alerts.state()])
        return {"model": np.frombuffer(ref, np.uint8), **self._book.arrays()}

    def restore(self, arrays: Arrays, scorer_of: Callable[[ModelRef], Scorer]) -> None:
        """Replace all state by that of a snapshot."""
        if not arrays:
            return
        ref, alerts = msgspec.json.decode(arrays["model"].tobytes(), type=tuple[ModelRef, Any])
        manifest = scorer_of(ref).manifest
        self._model = ref
        self._reference = read_reference(manifest.reference, ref.label)
        terms = self._terms
        self._book = TileBook.restore(
            self._reference,
            ref.label,
            terms.drift_window_ms,
            terms.drift_lateness_ms,
            {name: array for name, array in arrays.items() if name != "model"},
        )
        self._alerts = AlertBook.restore(terms.drift_alert_m, terms.drift_alert_n, alerts)

    def _new_book(self, ref: ModelRef) -> TileBook:
        terms = self._terms
        return TileBook(self._reference, ref.label, terms.drift_window_ms, terms.drift_lateness_ms)

    def _judge(self, tiles: list[Tile]) -> list[DriftRecord | DriftAlert]:
        results: list[DriftRecord | DriftAlert] = []
        for tile in tiles:  # in window order: alerts count the last n windows
            record = judge(tile, self._reference, self._policy)
            results.append(record)
            results += self._alerts.observe(record)
        return results


def as_outgoing(results: list[DriftRecord | DriftAlert], log_time_ms: int) -> list[Outgoing]:
    """Encode drift records and alerts for their topics, both of which have one partition, 0."""
    return [
        Outgoing(
            DRIFT_TOPIC if isinstance(each, DriftRecord) else ALERTS_TOPIC,
            0,
            each.model.encode(),
            encode(each),
            log_time_ms,
        )
        for each in results
    ]
