"""A synthetic history in an offline store: decisions with their vectors, and late verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.tables import definitions_rows, rows_of

START_MS = 1_700_000_000_000 // DAY_MS * DAY_MS
FEATURES = ["claim.amount", "shop.rate", "policy.age", "noise.a", "noise.b", "mostly.missing"]
DIGEST = "d" * 64


@dataclass
class History:
    store: OfflineStore
    matrix: NDArray[np.float64]
    truth: NDArray[np.bool_]
    times_ms: NDArray[np.int64]
    known_ms: NDArray[np.int64]
    end_ms: int


def write_history(
    folder: Path,
    *,
    claims: int = 4000,
    days: int = 300,
    seed: int = 1,
    signal: float = 2.0,
    digest: str = DIGEST,
    mean_delay_days: float = 15.0,
    policies: int | None = None,
) -> History:
    """Write the tables that training reads; a seventh of the verdicts never come."""
    rng = np.random.default_rng(seed)
    times = START_MS + np.sort(rng.integers(0, days * DAY_MS, claims))
    truth = rng.random(claims) < 0.08
    matrix = rng.normal(size=(claims, len(FEATURES)))
    matrix[:, 0] += signal * truth * (rng.random(claims) < 0.7)
    matrix[:, 1] += signal * truth * (rng.random(claims) < 0.5)
    matrix[rng.random(claims) < 0.9, 5] = np.nan
    delays = np.minimum(rng.exponential(mean_delay_days * DAY_MS, claims), 400 * DAY_MS)
    known = np.where(rng.random(claims) < 0.85, times + delays.astype(np.int64), -1)
    keys = rng.integers(0, policies or claims, claims)
    store = OfflineStore(folder)
    names = [(name, "field", "") for name in FEATURES]
    store.append("definitions", definitions_rows(digest, "test", names), writer=digest, version=0)
    decisions = [
        {
            "decision_id": f"id-{row}",
            "claim_id": f"c-{row:06d}",
            "policy": "test",
            "topic": "claims.filed",
            "partition": row % 2,
            "position": row,
            "event_time_ms": int(times[row]),
            "log_time_ms": int(times[row]) + 5,
            "known_time_ms": int(times[row]) + 5,
            "band": "low",
            "outcome": "approve",
            "definitions": digest,
            "rules_digest": "r",
            "flags": [],
            "rules": [],
            "features": matrix[row].tolist(),
            "feature_hash": "h",
            "chain": "c",
            "policy_key": f"p-{keys[row]}",
            "amount_cents": 1000 + row % 500 * 100,
        }
        for row in range(claims)
    ]
    store.append("decisions", rows_of("decisions", decisions), writer="w", version=0)
    labels = [
        label(row, bool(truth[row]), int(known[row])) for row in range(claims) if known[row] >= 0
    ]
    store.append("labels", rows_of("labels", labels), writer="w", version=0)
    return History(store, matrix, truth, times, known, int(START_MS + days * DAY_MS))


def label(row: int, is_fraud: bool | None, known_ms: int, decided_ms: int | None = None) -> dict:
    """Return one row of `labels` about claim number `row`."""
    return {
        "claim_id": f"c-{row:06d}",
        "event_id": f"a-{row}-{known_ms}",
        "outcome": "fraud" if is_fraud else "legit",
        "is_fraud": is_fraud,
        "decided_at_ms": known_ms if decided_ms is None else decided_ms,
        "known_time_ms": known_ms,
        "log_time_ms": known_ms,
        "topic": "claims.adjudicated",
        "partition": 0,
        "position": row,
    }
