"""From score and rules to what happens with a claim: approve, review or refer."""

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
BANDS: Final = ("low", "medium", "high", "unscored")
UNSCORED: Final = 3
SCORE_DIGITS: Final = 9
"""Digits behind the point of a probability: finer than any calibration can mean."""


def levels_of(scores: NDArray[np.float64], review: float, refer: float) -> NDArray[np.int64]:
    """0 approve, 1 review, 2 refer for each probability; 0 without one (NaN).

    >>> levels_of(np.array([0.1, 0.5, 0.9, np.nan]), 0.4, 0.8).tolist()
    [0, 1, 2, 0]
    """
    return (scores >= review).astype(np.int64) + (scores >= refer).astype(np.int64)


def thresholds_of(scorer: Scorer | None) -> tuple[float, float]:
    """From which probability on a claim is reviewed and referred; never without a model."""
    if scorer is None:
        return np.inf, np.inf
    thresholds = scorer.manifest.thresholds
    return thresholds.review, thresholds.refer


def rule_hits(
    rules: Sequence[Rule], columns: Columns, rows: int
) -> tuple[dict[int, list[RuleHit]], NDArray[np.int64]]:
    """The rules that fired, in their order, of the claims that have any; and the highest level that
    they ask for, of each."""
    hits: dict[int, list[RuleHit]] = {}
    levels = np.zeros(rows, np.int64)
    for rule in rules:
        fired = np.broadcast_to(rule.when.evaluate(columns), rows) == 1
        places = np.flatnonzero(fired)
        if not places.size:
            continue
        hit = RuleHit(rule.name, rule.text)
        for i in places.tolist():
            hits.setdefault(i, []).append(hit)
        levels[fired] = np.maximum(levels[fired], OUTCOMES.index(rule.outcome))
    return hits, levels
