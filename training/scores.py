"""The scores of all claims of a training run, as a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from .run import TrainingRun


def scores_of(run: TrainingRun) -> pa.Table:
    """Return one row for each claim of a run whose steps are done.

    Columns: claim_id, event_time_ms, part (train, test, none), is_fraud (null without a verdict),
    weight (how many claims it stands for: above 1 in a sample), margin and probability. The last
    two are of a model that hasn't learned from the claim: out of fold before the test, of the
    judged model since; null for claims without such a score.
    """
    dataset, split = run.dataset, run.split
    part = np.full(len(dataset.labels), "none", dtype="<U5")
    part[split.train], part[split.test] = "train", "test"
    missing = np.isnan(run.margins)
    return pa.table({
        "claim_id": pa.array(dataset.claim_ids, pa.string()),
        "event_time_ms": pa.array(dataset.event_times_ms),
        "part": pa.array(part.tolist(), pa.string()),
        "is_fraud": pa.array(dataset.is_fraud, mask=~dataset.has_label),
        "weight": pa.array(dataset.weights),
        "margin": pa.array(run.margins, mask=missing),
        "probability": pa.array(run.probabilities, mask=missing),
    })  # fmt: skip
