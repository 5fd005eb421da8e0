"""Leaks of the verdict into the data: what no model can know when a claim is filed.

Three signs are looked for: one feature that tells as much as a whole model; a feature that numbers
the claims; and verdicts that were known before their claims.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import NEVER_MS, Dataset
from ..evaluation.metrics import Ranking
from ..fitting.choice import sampled
from ..release.gates import Gate

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ALONE: Final = 0.95
"""The AUC of one feature alone from which it is suspected ..."""

BELOW_MODEL: Final = 0.01
"""... if the whole model's isn't higher by more than this."""

LEAST_ROWS: Final = 500
UNIQUE: Final = 0.95
"""The share of different values from which a feature may be an id, ..."""

WITH_TIME: Final = 0.98
"""... if its ranks follow the claims' time, up or down, by this correlation."""

EARLY: Final = 0.001
"""The share of verdicts that may be known before their claims: clocks differ."""

_SHOWN: Final = 5


class Suspect(msgspec.Struct, frozen=True):
    """A sign of a leak; `value` is the figure, and `limit` what it should stay below."""

    feature: str
    sign: str
    value: float
    limit: float


class Leaks(msgspec.Struct, frozen=True):
    """The signs that were looked for.

    Attributes:
        strongest: the features with the highest AUC alone, on the past.
        model_auc: the judged model's, on the test.
        verdicts, early: verdicts, and those that were known or reached before their claim.
        early_ids: the first claims with such a verdict.
        suspects: what breaks a limit.
    """

    strongest: list[Suspect]
    model_auc: float
    verdicts: int
    early: int
    early_ids: list[str]
    suspects: list[Suspect]


def leaks_of(dataset: Dataset, past: Ints, model_auc: float, seed: int) -> Leaks:
    """Look for leaks.

    Args:
        past: the rows that the judged model has learned from.
        model_auc: of the judged model on the test.
        seed: of the sample that is looked at.
    """
    rows = sampled(dataset, past, seed)
    weights = dataset.weights[rows]
    limit = max(ALONE, model_auc - BELOW_MODEL)
    alone = [
        Suspect(name, "tells as much alone as the model", auc_alone(dataset, rows, place, weights),
                limit)
        for place, name in enumerate(dataset.features)
    ]  # fmt: skip
    alone.sort(key=lambda each: (-each.value, each.feature))
    suspects = [each for each in alone if each.value >= limit]
    for place, name in enumerate(dataset.features):
        follows = numbers_claims(dataset.matrix[rows, place], dataset.event_times_ms[rows])
        if follows >= WITH_TIME:
            suspects.append(Suspect(name, "numbers the claims", follows, WITH_TIME))
    early = early_verdicts(dataset)
    verdicts = int(np.sum(dataset.has_label))
    if len(early) > EARLY * verdicts:
        suspects.append(Suspect("verdict", "known before the claim", len(early) / verdicts, EARLY))
    return Leaks(
        strongest=alone[:_SHOWN],
        model_auc=model_auc,
        verdicts=verdicts,
        early=len(early),
        early_ids=[dataset.claim_ids[row] for row in early[:_SHOWN]],
        suspects=suspects,
    )


def auc_alone(dataset: Dataset, rows: Ints, place: int, weights: Floats) -> float:
    """Return the AUC of one feature as a score, up or down; a missing value is the lowest."""
    column = dataset.matrix[rows, place]
    scores = np.where(np.isnan(column), -np.inf, column)
    found = Ranking(dataset.is_fraud[rows], scores).auc(weights)
    return max(found, 1 - found)


def numbers_claims(column: Floats, times_ms: Ints) -> float:
    """Return how closely a feature's ranks follow the time, if it has a value for each claim.

    Returns the absolute rank correlation (Spearman's, of different values); 0 where values repeat.

    >>> numbers_claims(np.arange(1000.0) + 7, np.arange(1000))
    1.0
    >>> numbers_claims(np.arange(1000.0) % 30, np.arange(1000))
    0.0
    """
    known = np.isfinite(column)
    values, times = column[known], times_ms[known]
    if len(values) < LEAST_ROWS or len(np.unique(values)) < UNIQUE * len(values):
        return 0.0
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    order = np.argsort(np.argsort(times, kind="stable"), kind="stable").astype(np.float64)
    middle = (len(values) - 1) / 2
    spread = float(np.sum((order - middle) ** 2))
    return round(abs(float(np.sum((ranks - middle) * (order - middle)))) / spread, 6)


def early_verdicts(dataset: Dataset) -> Ints:
    """Return the rows whose verdict was known, or reached, before the claim was filed."""
    early = dataset.has_label & (dataset.label_known_ms < dataset.event_times_ms)
    if dataset.decided_at_ms is not None:
        decided = dataset.decided_at_ms
        early |= dataset.has_label & (decided != NEVER_MS) & (decided < dataset.event_times_ms)
    return np.flatnonzero(early)


def leak_gate(leaks: Leaks) -> Gate:
    """Return the gate of leaks: failed with any suspect."""
    if leaks.suspects:
        words = "; ".join(
            f"{each.feature} {each.sign} ({each.value:.3f}, from {each.limit:.3f} on suspected)"
            for each in leaks.suspects[:_SHOWN]
        )
        return Gate(name="leaks", state="failed", words=words, evidence="leaks")
    best = leaks.strongest[0]
    words = (
        f"the strongest feature alone is {best.feature} with an AUC of {best.value:.3f}; none "
        f"numbers the claims; {leaks.early} of {leaks.verdicts:,} verdicts were known before "
        "their claim"
    )
    return Gate(name="leaks", state="passed", words=words, evidence="leaks")
