"""Vehicle claims of 1994 to 1996: learned from the first two years, judged by the third.

Categories without an order are given in two ways: as one code each (31 inputs), and with a column
for each of their values (121 inputs). The past can't tell the two apart (average precision of the
held-out claims of 1994 and 1995: differences below .01, either way); with 710 frauds to learn from,
each further column costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.public.chosen import Dataset, claims_of, fitted, plain
from training.evaluation.metrics import auc, average_precision

TEST_FROM: Final = "1996-01-01"

_ORDERED: Final = {
    "VehiclePrice": ["less than 20,000", "20,000 to 29,000", "30,000 to 39,000",
                     "40,000 to 59,000", "60,000 to 69,000", "more than 69,000"],
    "Days:Policy-Accident": ["none", "1 to 7", "8 to 15", "15 to 30", "more than 30"],
    "Days:Policy-Claim": ["none", "8 to 15", "15 to 30", "more than 30"],
    "PastNumberOfClaims": ["none", "1", "2 to 4", "more than 4"],
    "AgeOfVehicle": ["new", "2 years", "3 years", "4 years", "5 years", "6 years", "7 years",
                     "more than 7"],
    "AgeOfPolicyHolder": ["16 to 17", "18 to 20", "21 to 25", "26 to 30", "31 to 35", "36 to 40",
                          "41 to 50", "51 to 65", "over 65"],
    "NumberOfSuppliments": ["none", "1 to 2", "3 to 5", "more than 5"],
    "AddressChange-Claim": ["no change", "under 6 months", "1 year", "2 to 3 years",
                            "4 to 8 years"],
    "NumberOfCars": ["1 vehicle", "2 vehicles", "3 to 4", "5 to 8", "more than 8"],
}  # fmt: skip
_NUMBERS: Final = ("Age", "Deductible", "DriverRating", "WeekOfMonth", "WeekOfMonthClaimed")
_LEFT_OUT: Final = ("PolicyNumber", "FraudFound", "Year")
"""PolicyNumber is the order of the file, which knows the outcome; years of training don't recur."""


def measure(data: Path) -> dict[str, Any]:
    """Return AUC and average precision of our choice and of XGBoost's defaults on 1996."""
    found = {}
    for way in ("codes", "columns"):
        claims, test = read(data, codes=way == "codes")
        train = np.flatnonzero(~test)
        forests = {
            f"chosen, {way}": fitted(claims, train)[0],
            f"XGBoost's defaults, {way}": plain(claims.matrix[train], claims.is_fraud[train]),
        }
        frauds = claims.is_fraud[test]
        for name, forest in forests.items():
            margins = forest.margins(np.ascontiguousarray(claims.matrix[test]))
            found[name] = {
                "auc": auc(frauds, margins), "average_precision": average_precision(frauds, margins)
            }  # fmt: skip
    return found


def read(data: Path, *, codes: bool = True) -> tuple[Dataset, np.ndarray]:
    """Return all claims in order of time, and bool[n]: whether a claim is judged by.

    Args:
        codes: whether a category without an order is one column of codes, in the order of its
            words; else each of its values has a column.
    """
    table = pd.read_csv(data / "carclaims.csv", keep_default_na=False)
    dates = pd.read_csv(data / "carclaims_dates_derived.csv")
    table = table.merge(dates, on="PolicyNumber", validate="1:1")
    table = table.sort_values(["claim_date_est", "tiebreak"], ignore_index=True)
    columns: dict[str, Any] = {"report_delay_days": table.report_delay_days_est.astype(float)}
    for name, words in _ORDERED.items():
        columns[name] = table[name].map({word: place for place, word in enumerate(words)})
    for name in _NUMBERS:
        columns[name] = table[name].astype(float)
    columns["Age"] = columns["Age"].where(columns["Age"] > 0)
    rest = [name for name in pd.read_csv(data / "carclaims.csv", nrows=1).columns
            if name not in columns and name not in _LEFT_OUT]  # fmt: skip
    words = table[rest].astype(str)
    if codes:
        known = words.apply(lambda column: column.astype("category").cat.codes).astype(float)
    else:
        known = pd.get_dummies(words, dtype=float)
    matrix = pd.concat([pd.DataFrame(columns), known], axis=1)
    days = table.claim_date_est.to_numpy("datetime64[D]")
    claims = claims_of(
        np.ascontiguousarray(matrix.to_numpy(np.float64)),
        table.FraudFound.to_numpy() == "Yes",
        days.astype("datetime64[ms]").astype(np.int64),
        np.arange(len(table)),
    )
    return claims, (table.Year == 1996).to_numpy()
