"""A sample of the claims: drawn by a hash while the store is scanned, and weighted."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from claimtrace.errors import UsageError
from featurestore.offline.tables import rows_of
from tests.worlds.claims_history import History, label, write_history
from training.data.dataset import load_dataset
from training.data.queries import Sample
from training.data.split import row_at


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return write_history(tmp_path_factory.mktemp("history") / "offline")


def is_drawn(claim_id: str, share: float, seed: int) -> bool:
    """Say whether a claim is drawn, by the definition of the draw."""
    return int(hashlib.sha256(f"{seed} {claim_id}".encode()).hexdigest()[:15], 16) < share * 16**15


def test_all_frauds_and_a_hashed_share_of_the_others_are_read(history: History) -> None:
    whole = load_dataset(history.store, history.end_ms)
    some = load_dataset(history.store, history.end_ms, sample=Sample(0.2, 7))
    drawn = np.array([is_drawn(each, 0.2, 7) for each in whole.claim_ids])
    kept = np.flatnonzero(drawn | whole.is_fraud)
    assert some.claim_ids == [whole.claim_ids[row] for row in kept]
    assert some.matrix.tobytes() == whole.matrix[kept].tobytes()
    assert np.array_equal(some.labels, whole.labels[kept], equal_nan=True)
    assert np.array_equal(some.fair, drawn[kept])
    assert set(some.weights[some.is_fraud].tolist()) == {1.0}
    assert set(some.weights[~some.is_fraud].tolist()) == {5.0}
    assert some.counted(np.arange(len(kept))) == pytest.approx(len(whole.labels), rel=0.05)
    assert some.lineage["sample"] == {"share": 0.2, "seed": 7}
    other = load_dataset(history.store, history.end_ms, sample=Sample(0.2, 8))
    assert other.claim_ids != some.claim_ids


def test_a_claim_that_was_a_fraud_for_a_while_is_drawn_like_the_others(tmp_path: Path) -> None:
    """Else the others would hold too many of those whose verdict was taken back."""
    history = write_history(tmp_path / "offline", claims=300)
    late = history.end_ms - 10
    back = [label(row, is_fraud=False, known_ms=late) for row in range(300)]
    history.store.append("labels", rows_of("labels", back), writer="w", version=1)
    some = load_dataset(history.store, history.end_ms, sample=Sample(0.3, 7))
    assert not some.is_fraud.any()
    assert all(is_drawn(each, 0.3, 7) for each in some.claim_ids)
    assert some.fair.all()


def test_more_claims_than_fit_are_refused_with_the_share_that_fits(history: History) -> None:
    with pytest.raises(UsageError, match=r"4,000 claims, \d+ of them known frauds") as caught:
        load_dataset(history.store, history.end_ms, max_rows=1000)
    found = re.search(r"--sample ([\d.]+)", caught.value.hint)
    assert found is not None
    share = float(found[1])
    some = load_dataset(history.store, history.end_ms, max_rows=1000, sample=Sample(share, 7))
    assert 800 < len(some.labels) <= 1000
    with pytest.raises(UsageError, match="known frauds") as caught:
        load_dataset(history.store, history.end_ms, max_rows=1000, sample=Sample(0.9, 7))
    assert "--sample 0.1" in caught.value.hint
    with pytest.raises(UsageError, match="more than 100") as caught:
        load_dataset(history.store, history.end_ms, max_rows=100)
    assert caught.value.hint == "raise training.most_rows"


def test_a_claim_decided_twice_counts_once_for_the_limit(tmp_path: Path) -> None:
    history = write_history(tmp_path / "offline", claims=50, days=5)
    rows = history.store.dataset("decisions").to_table().to_pylist()
    again = [row | {"position": row["position"] + 1000} for row in rows]
    history.store.append("decisions", rows_of("decisions", again), writer="w", version=1)
    assert len(load_dataset(history.store, history.end_ms, max_rows=50).labels) == 50


def test_a_share_of_the_claims_is_found_by_what_rows_stand_for() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 7, 100):
        for share in (0.0, 0.25, 0.5, 0.75, 0.99):
            assert row_at(np.ones(size), share) == min(size - 1, int(share * size))
        weights = rng.integers(1, 6, size).astype(np.float64)
        repeated = np.repeat(np.arange(size), weights.astype(int))
        at = row_at(weights, 0.4)
        assert at == repeated[min(len(repeated) - 1, int(0.4 * len(repeated)))]
