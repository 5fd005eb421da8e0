"""The Fraud Detection Handbook's payments: the published weeks, and the book's recipe beside ours.

All payments are streamed once, with the inputs of both domains. The book's recipe fits one week;
ours fits the four weeks before the gap. Both are judged on the same four test weeks, by the book's
protocol, in which 7 days lie between training and test.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.command import say
from benchmarks.line import Line
from benchmarks.public.chosen import Bools, Floats, Ints, claims_of, fit, fitted
from benchmarks.public.wide_payments import DOMAIN
from benchmarks.public.wide_payments import HANDBOOK as FIRST
from claimtrace.clock import DAY_MS
from models.kernels.forest import Forest
from tests.oracles.handbook_protocol import HANDBOOK_PARAMS, handbook_split
from tests.worlds.handbook import TRAIN_STARTS, read_transactions, served_vectors, write_log
from training.evaluation.metrics import auc, average_precision, card_precision

WEEKS_OF_TRAINING: Final = 4
CARDS: Final = 100
"""Cards a day that can be looked at."""
_PARTITIONS: Final = 4


class Payments(NamedTuple):
    """The columns of all payments that the book's protocol needs; n values each."""

    times_ms: Ints
    customers: Ints
    frauds: Bools


Figures = tuple[float, float, float]
"""AUC, average precision, card precision."""


def measure(data: Path) -> dict[str, Any]:
    """Return AUC, average precision and card precision of each model, means of four weeks."""
    table = read_transactions(data)
    matrix = served(table)
    payments = Payments(
        table.second.to_numpy() * 1000, table.CUSTOMER_ID.to_numpy(), table.TX_FRAUD.to_numpy() == 1
    )
    weeks = [_week(matrix, payments, day) for day in TRAIN_STARTS]
    names = ("auc", "average_precision", "card_precision")
    return {
        model: dict(
            zip(names, np.mean([week[model] for week in weeks], axis=0).tolist(), strict=True)
        )
        for model in weeks[0]
    }


def _week(matrix: Floats, payments: Payments, day: str) -> dict[str, Figures]:
    """Fit and judge all models for the training week that begins on a day."""
    start_ms = round(pd.Timestamp(day).timestamp() * 1000)
    days = (payments.times_ms - start_ms) // DAY_MS
    week, test = handbook_split(days, payments.customers, payments.frauds)
    rows = np.flatnonzero((days >= 7 * (1 - WEEKS_OF_TRAINING)) & (days < 7))
    few = np.ascontiguousarray(matrix[:, : len(FIRST.feature_names)])
    forests = {
        "the book's recipe": (few, fit(few[week], payments.frauds[week], HANDBOOK_PARAMS)),
        "15 inputs": (few, _chosen(few, payments, rows)),
        f"{matrix.shape[1]} inputs": (matrix, _chosen(matrix, payments, rows)),
    }
    found = {}
    for name, (inputs, forest) in forests.items():
        margins = forest.margins(np.ascontiguousarray(inputs[test]))
        frauds = payments.frauds[test]
        cards, _ = card_precision(frauds, margins, payments.customers[test], days[test], CARDS)
        found[name] = auc(frauds, margins), average_precision(frauds, margins), cards
        said = ", ".join(f"{value:.4f}" for value in found[name])
        say(f"  week from {day}, {name}: {said}")
    return found


def _chosen(matrix: Floats, payments: Payments, rows: Ints) -> Forest:
    claims = claims_of(matrix, payments.frauds, payments.times_ms, payments.customers)
    return fitted(claims, rows)[0]


def served(payments: pd.DataFrame) -> Floats:
    """Stream all payments and return the served vectors, float64[n, F], in their order."""
    with TemporaryDirectory() as folder:
        line = Line.open(Path(folder), DOMAIN, partitions=_PARTITIONS, remember_days=110)
        say(
            f"  {write_log(payments, line.log, _PARTITIONS):,} records of the handbook are streamed"
        )
        line.run()
        matrix = served_vectors(line.offline(), payments)
        line.close()
    return matrix
