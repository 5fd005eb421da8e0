"""What a batch leaves when it has changed the state: all that decisions need, now or later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import DecodedBatch
from claimtrace.batches.records import Records
from featurestore.state.intake import IntakeResult
from models.scorer import Scorer
from monitoring.layers.records import DriftAlert, DriftRecord

from ..decisions.outcomes import SCORE_DIGITS, levels_of, thresholds_of
from ..journal.plan import Plan


class Scored(NamedTuple):
    """What the model says of each claim: margins float32[n], scores float64[n], NaN if none;
    `levels` int64[n]: 0 approve, 1 review, 2 refer."""

    margins: NDArray[np.float32]
    scores: NDArray[np.float64]
    broken: NDArray[np.bool_]
    levels: NDArray[np.int64]


class AppliedBatch(NamedTuple):
    """A batch after it has changed the state; `said` is what the drift watch has to say."""

    plan: Plan
    records: Records
    read: DecodedBatch
    taken: IntakeResult
    scorer: Scorer | None
    scored: Scored
    said: Sequence[DriftRecord | DriftAlert]


def score(scorer: Scorer | None, matrix: NDArray[np.float64]) -> Scored:
    """What a model says of the rows of a matrix; nothing without a model."""
    rows = len(matrix)
    if scorer is None or not rows:
        nothing = np.full(rows, np.nan)
        broken, levels = np.zeros(rows, np.bool_), np.zeros(rows, np.int64)
        return Scored(nothing.astype(np.float32), nothing, broken, levels)
    margins = scorer.margins(matrix)
    scores = np.round(scorer.probabilities(margins), SCORE_DIGITS)
    broken = ~((scores >= 0.0) & (scores <= 1.0))
    scores = np.where(broken, np.nan, scores)
    return Scored(margins, scores, broken, levels_of(scores, *thresholds_of(scorer)))
