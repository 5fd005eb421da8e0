"""The explanation of one model: what the report says, and the claims that its pictures show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from .attribution import Attribution, interventional, tree_path
from .examples import (
    Chosen,
    Example,
    outcome_of,
    parts_of,
    typical_values,
)
from .influence import Influence, influences_of
from .sample import MOST_OTHERS, Sample, least_hashed, sample_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Baseline = Literal["tree", "legitimate", "all"]

MOST_DRAWN: Final = 2_000
"""Most claims that a picture shows, at most half of them known frauds."""

BACKGROUND: Final = 100
"""Most claims of a group that others are compared with, when the baseline is a group."""

MOST_AGAINST_GROUP: Final = 1_000
"""Most claims explained against a group: each costs as much as its whole background."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The explanations of a released model.

    Attributes:
        baseline: what values are compared with: `tree`, `legitimate` or `all`.
        claims, frauds: the claims looked at, and the known frauds among them.
        stands_for: how many claims of the data set they stand for.
        expected: log-odds from which all explanations start.
        influences: every feature, the most influential first.
        examples: claims explained one by one, by the judged model.
    """

    baseline: Baseline
    claims: int
    frauds: int
    stands_for: int
    expected: float
    influences: list[Influence]
    examples: list[Example]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnClaims:
    """Explained claims for pictures.

    Attributes:
        names: the F features.
        matrix: float64[n, F]; what isn't finite has no place in a picture and is NaN.
        values: float64[n, F], SHAP values in log-odds.
        is_fraud: bool[n].
    """

    names: list[str]
    matrix: Floats
    values: Floats
    is_fraud: NDArray[np.bool_]


def explain_globally(
    dataset: Dataset, model_json: bytes, baseline: Baseline, seed: int, texts: dict[str, str]
) -> tuple[Explanation, DrawnClaims]:
    """Explain a model on all known frauds and a hashed sample of the other claims.

    Raises:
        ModelError: the model is damaged.
    """
    sample = sample_of(dataset.claim_ids, dataset.is_fraud, seed)
    if baseline != "tree":
        sample = _fewer(dataset, sample, seed)
    rows, weights = sample
    is_fraud = dataset.is_fraud[rows]
    found = attribute(dataset, model_json, rows, baseline, seed)
    drawn = _drawn(dataset, rows, seed)
    at = np.searchsorted(rows, drawn)
    explanation = Explanation(
        baseline=baseline,
        claims=len(rows),
        frauds=int(is_fraud.sum()),
        stands_for=round(float(weights.sum())),
        expected=found.expected,
        influences=influences_of(dataset.features, found.values, weights, is_fraud, texts),
        examples=[],
    )
    shown = dataset.matrix[drawn]
    return explanation, DrawnClaims(
        dataset.features,
        np.where(np.isfinite(shown), shown, np.nan),
        found.values[at],
        is_fraud[at],
    )


def explain_examples(
    dataset: Dataset,
    model_json: bytes,
    chosen: list[Chosen],
    scores: Floats,
    baseline: Baseline,
    seed: int,
) -> list[Example]:
    """Explain claims one by one.

    Args:
        scores: float64[n], calibrated probabilities of all claims of the data set.

    Raises:
        ModelError: the model is damaged.
    """
    if not chosen:
        return []
    rows = np.array([one.row for one in chosen], np.int64)
    found = attribute(dataset, model_json, rows, baseline, seed)
    group = least_hashed(dataset.claim_ids, compared_with(dataset, baseline), seed, MOST_OTHERS)
    typical = typical_values(dataset.matrix[group])
    return [
        Example(
            kind=one.kind,
            claim_id=dataset.claim_ids[one.row],
            event_time_ms=int(dataset.event_times_ms[one.row]),
            outcome=outcome_of(float(dataset.labels[one.row])),
            score=float(scores[one.row]),
            margin=float(margin),
            expected=found.expected,
            parts=parts_of(dataset.features, dataset.matrix[one.row], typical, values),
        )
        for one, values, margin in zip(chosen, found.values, found.margins, strict=True)
    ]


def attribute(
    dataset: Dataset, model_json: bytes, rows: Ints, baseline: Baseline, seed: int
) -> Attribution:
    """Compute the SHAP values of some rows against a baseline."""
    if baseline == "tree":
        return tree_path(model_json, dataset.matrix[rows])
    group = least_hashed(dataset.claim_ids, compared_with(dataset, baseline), seed, BACKGROUND)
    return interventional(model_json, dataset.matrix[rows], dataset.matrix[group])


def compared_with(dataset: Dataset, baseline: Baseline) -> Ints:
    """Return the rows of the claims that others are compared with: int64[n], rising."""
    if baseline == "legitimate":
        return np.flatnonzero(dataset.labels == 0)
    return np.arange(len(dataset.labels), dtype=np.int64)


def _drawn(dataset: Dataset, rows: Ints, seed: int) -> Ints:
    """Return the rows that pictures show, known frauds first: int64[<= MOST_DRAWN], rising."""
    is_fraud = dataset.is_fraud[rows]
    frauds = least_hashed(dataset.claim_ids, rows[is_fraud], seed, MOST_DRAWN // 2)
    others = least_hashed(dataset.claim_ids, rows[~is_fraud], seed, MOST_DRAWN - len(frauds))
    return np.sort(np.concatenate([frauds, others])).astype(np.int64)


def _fewer(dataset: Dataset, sample: Sample, seed: int) -> Sample:
    """Return so few claims that they can be compared with a group each."""
    kept = least_hashed(dataset.claim_ids, sample.rows, seed, MOST_AGAINST_GROUP)
    weights = sample.weights[np.searchsorted(sample.rows, kept)]
    return Sample(kept, weights * (sample.weights.sum() / weights.sum()))
