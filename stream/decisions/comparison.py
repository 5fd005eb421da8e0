"""Two models on the same recorded vectors, claim by claim: outcomes, reasons, hours of people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.scorer import Scorer

from .outcomes import OUTCOMES, SCORE_DIGITS, levels_of, thresholds_of

MOST_FEATURES = 10
"""Most features whose reasons come or go that a summary lists."""


class Judged(NamedTuple):
    """The judgement of one model on some claims.

    `scores` float64[n] are NaN where the model has none, `levels` int64[n] are 0 approve, 1 review,
    2 refer, after the rules; `reasons` are the names of the features that a referral would list, in
    order, and empty for other claims.
    """

    scores: NDArray[np.float64]
    levels: NDArray[np.int64]
    reasons: list[tuple[str, ...]]


class Reasoned(msgspec.Struct, frozen=True):
    """In how many claims that both models refer a feature is a reason of one of them alone."""

    feature: str
    only_first: int
    only_second: int


class Comparison(msgspec.Struct, frozen=True):
    """The sum of a comparison.

    `outcomes[a][b]` counts claims with outcome `a` by the first and `b` by the second model, in the
    order approve, review, refer. `other_reasons` of the claims that both refer have other reasons
    or another order of them. The hours are those of people, for all claims.
    """

    claims: int
    changed: int
    outcomes: list[list[int]]
    referred_by_both: int
    other_reasons: int
    reasons: list[Reasoned]
    first_hours: float
    second_hours: float


def judged(
    scorer: Scorer, matrix: NDArray[np.float64], rule_levels: NDArray[np.int64], most_reasons: int
) -> Judged:
    """Judge claims as the stream would: the strictest of model and rules.

    Args:
        scorer: the model.
        matrix: float64[n, features], their served vectors.
        rule_levels: int64[n], what the rules that fired ask for.
        most_reasons: of a referred claim.
    """
    scores = np.round(scorer.probabilities(scorer.margins(matrix)), SCORE_DIGITS)
    broken = ~((scores >= 0.0) & (scores <= 1.0))  # NaN is broken, too
    scores = np.where(broken, np.nan, scores)
    levels = np.maximum(levels_of(scores, *thresholds_of(scorer)), rule_levels)
    levels = np.maximum(levels, broken.astype(np.int64))
    reasons: list[tuple[str, ...]] = [()] * len(matrix)
    referred = np.flatnonzero(levels == 2)
    if referred.size and most_reasons:
        shares = scorer.contributions(matrix[referred])[:, :-1]
        orders = np.argsort(-np.abs(shares), axis=1, kind="stable")[:, :most_reasons]
        names = scorer.manifest.features
        for row, order, own in zip(referred.tolist(), orders.tolist(), shares, strict=True):
            reasons[row] = tuple(names[i] for i in order if own[i] != 0.0)
    return Judged(scores, levels, reasons)


class Tally:
    """Adds up the judgements of two models, batch by batch.

    Args:
        review_hours, investigation_hours: hours of people that a review and a referral take.

    >>> one = Judged(np.array([0.1, 0.9]), np.array([0, 2]), [(), ("a",)])
    >>> two = Judged(np.array([0.4, 0.9]), np.array([1, 2]), [(), ("b",)])
    >>> tally = Tally(0.25, 3.0)
    >>> tally.add(one, two)
    >>> found = tally.result()
    >>> found.claims, found.changed, found.other_reasons, found.first_hours, found.second_hours
    (2, 1, 1, 3.0, 3.25)
    """

    def __init__(self, review_hours: float, investigation_hours: float) -> None:
        self._hours = np.array([0.0, review_hours, investigation_hours])
        self._outcomes = np.zeros((len(OUTCOMES), len(OUTCOMES)), np.int64)
        self._both = self._other = 0
        self._only: tuple[Counter[str], Counter[str]] = Counter(), Counter()

    def add(self, first: Judged, second: Judged) -> None:
        """Add the judgements of both models on the same claims."""
        np.add.at(self._outcomes, (first.levels, second.levels), 1)
        for i in np.flatnonzero((first.levels == 2) & (second.levels == 2)).tolist():
            ours, theirs = first.reasons[i], second.reasons[i]
            self._both += 1
            self._other += ours != theirs
            self._only[0].update(name for name in ours if name not in theirs)
            self._only[1].update(name for name in theirs if name not in ours)

    def result(self) -> Comparison:
        """Return the sum so far."""
        one, two = self._only
        by_size = sorted({*one, *two}, key=lambda name: (-one[name] - two[name], name))
        table = self._outcomes
        return Comparison(
            claims=int(table.sum()),
            changed=int(table.sum() - np.trace(table)),
            outcomes=table.tolist(),
            referred_by_both=self._both,
            other_reasons=self._other,
            reasons=[Reasoned(name, one[name], two[name]) for name in by_size[:MOST_FEATURES]],
            first_hours=float(table.sum(axis=1) @ self._hours),
            second_hours=float(table.sum(axis=0) @ self._hours),
        )


def levels_of_rules(
    names: Sequence[Sequence[str]], outcomes: Mapping[str, str]
) -> NDArray[np.int64]:
    """Return int64[n]: the level that the recorded rules of each claim ask for, 0 without one.

    Args:
        names: the rules that fired on each claim.
        outcomes: the outcome of each rule of the definitions; others ask for nothing.

    >>> levels_of_rules([["a"], [], ["b", "a"]], {"a": "review", "b": "refer"}).tolist()
    [1, 0, 2]
    """
    levels = {name: OUTCOMES.index(outcome) for name, outcome in outcomes.items()}
    return np.array([max((levels.get(n, 0) for n in each), default=0) for each in names], np.int64)
