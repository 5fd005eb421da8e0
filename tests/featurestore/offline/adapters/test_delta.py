"""The offline store appends exactly once through crashes and races; its SQL is read-only."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimtrace.errors import StateError, StoreUnavailable, Superseded, UsageError
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.adapters.queries import feature_names
from featurestore.offline.tables import SCHEMAS, definitions_rows, rows_of


def decision(
    position: int, *, definitions: str = "d1", features: list[float] | None = None
) -> dict:
    return {
        "decision_id": f"id-{position}",
        "claim_id": f"c-{position}",
        "policy": "auto",
        "topic": "claims.filed",
        "partition": 0,
        "position": position,
        "event_time_ms": 1_000 + position,
        "log_time_ms": 1_000 + position,
        "known_time_ms": 1_000 + position,
        "band": "low",
        "outcome": "approve",
        "definitions": definitions,
        "rules_digest": "r",
        "flags": ["late"],
        "rules": [],
        "features": [0.5, float("nan")] if features is None else features,
        "feature_hash": "h",
        "chain": "c",
        "policy_key": "p-1",
    }


def label(position: int, is_fraud: bool | None = True) -> dict:
    return {
        "claim_id": f"c-{position}",
        "event_id": f"a-{position}",
        "outcome": "fraud",
        "is_fraud": is_fraud,
        "decided_at_ms": 5,
        "known_time_ms": 6,
        "log_time_ms": 6,
        "topic": "claims.adjudicated",
        "partition": 0,
        "position": position,
    }


def labels(*positions: int) -> pa.Table:
    return rows_of("labels", [label(position) for position in positions])


@pytest.fixture
def store(tmp_path: Path) -> OfflineStore:
    return OfflineStore(tmp_path / "offline")


def count(store: OfflineStore, table: str) -> int:
    return store.dataset(table).count_rows()


def test_an_append_happens_once(store: OfflineStore, tmp_path: Path) -> None:
    assert store.committed("labels", "w") == -1
    assert store.append("labels", labels(1, 2), writer="w", version=0)
    assert not store.append("labels", labels(1, 2), writer="w", version=0)
    assert store.append("labels", labels(3), writer="w", version=7)
    assert not store.append("labels", labels(9), writer="w", version=6)
    reopened = OfflineStore(tmp_path / "offline")
    assert reopened.committed("labels", "w") == 7
    assert not reopened.append("labels", labels(3), writer="w", version=7)
    assert count(reopened, "labels") == 3
    assert reopened.tables() == {"labels": 2}


def test_writers_count_apart_and_an_empty_append_counts(store: OfflineStore) -> None:
    assert store.append("labels", labels(), writer="a", version=3)
    assert store.append("labels", labels(1), writer="b", version=0)
    assert (store.committed("labels", "a"), store.committed("labels", "b")) == (3, 0)
    assert not store.append("labels", labels(), writer="a", version=3)
    assert count(store, "labels") == 1


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(attempts=st.lists(st.integers(0, 4), max_size=8), data=st.data())
def test_any_order_of_repeats_gives_the_rows_of_the_rising_versions(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("offline")
    store, expected = OfflineStore(folder), []
    for version in attempts:
        if data.draw(st.booleans()):
            store = OfflineStore(folder)  # a restart
        done = store.append("labels", labels(version), writer="w", version=version)
        assert done == (version > max(expected, default=-1))
        if done:
            expected.append(version)
    if expected:
        positions = store.dataset("labels").to_table()["position"].to_pylist()
        assert sorted(positions) == expected


@pytest.mark.parametrize("is_new", [True, False])
def test_two_owners_of_one_writer_append_once(
    store: OfflineStore, tmp_path: Path, is_new: bool
) -> None:
    if is_new:
        first = 0
    else:
        first = 1
        store.append("labels", labels(0), writer="w", version=0)
    results: list[bool | str] = []

    def attempt() -> None:
        try:
            mine = OfflineStore(tmp_path / "offline")
            results.append(mine.append("labels", labels(first), writer="w", version=first))
        except StoreUnavailable:
            results.append("retry")

    threads = [Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    assert count(store, "labels") == first + 1


def test_workers_that_start_together_make_a_table_together(tmp_path: Path) -> None:
    rows = definitions_rows("d1", "auto", [("claim.amount_cents", "field", "")])
    for attempt in range(5):
        stores = [OfflineStore(tmp_path / str(attempt)) for _ in range(4)]
        done: list[bool] = []

        def append(store: OfflineStore, writer: str, done: list[bool] = done) -> None:
            done.append(store.append("definitions", rows, writer=writer, version=1))

        threads = [Thread(target=append, args=(s, f"w{i}")) for i, s in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [True] * 4
        assert stores[0].dataset("definitions").count_rows() == 4


def test_several_writers_move_on_together_or_not_at_all(store: OfflineStore) -> None:
    before, after = {"p0": -1, "p1": -1}, {"p0": 4, "p1": 4}
    assert store.append_once("labels", labels(1, 2), versions=after, before=before)
    assert not store.append_once("labels", labels(1, 2), versions=after, before=before)
    # another worker owns p1 now, and has stored rows for it
    assert store.append_once("labels", labels(3), versions={"p1": 6}, before={"p1": 4})
    with pytest.raises(Superseded, match="p1"):
        store.append_once("labels", labels(3, 4), versions={"p0": 7, "p1": 7}, before=after)
    assert (store.committed("labels", "p0"), store.committed("labels", "p1")) == (4, 6)
    assert store.append_once("labels", labels(4), versions={"p0": 7}, before={"p0": 4})
    assert count(store, "labels") == 4


def test_of_two_owners_that_overlap_one_stores(tmp_path: Path) -> None:
    """Both workers believe that they own p0, and append at the same moment."""
    stores = [OfflineStore(tmp_path / "offline") for _ in range(2)]
    assert stores[0].append_once("labels", labels(0), versions={"p0": 0}, before={"p0": -1})
    stores[1].committed("labels", "p0")
    results: list[str] = []

    def append(each: OfflineStore, version: int) -> None:
        for _ in range(20):
            try:
                each.append_once("labels", labels(1), versions={"p0": version}, before={"p0": 0})
                results.append("stored")
                return
            except StoreUnavailable:
                continue
            except Superseded:
                results.append("superseded")
                return

    threads = [Thread(target=append, args=(each, 5 + i)) for i, each in enumerate(stores)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(results) == ["stored", "superseded"]
    assert count(stores[0], "labels") == 2


def test_a_handle_that_is_behind_sees_what_the_other_committed(
    store: OfflineStore, tmp_path: Path
) -> None:
    store.append("labels", labels(0), writer="w", version=0)
    other = OfflineStore(tmp_path / "offline")
    assert other.append("labels", labels(1), writer="w", version=1)
    assert not store.append("labels", labels(1), writer="w", version=1)
    assert store.append("labels", labels(2), writer="w", version=2)
    assert count(other, "labels") == 3


def test_transactions_outlive_checkpoints_and_compaction(store: OfflineStore) -> None:
    for version in range(6):
        store.append("labels", labels(version), writer="w", version=version)
    table = DeltaTable(store._path("labels"))
    table.create_checkpoint()
    assert store.compact("labels") == {"files_added": 1, "files_removed": 6}
    assert store.vacuum("labels") == 0
    assert store.vacuum("labels", keep_hours=0, dry_run=True) == 6
    assert store.vacuum("labels", keep_hours=0) == 6
    fresh = OfflineStore(store._folder)
    assert fresh.committed("labels", "w") == 5
    assert not fresh.append("labels", labels(5), writer="w", version=5)
    assert sorted(fresh.dataset("labels").to_table()["position"].to_pylist()) == list(range(6))


def test_all_tables_round_trip_with_their_types(store: OfflineStore) -> None:
    rows = {
        "decisions": [decision(1), decision(2, features=[])],
        "labels": [label(1), label(2, None)],
    }
    for table, schema in SCHEMAS.items():
        sent = rows_of(table, rows.get(table, []))
        store.append(table, sent, writer="w", version=0)
        back = store.dataset(table).to_table()
        assert back.schema.names == schema.names
        assert [f.type.id for f in back.schema] == [f.type.id for f in schema]
        assert repr(back.to_pylist()) == repr(sent.to_pylist())
    assert set(store.tables()) == set(SCHEMAS)


def test_rows_that_do_not_fit_are_refused_by_name(store: OfflineStore) -> None:
    whole = labels(1)
    with pytest.raises(UsageError, match="missing columns: claim_id"):
        store.append("labels", whole.drop_columns(["claim_id"]), writer="w", version=0)
    with pytest.raises(UsageError, match="unknown columns: extra"):
        store.append("labels", whole.append_column("extra", pa.array([1])), writer="w", version=0)
    holes = whole.set_column(1, "event_id", pa.array([None], pa.string()))
    with pytest.raises(UsageError, match="nulls in: event_id"):
        store.append("labels", holes, writer="w", version=0)
    index = whole.schema.get_field_index("position")
    words = whole.set_column(index, "position", pa.array(["x"]))
    with pytest.raises(UsageError, match="column position is not int64"):
        store.append("labels", words, writer="w", version=0)
    with pytest.raises(UsageError, match="not a name of a table"):
        store.append("../labels", whole, writer="w", version=0)
    with pytest.raises(UsageError, match="versions start at 0"):
        store.append("labels", whole, writer="w", version=-1)
    assert store.tables() == {}


def test_optional_columns_may_be_left_out_and_order_is_free(store: OfflineStore) -> None:
    names = [n for n in labels(1).column_names if n != "source"][::-1]
    store.append("labels", labels(1).select(names), writer="w", version=0)
    assert store.dataset("labels").to_table()["source"].to_pylist() == [None]


def test_a_table_of_an_older_make_gains_the_new_columns(store: OfflineStore) -> None:
    old = labels(1).drop_columns(["source"])
    write_deltalake(store._path("labels"), old)
    assert store.append("labels", labels(2), writer="w", version=0)
    assert store.dataset("labels").to_table()["source"].to_pylist() == [None, None]
    assert store.sql("SELECT source FROM labels").num_rows == 2


def test_no_id_or_amount_stands_in_the_log(store: OfflineStore) -> None:
    row = decision(1) | {"claim_id": "secret-claim", "amount_cents": 123456789}
    store.append("decisions", rows_of("decisions", [row]), writer="w", version=0)
    files = Path(store._path("decisions"), "_delta_log").glob("*.json")
    log = "".join(file.read_text() for file in files)
    assert "secret-claim" not in log
    assert "123456789" not in log
    assert "log_time_ms" in log


def test_a_missing_table_names_the_nearest(store: OfflineStore) -> None:
    store.append("labels", labels(1), writer="w", version=0)
    with pytest.raises(UsageError, match="did you mean labels"):
        store.dataset("label")
    with pytest.raises(UsageError, match="no table drift"):
        store.compact("drift")


def test_a_damaged_table_says_where(store: OfflineStore) -> None:
    store.append("labels", labels(1), writer="w", version=0)
    log = Path(store._path("labels"), "_delta_log", "00000000000000000000.json")
    log.write_text("{")
    with pytest.raises((StateError, StoreUnavailable), match="labels"):
        OfflineStore(store._folder).dataset("labels")


def test_sql_over_tables_and_the_vectors_view(store: OfflineStore) -> None:
    old = [decision(1, definitions="d0", features=[1.0])]
    new = [decision(i, features=[float(i), float("nan")]) for i in (2, 3)]
    store.append("decisions", rows_of("decisions", old + new), writer="w", version=0)
    store.append(
        "definitions", definitions_rows("d0", "auto", [("a", "field", "")]), writer="d0", version=0
    )
    two = definitions_rows(
        "d1", "auto", [("claim.amount", "field", "x"), ('odd"name', "field", "")]
    )
    store.append("definitions", two, writer="d1", version=0)
    store.append("definitions", two, writer="other-worker", version=0)
    assert store.sql("SELECT count(*) AS n FROM decisions").to_pylist() == [{"n": 3}]
    shown = store.sql('SELECT claim_id, "claim.amount", "odd""name" FROM vectors ORDER BY 1')
    assert shown["claim_id"].to_pylist() == ["c-2", "c-3"]
    assert shown["claim.amount"].to_pylist() == [2.0, 3.0]
    assert feature_names(store, "d1") == ["claim.amount", 'odd"name']
    with pytest.raises(UsageError, match="doesn't know these definitions"):
        feature_names(store, "d9")


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE x AS SELECT 1",
        "COPY labels TO 'x.csv'",
        "INSERT INTO labels SELECT * FROM labels",
        "DELETE FROM labels",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "ATTACH 'x.db'",
        "SELECT 1; SELECT 2",
        "",
        "SELEC 1",
        "SELECT * FROM 'x.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/*')",
        "SELECT nope FROM labels",
        "SELECT * FROM lables",
        "SELECT * FROM store",
    ],
)
def test_sql_only_reads_the_tables(store: OfflineStore, query: str) -> None:
    store.append("labels", labels(1), writer="w", version=0)
    with pytest.raises(UsageError):
        store.sql(query)
    assert count(store, "labels") == 1


def test_sql_errors_name_what_is_near(store: OfflineStore) -> None:
    store.append("labels", labels(1), writer="w", version=0)
    with pytest.raises(UsageError) as caught:
        store.sql("SELECT is_frad FROM labels")
    assert "is_fraud" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        store.sql("SELECT * FROM lables")
    assert "labels" in caught.value.hint
    assert store.sql("DESCRIBE labels").num_rows == len(SCHEMAS["labels"])
    assert store.sql("EXPLAIN SELECT * FROM labels").num_rows == 1


def test_sql_on_an_empty_store(store: OfflineStore) -> None:
    assert store.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert store.tables() == {}
