"""Data sets for training, drawn from a seed."""

from __future__ import annotations

import numpy as np

from claimtrace.clock import DAY_MS
from training.data.dataset import NEVER_MS, Dataset


def dataset_of(
    rows: int,
    *,
    seed: int,
    policies: int,
    delay_days: float = 10,
    days: int = 200,
    growing: bool = False,
) -> Dataset:
    """Return claims with one feature of noise; a tenth of the verdicts never come."""
    rng = np.random.default_rng(seed)
    placed = rng.random(rows) ** 0.5 if growing else rng.random(rows)
    times = np.sort((placed * days * DAY_MS).astype(np.int64))
    known = times + (rng.exponential(delay_days, rows) * DAY_MS).astype(np.int64)
    end = days * DAY_MS
    has = (known <= end) & (rng.random(rows) < 0.9)
    return Dataset(
        definitions="d",
        features=["a"],
        claim_ids=[f"c-{row}" for row in range(rows)],
        matrix=rng.normal(size=(rows, 1)),
        labels=np.where(has, rng.random(rows) < 0.3, np.nan),
        event_times_ms=times,
        label_known_ms=np.where(has, known, NEVER_MS),
        groups=rng.integers(0, policies, rows),
        amounts_cents=np.full(rows, np.nan),
        unseen=np.zeros(rows, np.int64),
        at_ms=end,
        lineage={},
    )
