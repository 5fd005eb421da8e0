"""Train the model of the canonical workload: 200 trees of depth 6.

    python -m benchmarks.champion FOLDER       publish the model in this registry

The training rows are the feature vectors that the engine computes. Training runs in a process of
its own, so that its memory isn't counted in a measurement.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.canonical import (
    DOMAIN,
    PARTITIONS,
    START,
    as_records,
    drift_window_ms,
    events,
    to_ms,
)
from benchmarks.line import NOW_MS, Line
from featurestore.offline.tables import DECISIONS
from models.artefact import Draft, Thresholds
from models.baselines import build_baselines
from models.calibration import fit_calibration
from models.kernels.forest import Forest
from models.registry.adapters.folder import FolderRegistry
from models.scorer import Scorer
from monitoring.windows.reference import build_reference
from stream.decisions.outcomes import SCORE_DIGITS
from stream.journal.plan import TopicPartition, plan_of
from stream.offline_rows.rows import build
from training.fitting.fitters import FITTERS, Rows, silent

NAME: Final = "canonical"
TREES, DEPTH = 200, 6
REFERRED_RATIO, REVIEWED_RATIO = 0.05, 0.15
POLICIES, WARM_CLAIMS, CLAIMS = 30_000, 30_000, 40_000


def open_line(
    folder: Path, policies: int, scorer: Scorer | None = None, *, durable: bool = False
) -> Line:
    """Open a log and the other parts of a stream for the canonical domain, in a folder."""
    return Line.open(
        folder, DOMAIN, partitions=PARTITIONS, lateness_days=7,
        drift_window_ms=drift_window_ms(policies), scorer=scorer, durable=durable,
    )  # fmt: skip


def publish_elsewhere(folder: Path) -> None:
    """Train and publish the model in another process."""
    subprocess.run([sys.executable, "-m", "benchmarks.champion", str(folder)], check=True)


def make_champion(folder: Path) -> Scorer:
    """Train and publish the model in another process, then load its scorer."""
    publish_elsewhere(folder)
    return load_champion(folder)


def load_champion(folder: Path) -> Scorer:
    """Load the scorer of the published model."""
    return Scorer.load(FolderRegistry(folder, NAME).load(1))


def served_vectors(policies: int, claims: int) -> NDArray[np.float64]:
    """Compute the feature vectors of canonical claims by the engine, float64[claims, 40]."""
    parts = []
    positions: dict[TopicPartition, int] = {}
    sent = events(policies, claims)
    with tempfile.TemporaryDirectory() as folder:
        line = open_line(Path(folder), policies)
        engine = line.engine()
        while batch := list(islice(sent, 2000)):
            records = as_records(batch, positions)
            effects = engine.step(plan_of(engine.plan + 1, records, None, NOW_MS), records)
            if DECISIONS in effects.rows:
                features = build(DECISIONS, [effects.rows[DECISIONS]])["features"].combine_chunks()
                parts.append(features.values.to_numpy().reshape(len(features), -1))
        line.close()
    return np.concatenate(parts)


def publish(matrix: NDArray[np.float64], folder: Path, seed: int = 7) -> None:
    """Fit a model on half of the vectors, set its thresholds on the other half, and publish it.

    Labels are drawn at random: a few features carry a signal, and there is so much noise that every
    tree grows to its full depth.
    """
    rng = np.random.default_rng(seed)
    known = np.nan_to_num(matrix)
    names = DOMAIN.feature_names
    signal = np.zeros(len(matrix))
    for name in ("total_claim", "injury_share", "phone.count.90d", "of_shop_mean", "severity"):
        column = known[:, names.index(name)]
        signal += (column - column.mean()) / (column.std() or 1.0)
    frauds = signal + rng.normal(0, 2.0, len(matrix)) > 3.0
    half = len(matrix) // 2
    fitted = FITTERS["xgboost"](
        Rows(matrix[:half], frauds[:half]), None,
        {"max_depth": DEPTH, "rounds": TREES, "min_child_weight": 0.01, "reg_lambda": 1.0}, seed,
        silent,
    )  # fmt: skip
    margins = Forest.from_xgboost_json(fitted.model_json).margins(matrix[half:])
    calibration = fit_calibration(margins, frauds[half:])
    scores = np.round(calibration.probabilities(margins), SCORE_DIGITS)
    refer, review = np.quantile(scores, [1 - REFERRED_RATIO, 1 - REVIEWED_RATIO]).tolist()
    reference = build_reference(
        names, matrix[half:], scores, scores >= refer, frauds[half:], refer_threshold=refer
    )
    draft = Draft(
        created_at_ms=to_ms(START),
        domain="benchmarks.canonical",
        definitions=DOMAIN.definitions_digest,
        features=names,
        calibration=calibration,
        thresholds=Thresholds(refer=refer, review=review),
        capacity_per_day=40.0,
        reference=msgspec.Raw(msgspec.json.encode(reference)),
        baselines=build_baselines(names, matrix),
    )
    FolderRegistry(folder, NAME).publish(
        draft, fitted.model_json, actor="benchmark", reason="measured", at_ms=to_ms(START)
    )


if __name__ == "__main__":
    publish(served_vectors(POLICIES, WARM_CLAIMS + CLAIMS)[WARM_CLAIMS:], Path(sys.argv[1]))
