"""Compare the model that `claimtrace train` releases with a plain XGBoost on the same claims.

    python -m benchmarks.training_quality                  three seeds, a table
    python -m benchmarks.training_quality --seeds 11       one of them
    python -m benchmarks.training_quality --json           the same for a program

A world of 540 days is simulated and streamed by the commands that users type; then `claimtrace
train --as-of` learns from what was known at one moment. Plain XGBoost (300 trees of depth 4, the
parameters below) gets all claims with a verdict known by then, and the same vectors. Both models
are judged by the simulator's truth on all claims filed later.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.command import command, say
from benchmarks.tables import table
from claimtrace.clock import time_ms
from featurestore.offline.adapters.delta import OfflineStore
from models.kernels.forest import Forest
from models.registry.adapters.folder import FolderRegistry
from training.data.dataset import Dataset, load_dataset
from training.evaluation.metrics import auc, average_precision

SEEDS: Final = (11, 12, 13)
DAYS: Final = 540
AS_OF: Final = "2026-02-10"
PLAIN: Final = {
    "objective": "binary:logistic", "max_depth": 4, "eta": 0.05, "subsample": 0.8,
    "colsample_bytree": 0.8, "seed": 7, "nthread": 2,
}  # fmt: skip
PLAIN_TREES: Final = 300

Figures = dict[str, Any]


def run(models: Path, seeds: list[int], days: int = DAYS, as_of: str = AS_OF) -> list[Figures]:
    """Measure every seed in a folder of its own."""
    del models  # the model is trained here
    return [measure(seed, days, as_of) for seed in seeds]


def measure(seed: int, days: int, as_of: str) -> Figures:
    """Simulate, stream and train by the commands; judge the released model and the plain one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"seed {seed}: {days} days")
        _claimtrace(folder, "simulate", "--days", str(days), "--seed", str(seed))
        _claimtrace(folder, "stream", "--until-end")
        _claimtrace(folder, "train", "--as-of", as_of)
        return {"seed": seed, **judge(folder, time_ms(as_of))}


def judge(folder: Path, as_of_ms: int) -> Figures:
    """Judge both models on the claims filed after a moment."""
    store = OfflineStore(folder / "offline")
    known = load_dataset(store, as_of_ms)
    later = load_dataset(store, 2**62)
    rows = np.flatnonzero(later.event_times_ms >= as_of_ms)
    truth = _truth(folder, later, rows)
    released = Forest.from_xgboost_json(_released(folder)).margins(later.matrix[rows])
    plain = _plain(known).margins(later.matrix[rows])
    return {
        "claims_known": int(np.sum(known.has_label)),
        "claims_judged": len(rows),
        "frauds_judged": int(np.sum(truth)),
        "average_precision": average_precision(truth, released),
        "auc": auc(truth, released),
        "plain_average_precision": average_precision(truth, plain),
        "plain_auc": auc(truth, plain),
    }


def show(found: list[Figures]) -> None:
    """Print the quality of both models by seed, as a Markdown table."""
    print(quality_table(found))


def quality_table(found: list[Figures]) -> str:
    """Make a Markdown table of the figures, one row a seed."""
    head = ("seed", "claims with a verdict", "claims judged", "frauds",
            "average precision", "plain XGBoost", "difference", "AUC", "plain XGBoost")  # fmt: skip
    return table(head, [
        (
            str(each["seed"]), f"{each['claims_known']:,}", f"{each['claims_judged']:,}",
            f"{each['frauds_judged']:,}", f"{each['average_precision']:.3f}",
            f"{each['plain_average_precision']:.3f}",
            f"{each['average_precision'] - each['plain_average_precision']:+.3f}",
            f"{each['auc']:.4f}", f"{each['plain_auc']:.4f}",
        )
        for each in found
    ])  # fmt: skip


def _claimtrace(folder: Path, *words: str) -> None:
    say(f"  claimtrace {' '.join(words)}")
    subprocess.run(
        [sys.executable, "-m", "claimtrace", "--folder", str(folder), *words],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _released(folder: Path) -> bytes:
    (registry,) = (folder / "models").iterdir()
    versions = FolderRegistry(folder / "models", registry.name)
    return versions.load(versions.versions()[-1].version).model_json


def _plain(known: Dataset) -> Forest:
    import xgboost

    rows = np.flatnonzero(known.has_label)
    data = xgboost.DMatrix(known.matrix[rows], label=known.is_fraud[rows].astype(np.float32))
    booster = xgboost.train(dict(PLAIN), data, num_boost_round=PLAIN_TREES)
    return Forest.from_xgboost_json(bytes(booster.save_raw("json")))


def _truth(folder: Path, claims: Dataset, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return bool[len(rows)]: whether the claim is a fraud in the simulated world."""
    frauds: set[str] = set()
    for path in sorted(folder.glob("truth*.parquet")):
        told = pq.read_table(path)
        frauds.update(
            claim
            for claim, is_fraud in zip(
                told["claim_id"].to_pylist(), told["is_fraud"].to_pylist(), strict=True
            )
            if is_fraud
        )
    return np.array([claims.claim_ids[row] in frauds for row in rows.tolist()])


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        seeds=(SEEDS, "seeds of the simulated worlds"), days=(DAYS, "length of each"),
        as_of=(AS_OF, "what was known by then is learned from"),
    )  # fmt: skip
