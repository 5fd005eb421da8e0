"""The outcome of a claim, approve, review or refer, from its score and the rules that fired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import RuleHit
from featurestore.definitions.expressions import Columns
from featurestore.definitions.features import Rule
from models.scorer import Scorer

OUTCOMES: Final = ("approve", "review", "refer")
"""By level: 0, 1, 2."""
BANDS: Final = ("low", "medium", "high", "unscored")
UNSCORED: Final = 3
SCORE_DIGITS: Final = 9
"""Decimal places of a probability: finer than the resolution of any calibration."""


def levels_of(scores: NDArray[np.float64], review: float, refer: float) -> NDArray[np.int64]:
    """Return the level of each probability, int64[n]: 0 approve, 1 review, 2 refer; 0 for NaN.

    Args:
        scores: float64[n], NaN for a claim without a score.
        review, refer: the least probabilities of levels 1 and 2; review <= refer.

    >>> levels_of(np.array([0.1, 0.5, 0.9, np.nan]), 0.4, 0.8).tolist()
    [0, 1, 2, 0]
    """
    # with review <= refer the number of thresholds reached is the level
    return (scores >= review).astype(np.int64) + (scores >= refer).astype(np.int64)


def thresholds_of(scorer: Scorer | None) -> tuple[float, float]:
    """Return the least probabilities for review and for referral; infinite without a model."""
    if scorer is None:
        return np.inf, np.inf
    thresholds = scorer.manifest.thresholds
    return thresholds.review, thresholds.refer


def rule_hits(
    rules: Sequence[Rule], columns: Columns, rows: int
) -> tuple[dict[int, list[RuleHit]], NDArray[np.int64]]:
    """Evaluate the rules on some claims.

    Args:
        rules: in the order of the definitions.
        columns: the named columns that the rules read, of `rows` values each.
        rows: number of claims.

    Returns:
        The hits in rule order, by row, for rows that have any; and int64[rows], the highest level
        that the fired rules of each row ask for, 0 without one.
    """
    hits: dict[int, list[RuleHit]] = {}
    levels = np.zeros(rows, np.int64)
    for rule in rules:
        # a rule without fields is one number; NaN (a missing value) never fires
        fired = np.broadcast_to(rule.when.evaluate(columns), rows) == 1
        fired_rows = np.flatnonzero(fired)
        if not fired_rows.size:
            continue
        hit = RuleHit(rule.name, rule.text)
        for i in fired_rows.tolist():
            hits.setdefault(i, []).append(hit)
        levels[fired] = np.maximum(levels[fired], OUTCOMES.index(rule.outcome))
    return hits, levels
