"""A batch after its state changes: everything needed to decide on it, now or at a take-over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import DecodedBatch
from claimtrace.batches.records import Records
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.decisions import RolloutRef
from featurestore.state.intake import IntakeResult
from models.rollout.arms import arms_of
from models.rollout.manifest import Rollout
from models.scorer import Scorer
from monitoring.layers.records import DriftAlert, DriftRecord

from ..decisions.outcomes import SCORE_DIGITS, levels_of, thresholds_of
from ..journal.plan import Plan


class Scored(NamedTuple):
    """The model's results for the new claims of a batch, a row each.

    `margins` float32[n] (log-odds) and `scores` float64[n] (calibrated probabilities) are NaN
    without a model; `broken` bool[n] marks scores outside of [0, 1], which are NaN as well;
    `levels` int64[n] are 0 approve, 1 review, 2 refer.
    """

    margins: NDArray[np.float32]
    scores: NDArray[np.float64]
    broken: NDArray[np.bool_]
    levels: NDArray[np.int64]


class RolledOut(NamedTuple):
    """The results of all models of the roll-out in force for the new claims of a batch.

    `scorers` and `scored` are in the order of `rollout.models`; `arms` int64[n] is the index among
    them of the model that decides on each claim: 0 the champion, 1 the canary.
    """

    ref: RolloutRef
    rollout: Rollout
    scorers: Sequence[Scorer]
    scored: Sequence[Scored]
    arms: NDArray[np.int64]


class AppliedBatch(NamedTuple):
    """A batch after its state changes.

    `scored` are the results of the model that decides on each claim: the one of `scorer`, or under
    a roll-out that of its arm. `decoded` are the records as events or refusals, `ingested` what the
    feature state made of the accepted events, `drift_results` the drift records and alerts of the
    windows that it closed.
    """

    plan: Plan
    records: Records
    decoded: DecodedBatch
    ingested: IntakeResult
    scorer: Scorer | None
    scored: Scored
    drift_results: Sequence[DriftRecord | DriftAlert]
    edition: int
    """The edition under which it was applied."""
    rolled: RolledOut | None = None


def score(scorer: Scorer | None, matrix: NDArray[np.float64]) -> Scored:
    """Score the rows of a matrix, float64[n, features]; all NaN and level 0 without a model."""
    rows = len(matrix)
    if scorer is None or not rows:
        missing = np.full(rows, np.nan)
        broken, levels = np.zeros(rows, np.bool_), np.zeros(rows, np.int64)
        return Scored(missing.astype(np.float32), missing, broken, levels)
    margins = scorer.margins(matrix)
    scores = np.round(scorer.probabilities(margins), SCORE_DIGITS)
    # written so that NaN is broken too: every comparison with NaN is false
    broken = ~((scores >= 0.0) & (scores <= 1.0))
    scores = np.where(broken, np.nan, scores)
    return Scored(margins, scores, broken, levels_of(scores, *thresholds_of(scorer)))


def roll_out(
    ref: RolloutRef,
    rollout: Rollout,
    scorers: Sequence[Scorer],
    champion: Scored,
    matrix: NDArray[np.float64],
    policies: ByteStrings,
) -> RolledOut:
    """Score the rows of a matrix by all models of a roll-out, and choose who decides on each.

    Args:
        ref, rollout: the roll-out in force.
        scorers: of its models, in their order.
        champion: the champion's results.
        matrix: float64[n, features].
        policies: the normalised policy of each claim.
    """
    others = [score(each, matrix) for each in scorers[1:]]
    arms = arms_of(policies, rollout.name, rollout.canary)
    return RolledOut(ref, rollout, scorers, [champion, *others], arms)


def deciding(rolled: RolledOut) -> Scored:
    """Return the results of the model that decides on each claim."""
    champion = rolled.scored[0]
    if rolled.rollout.canary is None or not rolled.arms.any():
        return champion
    is_canary = rolled.arms == 1
    canary = rolled.scored[1]
    return Scored(
        np.where(is_canary, canary.margins, champion.margins),
        np.where(is_canary, canary.scores, champion.scores),
        np.where(is_canary, canary.broken, champion.broken),
        np.where(is_canary, canary.levels, champion.levels),
    )
