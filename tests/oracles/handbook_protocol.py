"""The Fraud Detection Handbook's protocol: train on a week, wait for labels, test on a later week.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card Fraud
Detection", 2022, chapters 3 to 5. Tests use the protocol to compare served vectors and the fitter
with the published numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from models.kernels.forest import Forest
from training.evaluation.metrics import auc, average_precision, card_precision
from training.fitting.fitters import Fitter, Params, Rows, silent

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

TRAIN_DAYS = 7
DELAY_DAYS = 7
TEST_DAYS = 7

HANDBOOK_PARAMS: Params = {
    "tree_method": "exact",
    "base_score": 0.5,
    "max_depth": 3,
    "eta": 0.1,
    "reg_lambda": 1.0,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "rounds": 100,
}
"""The book's best model by test, with every parameter, so that none comes from our defaults."""


class Week(msgspec.Struct, frozen=True):
    """The results of one training week on its test week."""

    train_rows: int
    train_frauds: int
    test_rows: int
    test_frauds: int
    auc: float
    average_precision: float
    card_precision: float
    card_precision_ceiling: float


def prequential(
    matrix: Floats,
    times_ms: Ints,
    customers: Ints,
    labels: Bools,
    *,
    train_starts_ms: Sequence[int],
    fitter: Fitter,
    params: Params = HANDBOOK_PARAMS,
    seed: int = 0,
    k: int = 100,
) -> list[Week]:
    """Fit and test once for every training week.

    Args:
        matrix: float64[n, F], the served vectors; standardised with each training week's moments.
        times_ms, customers, labels: int64[n], int64[n], bool[n].
        train_starts_ms: midnights (UTC) at which the training weeks begin.
        fitter: one of `FITTERS`; it gets no rows to watch, so it fits all rounds.
        k: customers a day for `card_precision`.

    Returns:
        One `Week` for each training week, in order; `mean_of` averages them as the book does.
    """
    weeks = []
    for start_ms in train_starts_ms:
        days = (times_ms - start_ms) // DAY_MS
        train, test = handbook_split(days, customers, labels)
        mean, spread = _moments(matrix[train])
        fitted = fitter(
            Rows((matrix[train] - mean) / spread, labels[train]),
            None,
            params,
            seed,
            silent,
        )
        forest = Forest.from_xgboost_json(fitted.model_json)
        margins = forest.margins(np.ascontiguousarray((matrix[test] - mean) / spread))
        precision, ceiling = card_precision(labels[test], margins, customers[test], days[test], k)
        weeks.append(
            Week(
                train_rows=len(train),
                train_frauds=int(np.sum(labels[train])),
                test_rows=len(test),
                test_frauds=int(np.sum(labels[test])),
                auc=auc(labels[test], margins),
                average_precision=average_precision(labels[test], margins),
                card_precision=precision,
                card_precision_ceiling=ceiling,
            )
        )
    return weeks


def handbook_split(days: Ints, customers: Ints, labels: Bools) -> tuple[Ints, Ints]:
    """Return the row numbers of the training week and of the test week, int64 each.

    `days` counts days since the training week began. A test row is left out if its customer is
    known as defrauded by then: by a fraud in the training week, or for test day j by a fraud up to
    day 6 + j (labels have a delay of 7 days, so one more day becomes known every day).

    >>> days = np.array([0, 6, 14, 14, 15])
    >>> handbook_split(days, np.array([1, 2, 1, 3, 2]), np.array([True, False, True, True, True]))
    (array([0, 1]), array([3, 4]))
    """
    train = np.flatnonzero((days >= 0) & (days < TRAIN_DAYS))
    known = np.unique(customers[train][labels[train]])
    parts = []
    for day in range(TEST_DAYS):
        learned = labels & (days == TRAIN_DAYS + day - 1)
        known = np.union1d(known, customers[learned])
        today = np.flatnonzero(days == TRAIN_DAYS + DELAY_DAYS + day)
        parts.append(today[~np.isin(customers[today], known)])
    return train, np.concatenate(parts)


def mean_of(weeks: Sequence[Week]) -> tuple[float, float, float]:
    """Return AUC, average precision and card precision, each the plain mean of the weeks."""
    return (
        float(np.mean([week.auc for week in weeks])),
        float(np.mean([week.average_precision for week in weeks])),
        float(np.mean([week.card_precision for week in weeks])),
    )


def _moments(matrix: Floats) -> tuple[Floats, Floats]:
    """Return the mean and standard deviation of each column; 1 for a constant column."""
    spread = matrix.std(axis=0)
    return matrix.mean(axis=0), np.where(spread > 0, spread, 1.0)
