"""The data set: served vectors, and only the verdicts known at the given time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from claimtrace.errors import StateError, UsageError
from featurestore.definitions.verdicts import FRAUD, LEGIT, RETRACTED, UNKNOWN, replaces, verdict_of
from featurestore.definitions.verdicts import NEVER_MS as NEVER
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.tables import definitions_rows, rows_of
from tests.worlds.claims_history import DIGEST, FEATURES, START_MS, label, write_history
from tests.worlds.data_sets import dataset_of
from training.data.dataset import NEVER_MS, claims_query, load_dataset, with_assumed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "offline"


def test_vectors_are_the_served_ones_to_the_bit(folder: Path) -> None:
    history = write_history(folder, claims=300, policies=50)
    dataset = load_dataset(history.store, history.end_ms)
    assert dataset.features == FEATURES
    assert dataset.claim_ids == [f"c-{row:06d}" for row in range(300)]
    assert dataset.matrix.tobytes() == history.matrix.tobytes()
    assert dataset.matrix.flags.c_contiguous
    assert np.array_equal(dataset.event_times_ms, history.times_ms)
    assert dataset.amounts_cents[1] == 1100
    assert len(np.unique(dataset.groups)) <= 50
    assert dataset.lineage["claims"] == 300
    assert dataset.lineage["tables"] == history.store.tables()


def test_a_verdict_counts_from_when_it_was_known(folder: Path) -> None:
    history = write_history(folder, claims=300)
    for at_ms in (history.end_ms, START_MS + 100 * DAY_MS):
        dataset = load_dataset(history.store, at_ms)
        claims = history.times_ms + 5 <= at_ms
        assert len(dataset.claim_ids) == claims.sum()
        known = ((history.known_ms >= 0) & (history.known_ms <= at_ms))[claims]
        expected = np.where(known, history.truth[claims], np.nan)
        assert np.array_equal(dataset.labels, expected, equal_nan=True)
        assert np.array_equal(dataset.has_label, known)
        assert np.all(dataset.label_known_ms[~known] == NEVER_MS)
        assert np.array_equal(dataset.is_fraud, known & history.truth[claims])


def test_the_latest_verdict_by_decision_time_counts(folder: Path) -> None:
    history = write_history(folder, claims=6, days=2)
    late = history.end_ms + DAY_MS
    verdicts = [
        # 0: fraud, then cleared on appeal; 1: the older verdict arrives last.
        label(0, True, late, decided_ms=late),
        label(0, False, late + 5, decided_ms=late + 5),
        label(1, True, late + 1, decided_ms=late + 1),
        label(1, False, late + 9, decided_ms=late),
        # 2: "withdrawn" is no verdict and doesn't undo one; 3 has no other outcome.
        label(2, True, late, decided_ms=late),
        label(2, None, late + 5, decided_ms=late + 5),
        # 4: known only later.
        label(4, True, late + 100, decided_ms=late),
        # A label without a claim.
        label(99, True, late),
    ]
    store = OfflineStore(folder.parent / "other")
    store.append("decisions", history.store.dataset("decisions").to_table(), writer="w", version=0)
    names = [(name, "field", "") for name in FEATURES]
    store.append("definitions", definitions_rows(DIGEST, "t", names), writer="w", version=0)
    store.append("labels", rows_of("labels", verdicts), writer="w", version=0)
    labels = load_dataset(store, late + 10).labels
    assert labels.tolist()[:3] == [0.0, 1.0, 1.0]
    assert np.isnan(labels[3:]).all()
    assert load_dataset(store, late + 100).labels[4] == 1.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["fraud", "legit", "retracted", "withdrawn"]),
            st.integers(0, 3),
        ),
        max_size=20,
    )
)
@settings(max_examples=25, deadline=None)
def test_the_query_chooses_the_verdicts_that_features_have(drawn: list) -> None:
    """The rule stands in SQL here, and in `verdicts.replaces` for features."""
    codes = {"fraud": FRAUD, "legit": LEGIT, "retracted": RETRACTED}
    found: dict[str, tuple[int, int]] = {}
    rows = []
    for at, (claim, outcome, decided_ms) in enumerate(drawn):
        is_fraud = {"fraud": True, "legit": False}.get(outcome)
        row = label(claim, is_fraud, 100 + at // 3, decided_ms)
        rows.append(row | {"outcome": outcome, "position": at, "event_id": f"a-{at}"})
        before = found.get(row["claim_id"], (UNKNOWN, NEVER))
        if outcome in codes and replaces(decided_ms, before[1]):
            found[row["claim_id"]] = codes[outcome], decided_ms
    want = {name: verdict_of(code) == FRAUD for name, (code, _) in found.items()
            if verdict_of(code) != UNKNOWN}  # fmt: skip
    verdicts = claims_query("d", 10**6).partition("WITH verdicts AS (")[2].partition("), firsts")[0]
    database = duckdb.connect()
    database.register("labels", rows_of("labels", rows))
    got = database.execute(f"SELECT claim_id, is_fraud FROM ({verdicts})").fetchall()
    assert dict(got) == want


def test_only_the_newest_definitions_and_each_claim_once(folder: Path) -> None:
    history = write_history(folder, claims=20, days=2)
    rows = history.store.dataset("decisions").to_table().to_pylist()
    later = [
        row | {"log_time_ms": row["log_time_ms"] + 10**9, "position": 900 + n}
        for n, row in enumerate(rows[:5])
    ]
    again = [row | {"features": [value + 1 for value in row["features"]]} for row in later]
    newer = [
        row
        | {"definitions": "e" * 64, "features": [1.0], "claim_id": f"n-{n}"}
        | {"position": 950 + n, "log_time_ms": row["log_time_ms"] + 10**10}
        for n, row in enumerate(rows[:3])
    ]
    history.store.append("decisions", rows_of("decisions", again), writer="w", version=1)
    dataset = load_dataset(history.store, 2 * history.end_ms)
    assert len(dataset.claim_ids) == len(set(dataset.claim_ids)) == 20
    assert dataset.matrix.tobytes() == history.matrix.tobytes()
    history.store.append("decisions", rows_of("decisions", newer), writer="w", version=2)
    with pytest.raises(UsageError, match="doesn't know these definitions"):
        load_dataset(history.store, 2 * history.end_ms)
    one = definitions_rows("e" * 64, "t", [("only", "field", "")])
    history.store.append("definitions", one, writer="e", version=0)
    dataset = load_dataset(history.store, 2 * history.end_ms)
    assert (dataset.features, dataset.claim_ids) == (["only"], ["n-0", "n-1", "n-2"])


def test_a_claim_without_a_policy_is_its_own_group(folder: Path) -> None:
    history = write_history(folder, claims=10, days=2)
    rows = history.store.dataset("decisions").to_table().to_pylist()
    store = OfflineStore(folder.parent / "other")
    keys = ["p", "p", None, None, "c-000002"]
    alone = [row | {"policy_key": key} for row, key in zip(rows, keys, strict=False)]
    store.append("decisions", rows_of("decisions", alone), writer="w", version=0)
    for table in ("labels", "definitions"):
        store.append(table, history.store.dataset(table).to_table(), writer="w", version=0)
    groups = load_dataset(store, history.end_ms).groups
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 4


def test_missing_tables_are_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="no decisions yet"):
        load_dataset(OfflineStore(folder), 0)
    history = write_history(folder, claims=10, days=2)
    with pytest.raises(UsageError, match="no decision was known by then"):
        load_dataset(history.store, START_MS - 1)
    short = history.store.dataset("decisions").to_table().to_pylist()[:1]
    short[0] |= {"claim_id": "short", "features": [1.0]}
    history.store.append("decisions", rows_of("decisions", short), writer="w", version=1)
    with pytest.raises(StateError, match=r"vectors of \[1, 6\] numbers"):
        load_dataset(history.store, history.end_ms)


def test_no_report_for_long_enough_counts_as_legitimate_where_that_is_said() -> None:
    dataset = dataset_of(500, seed=1, policies=9)
    only_frauds = dataclasses.replace(
        dataset, labels=np.where(dataset.is_fraud, 1.0, np.nan),
        label_known_ms=np.where(dataset.is_fraud, dataset.label_known_ms, NEVER_MS),
    )  # fmt: skip
    found = with_assumed(only_frauds, 30 * DAY_MS)
    old = only_frauds.event_times_ms <= dataset.at_ms - 30 * DAY_MS
    assert np.array_equal(found.has_label, old | dataset.is_fraud)
    assert np.array_equal(found.is_fraud, dataset.is_fraud)
    legit = found.labels == 0
    assert found.lineage["assumed_legit"] == legit.sum() > 100
    assert (found.label_known_ms[legit] - found.event_times_ms[legit] == 30 * DAY_MS).all()
    assert found.label_known_ms.max() <= dataset.at_ms
