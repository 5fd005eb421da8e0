"""The AWS example's claims: its published figures again, and what they are without the leak.

The published ones come from a split by rows: of four rows of one policy some are learned from and
others are judged by. The honest ones keep each policy on one side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.command import say
from benchmarks.public.chosen import claims_of, fitted
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.offline.adapters.delta import OfflineStore
from training.evaluation.metrics import auc, average_precision

FOLD_SEEDS: Final = tuple(range(8))
FOLDS: Final = 5
PUBLISHED: Final = {"validation": 0.8189532160758972, "train": 0.9342334270477295}
_RECIPE: Final = {
    "max_depth": 3, "eta": 0.2, "objective": "binary:logistic", "tree_method": "exact",
    "base_score": 0.5, "nthread": 1, "seed": 0,
}  # fmt: skip
"""The notebook's settings, with what its version of XGBoost had as defaults."""


def published_again(data: Path) -> dict[str, float]:
    """Cross-validate the notebook's recipe on its own rows; AUC as published."""
    import xgboost

    table = pd.read_csv(data / "upsampled_train.csv")
    rows = xgboost.DMatrix(table.drop(columns=["fraud"]), label=table.fraud)
    found = xgboost.cv(
        dict(_RECIPE), rows, num_boost_round=100, nfold=5, metrics=["auc"], seed=0,
        early_stopping_rounds=10,
    )  # fmt: skip
    last = found.iloc[-1]
    return {"validation": float(last["test-auc-mean"]), "train": float(last["train-auc-mean"])}


def shared_rows(data: Path) -> float:
    """Return the share of published test rows whose claim is among the training rows too."""
    train, test = pd.read_csv(data / "train.csv"), pd.read_csv(data / "test.csv")
    columns = [name for name in train.columns if name in _claim_columns(data)]
    known = set(map(tuple, train[columns].to_numpy().tolist()))
    return float(np.mean([tuple(row) in known for row in test[columns].to_numpy().tolist()]))


def by_policy(store: OfflineStore) -> dict[str, Any]:
    """Judge chosen settings on policies that they weren't fitted on, over eight ways to deal them.

    Args:
        store: offline store with both draws of claims, as streamed.
    """
    found = store.sql(
        "SELECT d.claim_id, d.features, l.is_fraud FROM decisions d JOIN labels l USING (claim_id)"
        " ORDER BY d.claim_id"
    )
    policies = np.array([int(each.split("-")[2]) for each in found["claim_id"].to_pylist()])
    matrix = found["features"].combine_chunks().values.to_numpy().reshape(len(policies), -1)
    frauds = np.array(found["is_fraud"].to_pylist(), np.bool_)
    inputs = [DOMAIN.feature_names.index(name) for name in _inputs()]
    claims = claims_of(
        np.ascontiguousarray(matrix[:, inputs]), frauds, np.arange(len(frauds)), policies
    )
    per_seed = []
    for seed in FOLD_SEEDS:
        generator = np.random.default_rng(seed)
        fold = (generator.permutation(int(policies.max()) + 1) % FOLDS)[policies]
        measured = []
        for number in range(FOLDS):
            rows, test = np.flatnonzero(fold != number), fold == number
            forest, _ = fitted(claims, rows, by_time=False)
            margins = forest.margins(np.ascontiguousarray(claims.matrix[test]))
            measured.append((auc(frauds[test], margins), average_precision(frauds[test], margins)))
        per_seed.append(np.mean(measured, axis=0))
        say(f"  AWS claims, fold seed {seed}: AUC {per_seed[-1][0]:.4f}, average precision "
            f"{per_seed[-1][1]:.4f}")  # fmt: skip
    return {
        name: {
            "mean": float(column.mean()),
            "low": float(column.min()),
            "high": float(column.max()),
        }
        for name, column in zip(("auc", "average_precision"), np.array(per_seed).T, strict=True)
    }


def _inputs() -> list[str]:
    from tests.worlds.aws_claims import CLAIM_COLUMNS, CUSTOMER_COLUMNS

    return [*CLAIM_COLUMNS, *CUSTOMER_COLUMNS]


def _claim_columns(data: Path) -> set[str]:
    return set(pd.read_csv(data / "claims_preprocessed.csv", nrows=1).columns) - {"policy_id"}


def streamed(data: Path, folder: Path) -> OfflineStore:
    """Stream both draws of claims with their customers, and return the offline store."""
    from benchmarks.line import Line
    from tests.worlds.aws_claims import read_draw, write_log

    line = Line.open(folder, DOMAIN, partitions=4, lateness_days=30)
    write_log({draw: read_draw(data, draw) for draw in (1, 2)}, line.log, 4)
    line.run()
    store = line.offline()
    line.close()
    return store
