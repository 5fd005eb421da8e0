"""Parquet files of appends: every reader gets the same rows back, for any values."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import StateError
from featurestore.offline.adapters.delta import CHECKPOINT_EVERY, CLEAN_EVERY, OfflineStore
from featurestore.offline.adapters.parquet import add_file, layout_of, write_parquet
from featurestore.offline.tables import SCHEMAS, rows_of, statistics_columns

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def values(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_list(kind):
        return st.lists(values(kind.value_type), max_size=3)
    return {
        pa.string(): st.text(max_size=40) | st.sampled_from(["claims.filed", "0" * 64]),
        pa.binary(): st.binary(max_size=60),
        pa.bool_(): st.booleans(),
        pa.int32(): st.integers(-(1 << 31), (1 << 31) - 1),
        pa.int64(): INT64 | st.sampled_from([0, -(1 << 63), (1 << 63) - 1]),
        pa.float64(): st.floats(),
    }[kind]


def rows(table: str) -> st.SearchStrategy[pa.Table]:
    columns = {
        field.name: values(field.type) | st.none() if field.nullable else values(field.type)
        for field in SCHEMAS[table]
    }
    return st.lists(st.fixed_dictionaries(columns), max_size=6).map(
        lambda found: rows_of(table, found)
    )


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted(SCHEMAS))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_rows_come_back_the_same_in_every_reader(
    tmp_path_factory: pytest.TempPathFactory, table: str, data: st.DataObject
) -> None:
    sent = data.draw(rows(table))
    folder = tmp_path_factory.mktemp("parquet")
    action = add_file(pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem()), sent)
    file = folder / action.path
    assert action.size == file.stat().st_size
    assert repr(pq.read_table(file).to_pylist()) == repr(sent.to_pylist())
    with duckdb.connect() as session:
        shown = session.read_parquet(str(file)).to_arrow_table()
    assert repr(shown.to_pylist()) == repr(sent.to_pylist())
    stats = json.loads(action.stats)
    assert stats["numRecords"] == len(sent)
    for name in statistics_columns(sent.schema):
        present = [value for value in sent[name].to_pylist() if value is not None]
        assert stats["nullCount"][name] == len(sent) - len(present)
        if present:
            found = stats["minValues"][name], stats["maxValues"][name]
            assert found == (min(present), max(present))


@pytest.mark.parametrize("table", sorted(SCHEMAS))
def test_a_layout_names_every_column_once(table: str) -> None:
    layout = layout_of(SCHEMAS[table])
    file = pq.ParquetFile(pa.BufferReader(_written(rows_of(table, []))))
    paths = {file.schema.column(i).path for i in range(len(file.schema))}
    assert layout.compression.keys() == paths
    assert set(layout.dictionary) | layout.encoding.keys() <= paths
    assert not set(layout.dictionary) & layout.encoding.keys()


def _written(sent: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    write_parquet(sent, sink)
    return sink.getvalue()


def event(position: int, *, event_time_ms: int | None) -> dict:
    return {
        "topic": "claims.filed",
        "partition": 0,
        "position": position,
        "value": b"{}" * position,
        "log_time_ms": 1_000 + position,
        "event_id": f"e-{position}" if event_time_ms is not None else None,
        "event_time_ms": event_time_ms,
        "accepted": event_time_ms is not None,
        "reason": None if event_time_ms is not None else "json",
    }


@pytest.fixture
def store(tmp_path: Path) -> OfflineStore:
    return OfflineStore(tmp_path / "offline")


def append(store: OfflineStore, version: int, event_time_ms: int | None = None) -> None:
    sent = rows_of("events", [event(version, event_time_ms=event_time_ms)])
    assert store.append("events", sent, writer="w", version=version)


def positions(store: OfflineStore, where: str) -> list[int]:
    found = store.sql(f"SELECT position FROM events WHERE {where} ORDER BY 1")
    return found["position"].to_pylist()


def test_no_row_is_skipped_that_is_asked_for(store: OfflineStore) -> None:
    """With files of our writer and of delta-rs, with and without the nullable time."""
    append(store, 0, event_time_ms=7)
    append(store, 1)
    append(store, 2, event_time_ms=9)
    theirs = rows_of("events", [event(3, event_time_ms=8), event(4, event_time_ms=None)])
    old = WriterProperties(compression="ZSTD", compression_level=1)
    write_deltalake(
        store._path("events"), theirs, mode="append", schema_mode="merge", writer_properties=old
    )
    assert positions(store, "event_time_ms = 9") == [2]
    assert positions(store, "event_time_ms < 9") == [0, 3]
    assert positions(store, "event_time_ms IS NULL") == [1, 4]
    assert positions(store, "event_id = 'e-2' OR reason = 'json'") == [1, 2, 4]
    assert positions(store, "log_time_ms > 1000 AND position < 4") == [1, 2, 3]
    assert store.compact("events") == {"files_added": 1, "files_removed": 4}
    append(store, 5, event_time_ms=10)
    assert positions(store, "true") == list(range(6))


def test_tables_that_are_not_as_we_make_them_are_left_to_delta_rs(store: OfflineStore) -> None:
    """Tables with other statistics in the log or constraints, which our own files would violate."""
    write_deltalake(store._path("events"), rows_of("events", [event(0, event_time_ms=7)]))
    append(store, 1, event_time_ms=8)
    assert positions(store, "event_id = 'e-1'") == [1]
    assert positions(store, "event_id >= 'e'") == [0, 1]
    strict = OfflineStore(Path(store._folder, "strict"))
    append(strict, 0, event_time_ms=7)
    DeltaTable(strict._path("events")).alter.add_constraint({"early": "event_time_ms < 9"})
    append(strict, 1, event_time_ms=8)
    with pytest.raises(StateError, match="validation"):
        append(strict, 2, event_time_ms=9)
    assert positions(strict, "true") == [0, 1]


def with_dictionaries(sent: pa.Table) -> pa.Table:
    for name in ("topic", "reason"):
        at = sent.schema.get_field_index(name)
        sent = sent.set_column(at, name, sent[name].dictionary_encode())
    return sent


def test_dictionaries_are_written_as_what_they_stand_for(store: OfflineStore) -> None:
    sent = rows_of("events", [event(i, event_time_ms=7 if i % 2 else None) for i in range(5)])
    assert store.append("events", with_dictionaries(sent), writer="w", version=0)
    DeltaTable(store._path("events")).alter.add_constraint({"early": "log_time_ms > 0"})
    later = with_dictionaries(rows_of("events", [event(9, event_time_ms=8)]))
    assert store.append("events", later, writer="w", version=1), "delta-rs writes this one"
    found = store.dataset("events").to_table()
    assert found.schema.field("topic").type == pa.string()
    assert sorted(found["position"].to_pylist()) == [0, 1, 2, 3, 4, 9]
    assert positions(store, "reason = 'json'") == [0, 2, 4]
    assert positions(store, "topic = 'claims.filed' AND reason IS NULL") == [1, 3, 9]


def test_the_log_stays_short(store: OfflineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are frequent, old log files go, and a store that is behind catches up."""
    monkeypatch.setattr("featurestore.offline.adapters.delta.CLEAN_EVERY", CHECKPOINT_EVERY)
    append(store, 0)
    behind = OfflineStore(store._folder)
    assert behind.committed("events", "w") == 0
    DeltaTable(store._path("events")).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 0 seconds"}
    )
    last = 3 * CHECKPOINT_EVERY
    for version in range(1, last + 1):
        append(store, version)
    log = Path(store._path("events"), "_delta_log")
    assert len(list(log.glob("*.json"))) <= CHECKPOINT_EVERY + 2
    assert list(log.glob("*.checkpoint.parquet"))
    assert behind.committed("events", "w") == last
    append(behind, last + 1)
    assert OfflineStore(store._folder).committed("events", "w") == last + 1
    assert positions(store, "true") == list(range(last + 2))
    assert CLEAN_EVERY % CHECKPOINT_EVERY == 0


def test_a_store_behind_a_url_takes_the_same_files(tmp_path: Path) -> None:
    store = OfflineStore(f"file://{tmp_path}/offline")
    append(store, 0, event_time_ms=7)
    append(store, 1)
    assert positions(store, "true") == [0, 1]
    assert OfflineStore(tmp_path / "offline").dataset("events").count_rows() == 2
