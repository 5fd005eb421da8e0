"""Ranking metrics in plain numpy, with row weights, so that a bootstrap only has to draw weights.

In all functions, `labels` is bool[n] (True: fraud), `scores` float[n] (margins or probabilities,
higher is more suspicious), and `weights` float64[n] or None for one each; a weight of 2 counts a
row twice. Rows of equal score form one step, so that their order doesn't matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Ranking:
    """Rows sorted once by score, so that the metrics of any row weights are sums in that order.

    >>> ranking = Ranking(np.array([True, False, True]), np.array([0.9, 0.5, 0.1]))
    >>> ranking.average_precision(), ranking.auc()
    (0.8333333333333333, 0.5)
    """

    def __init__(self, labels: Bools, scores: NDArray[np.floating]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._frauds = labels[self._order].astype(np.float64)
        ordered = scores[self._order]
        # The last row of every run of equal scores.
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], len(ordered) > 0))

    def average_precision(self, weights: Floats | None = None) -> float:
        """Return the sum over steps of precision times the recall gained; NaN without any fraud.

        Source: scikit-learn's `average_precision_score`, AP = sum (R_n - R_{n-1}) P_n.
        """
        frauds, rows = self.steps(weights)
        if not len(frauds) or frauds[-1] == 0:
            return float("nan")
        gained = np.diff(frauds, prepend=0.0)
        precision = np.divide(frauds, rows, out=np.zeros_like(frauds), where=rows > 0)
        return float(np.sum(gained * precision) / frauds[-1])

    def auc(self, weights: Floats | None = None) -> float:
        """Return the probability that a fraud scores above a legitimate claim; ties count half.

        NaN without any fraud or without any legitimate claim.

        Source: the Mann-Whitney form of the area under the ROC curve.
        """
        frauds, rows = self.steps(weights)
        legit = rows - frauds
        if not len(frauds) or frauds[-1] == 0 or legit[-1] == 0:
            return float("nan")
        fraud_gained, legit_gained = np.diff(frauds, prepend=0.0), np.diff(legit, prepend=0.0)
        below = legit[-1] - legit
        won = np.sum(fraud_gained * (below + legit_gained / 2))
        return float(won / (frauds[-1] * legit[-1]))

    def steps(self, weights: Floats | None) -> tuple[Floats, Floats]:
        """Return the cumulative weights of frauds and of rows at the end of every step.

        float64[steps] each, from the highest score down.
        """
        each = np.ones(len(self._order)) if weights is None else weights[self._order]
        return np.cumsum(each * self._frauds)[self._ends], np.cumsum(each)[self._ends]


def average_precision(labels: Bools, scores: NDArray[np.floating]) -> float:
    """Compute the average precision of one ranking; see `Ranking.average_precision`."""
    return Ranking(labels, scores).average_precision()


def auc(labels: Bools, scores: NDArray[np.floating]) -> float:
    """Compute the area under the ROC curve of one ranking; see `Ranking.auc`."""
    return Ranking(labels, scores).auc()


def calibration_error(
    labels: Bools, probabilities: Floats, bins: int = 10, weights: Floats | None = None
) -> float:
    """Compute the mean distance between predicted probability and share of frauds, over bins.

    Rows are sorted by probability and cut into `bins` parts of equal size (fewer parts if there are
    fewer rows); each part has the weight of its share of rows. With `weights`, the size of a part
    is the sum of its rows' weights. Source: expected calibration error
    with adaptive bins, Nixon et al., "Measuring Calibration in Deep Learning", 2019.

    >>> calibration_error(np.array([True, False]), np.array([1.0, 0.0]))
    0.0
    """
    if not len(labels):
        return float("nan")
    order = np.argsort(probabilities, kind="stable")
    each = np.ones(len(labels)) if weights is None else weights
    if np.all(each == 1):
        parts = np.array_split(order, min(bins, len(order)))
    else:
        middle = np.cumsum(each[order]) - each[order] / 2
        part = np.floor(bins * middle / np.sum(each)).astype(np.int64)
        parts = np.split(order, np.flatnonzero(np.diff(part)) + 1)
    gaps = [
        np.sum(each[p]) * abs(np.average(probabilities[p] - labels[p], weights=each[p]))
        for p in parts
    ]
    return float(sum(gaps) / np.sum(each))


def brier(labels: Bools, probabilities: Floats, weights: Floats | None = None) -> float:
    """Compute the mean squared difference between probability and outcome (Brier, 1950).

    >>> brier(np.array([True, False]), np.array([0.5, 0.5]))
    0.25
    """
    if not len(labels):
        return float("nan")
    return float(np.average((probabilities - labels) ** 2, weights=weights))


def card_precision(
    labels: Bools, scores: NDArray[np.floating], customers: Ints, days: Ints, k: int = 100
) -> tuple[float, float]:
    """Compute the share of frauds among the k most suspicious customers of a day, and its ceiling.

    Both are means over the days. A customer counts once a day, with the highest score, and as fraud
    if any row was. A customer who was caught (one of the k highest, and fraud) is left out from the
    next day on. The ceiling is the result of a perfect ranking under the same rule: every defrauded
    customer once, on the first day. Source: Fraud Detection Handbook, chapter 4, "Card Precision
    top-k".

    Args:
        customers, days: int64[n].

    >>> card_precision(np.array([True, False]), np.array([0.9, 0.1]), np.array([1, 2]),
    ...                np.array([0, 0]), k=1)
    (1.0, 1.0)
    """
    precision = _card_precision(labels, scores.astype(np.float64), customers, days, k)
    return precision, _card_precision(labels, labels.astype(np.float64), customers, days, k)


def _card_precision(labels: Bools, scores: Floats, customers: Ints, days: Ints, k: int) -> float:
    caught: Ints = np.zeros(0, dtype=np.int64)
    found = []
    for day in np.unique(days):
        rows = np.flatnonzero((days == day) & ~np.isin(customers, caught))
        names, codes = np.unique(customers[rows], return_inverse=True)
        highest = np.full(len(names), -np.inf)
        np.maximum.at(highest, codes, scores[rows])
        is_fraud = np.zeros(len(names), dtype=np.bool_)
        np.logical_or.at(is_fraud, codes, labels[rows])
        top = np.argsort(-highest, kind="stable")[:k]
        hits = top[is_fraud[top]]
        found.append(len(hits) / k)
        caught = np.concatenate([caught, names[hits]])
    return float(np.mean(found)) if found else float("nan")
