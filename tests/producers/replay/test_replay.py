"""Replay of tables: mapping, exact amounts, order of arrival, labels, pace, errors by row."""

from __future__ import annotations

import csv
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS, ManualClock
from claimtrace.errors import ConfigError, UsageError
from claimtrace.events import Event, Outgoing
from claimtrace.ids import partition_of
from claimtrace_examples.auto_claims import DOMAIN
from claimtrace_examples.card_payments import DOMAIN as PAYMENTS
from producers.adapters.files import read_mapping, replay_files, row_batches
from producers.replay.mapping import ReplayMapping, load_mapping
from producers.replay.mapping_check import KnownEvents
from producers.replay.order import merge_by_arrival, paced
from producers.replay.replay import Replay
from producers.replay.rows import RowBatch
from producers.sending.sink import ListSink
from tests.worlds.real_data import BESIDE, needs

MAPPING = b"""
topic = "claims.filed"
key = "policy_id"
time = { field = "filed_at", column = "Date" }
constants = { currency = "EUR" }

[fields]
claim_id = { column = "No", prefix = "c-" }
policy_id = "Policy"
total_claim_cents = { column = "Amount", kind = "cents" }
num_vehicles_involved = { column = "Cars", kind = "integer" }
incident_type = "Type"

[label]
column = "Fraud"
values = { "1" = "fraud", "0" = "legit" }
delay = "2d"
topic = "claims.adjudicated"
id_field = "adjudication_id"
time_field = "decided_at"
event_id_field = "claim_id"
constants = { source = "file" }
"""
NOW_MS = 1_790_000_000_000
CLAIMS = KnownEvents(DOMAIN.events)


class Thing(Event, topic="t", id="a", time="at", frozen=True):
    a: str
    at: datetime | None = None
    p: str | None = None
    n: float | None = None
    cents: int | None = None


THINGS = KnownEvents([Thing])


def things(mapping: ReplayMapping, columns: dict[str, list[Any]]) -> list[Outgoing]:
    replay = Replay(mapping, THINGS, 1, now_ms)
    return list(replay.records([RowBatch(1, columns)] if columns else []))


HEADER = ("No", "Policy", "Date", "Amount", "Cars", "Type", "Fraud", "Unused")
ROWS = (
    ("1", "p1", "2024-01-01", "1071.01", "2", "N/A", "0", "x"),
    ("2", "p2", "2024-01-02T10:00:00+02:00", "0.1", "", 'a "b"\nc', "1", "x"),
    ("3", "p1", "2024-01-01T12:00:00", "", "1", "", "?", "x"),
    ("4", "p3", "2024-01-05", "12", "1.0", "Theft", "1", "x"),
)


def write_csv(path: Path, rows: tuple[tuple[str, ...], ...] = ROWS) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows((HEADER, *rows))
    return path


def replayed(path: Path, **changes: Any) -> list[Outgoing]:
    mapping = msgspec.structs.replace(load_mapping(MAPPING), **changes)
    return list(Replay(mapping, CLAIMS, 4, now_ms, path.name).records(row_batches(path, mapping)))


def now_ms() -> int:
    return NOW_MS


def body(record: Outgoing) -> dict[str, Any]:
    assert record.value is not None
    return dict(msgspec.json.decode(record.value))


def test_rows_become_events_and_labels_in_order_of_arrival(tmp_path: Path) -> None:
    records = replayed(write_csv(tmp_path / "claims.csv"))
    events = [body(record) for record in records]
    assert events[0] == {
        "currency": "EUR",
        "filed_at": "2024-01-01T00:00:00.000Z",
        "claim_id": "c-1",
        "policy_id": "p1",
        "total_claim_cents": 107101,
        "num_vehicles_involved": 2,
        "incident_type": "N/A",
        "schema_version": 1,
    }
    assert events[1]["filed_at"] == "2024-01-02T08:00:00.000Z"
    assert events[1]["incident_type"] == 'a "b"\nc'
    assert events[1]["total_claim_cents"] == 10
    assert "num_vehicles_involved" not in events[1]
    assert "incident_type" not in events[2]
    order = [(event["claim_id"], event.get("outcome")) for event in events]
    assert order == [
        ("c-1", None),
        ("c-2", None),
        ("c-3", None),
        ("c-1", "legit"),
        ("c-2", "fraud"),
        ("c-4", None),
        ("c-4", "fraud"),
    ]
    times = [record.log_time_ms for record in records]
    assert times == sorted(times)
    assert times[2] == times[1], "a row after one with a later time arrives late"
    assert times[3] == times[0] + 2 * DAY_MS
    label = body(records[3])
    assert label == {
        "source": "file",
        "adjudication_id": "label-c-1",
        "decided_at": "2024-01-03T00:00:00.000Z",
        "claim_id": "c-1",
        "outcome": "legit",
        "schema_version": 1,
    }
    for record in records:
        assert record.key is not None
        assert record.partition == partition_of(record.key.decode(), 4)


def test_sorting_has_a_limit(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "claims.csv")
    order = [body(record)["claim_id"] for record in replayed(path, sort=True, label=None)]
    assert order == ["c-1", "c-3", "c-2", "c-4"]
    with pytest.raises(ConfigError, match="more than 3 rows to sort"):
        replayed(path, sort=True, max_sort_rows=3)


def test_parquet_gives_the_same_events(tmp_path: Path) -> None:
    from_csv = replayed(write_csv(tmp_path / "claims.csv"))
    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    typed: dict[str, Any] = {
        **columns,
        "No": [1, 2, 3, 4],
        "Amount": [1071.01, 0.1, None, 12.0],
        "Date": pa.array(
            [1704067200000, 1704182400000, 1704110400000, 1704412800000],
            pa.timestamp("ms"),
        ).cast(pa.timestamp("ns")),
        "Fraud": [0, 1, None, 1],
        "Cars": [2, None, 1, 1],
    }
    pq.write_table(pa.table(typed), tmp_path / "claims.parquet")
    assert replayed(tmp_path / "claims.parquet") == from_csv


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (2, "Amount", "12,50"),
        (2, "Amount", "10.005"),
        (3, "Cars", "1.5"),
        (1, "Date", "yesterday"),
        (4, "Date", ""),
    ],
)
def test_an_unreadable_cell_is_named(tmp_path: Path, row: int, column: str, value: str) -> None:
    rows = [list(each) for each in ROWS]
    rows[row - 1][HEADER.index(column)] = value
    path = write_csv(tmp_path / "claims.csv", tuple(map(tuple, rows)))
    with pytest.raises(UsageError, match=f"row {row} column {column}") as caught:
        replayed(path)
    assert "claims.csv" in caught.value.where
    assert repr(value) in caught.value.what


def test_wrong_files_and_mappings_are_named(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("A,B\n1,2\n")
    with pytest.raises(ConfigError, match=r"no column No, Policy.*it has A, B"):
        replayed(tmp_path / "other.csv")
    (tmp_path / "ragged.csv").write_text("No,Policy\n1,2,3\n")
    (tmp_path / "claims.xlsx").write_text("x")
    (tmp_path / "bad.parquet").write_text("x")
    (tmp_path / "empty.csv").write_text("")
    for name in ("ragged.csv", "claims.xlsx", "bad.parquet", "empty.csv", "missing.csv"):
        with pytest.raises(UsageError, match=name):
            list(row_batches(tmp_path / name, load_mapping(MAPPING)))
    with pytest.raises(UsageError, match=r"missing\.toml"):
        read_mapping(tmp_path / "missing.toml")
    (tmp_path / "good.toml").write_bytes(MAPPING)
    assert read_mapping(tmp_path / "good.toml").label is not None
    base = {"topic": "t", "key": "a", "time": {"column": "T"}, "fields": {"a": "A"}}
    changes: tuple[dict[str, Any], ...] = (
        {"key": "b"},
        {"time": {}},
        {"time": {"unit": "row", "every": "soon"}},
        {"id_field": "z"},
        {"colour": "red"},
        {"fields": {"a": {"column": "A", "kind": "money"}}},
    )
    for change in changes:
        with pytest.raises(ConfigError):
            load_mapping({**base, **change})
    for broken in (b"topic = ", b"\xff"):
        with pytest.raises(ConfigError, match="not a mapping"):
            load_mapping(broken, "x.toml")
    with pytest.raises(ConfigError, match="is not a date"):
        Replay(
            load_mapping({**base, "time": {"column": "T", "origin": "never"}}), THINGS, 1, now_ms
        )


@pytest.mark.parametrize(
    ("time", "cell", "expected"),
    [
        ({"unit": "ms"}, "1700000000123", 1_700_000_000_123),
        ({"unit": "s", "origin": "2018-04-01"}, 31, 1_522_540_831_000),
        ({"unit": "days", "origin": "2018-04-01"}, "0.5", 1_522_540_800_000 + DAY_MS // 2),
        ({"format": "%d/%m/%Y"}, "01/04/2018", 1_522_540_800_000),
        ({"unit": "row", "origin": "2018-04-01", "every": "10m"}, "", 1_522_540_800_000),
    ],
)
def test_times_in_every_unit(time: dict[str, str], cell: Any, expected: int) -> None:
    mapping = load_mapping(
        {"topic": "t", "key": "a", "time": {"column": "T", **time}, "fields": {"a": "A"}}
    )
    batch = RowBatch(1, {"A": ["x"], "T": [cell]})
    assert [r.log_time_ms for r in Replay(mapping, THINGS, 1, now_ms).records([batch])] == [
        expected
    ]


def test_arrival_may_be_a_column_of_its_own() -> None:
    mapping = load_mapping(
        {
            "topic": "t",
            "key": "p",
            "time": {"column": "T", "unit": "ms", "field": "at"},
            "arrival": {"column": "L", "unit": "ms"},
            "fields": {"a": "A", "p": "P", "n": {"column": "N", "kind": "number"}},
        }
    )
    batch = RowBatch(
        1,
        {
            "A": ["x", "y"],
            "P": ["k", None],
            "T": [700_000_000_005, 700_000_000_009],
            "L": [700_000_000_050, 700_000_000_090],
            "N": ["1.5", "2"],
        },
    )
    first, second = Replay(mapping, THINGS, 1, now_ms).records([batch])
    assert (first.log_time_ms, second.log_time_ms) == (700_000_000_050, 700_000_000_090)
    assert body(first)["at"] == "1992-03-07T20:26:40.005Z"
    assert body(first)["n"] == 1.5
    assert second.key is None


@given(st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=2))
def test_cents_are_exact(amount: Decimal) -> None:
    mapping = load_mapping(
        {
            "topic": "t",
            "key": "a",
            "time": {"unit": "row"},
            "fields": {"a": "I", "cents": {"column": "A", "kind": "cents"}},
        }
    )
    for cell in (str(amount), float(amount)):
        (record,) = Replay(mapping, THINGS, 1, now_ms).records(
            [RowBatch(1, {"I": ["x"], "A": [cell]})]
        )
        assert body(record)["cents"] == int(amount * 100)


def test_files_are_merged_paced_and_sent(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "claims.csv")
    mapping = load_mapping(MAPPING)
    sink, clock, progressed = ListSink(), ManualClock(NOW_MS), list[int]()
    files = [(path, mapping), (path, mapping)]
    reports = replay_files(files, CLAIMS, sink, 4, clock, 3600, progressed.append)
    sent = sum(report.events.total() for report in reports)
    assert sent == len(sink.sent) == sum(progressed) == 14
    times = [record.log_time_ms for record in sink.sent]
    assert times == sorted(times)
    assert clock.now_ms() - NOW_MS == (times[-1] - times[0]) // 3600
    assert sink.sent[0] == sink.sent[1], "the first source wins among equals"


def test_pace() -> None:
    records = [Outgoing("t", 0, None, b"", at) for at in (0, 0, 500, 10_000)]
    assert [len(batch) for batch in paced(records, ManualClock(), 0, 3)] == [3, 1]
    assert [len(batch) for batch in paced(records, ManualClock(), 1, 3)] == [2, 1, 1]
    with pytest.raises(ConfigError, match="not 0 or more"):
        list(paced(records, ManualClock(), -1))
    assert list(merge_by_arrival(records[:2], records[2:])) == records


@pytest.mark.real
@needs("handbook")
def test_the_real_transactions_replay() -> None:
    path = BESIDE / "handbook/transactions.parquet"
    mapping = load_mapping(
        {
            "topic": "payments.made",
            "key": "customer_id",
            "time": {"column": "TX_DATETIME", "field": "paid_at"},
            "fields": {
                "payment_id": {"column": "TRANSACTION_ID", "prefix": "tx-"},
                "customer_id": {"column": "CUSTOMER_ID", "prefix": "c-"},
                "amount_cents": {"column": "TX_AMOUNT", "kind": "cents"},
            },
            "label": {
                "column": "TX_FRAUD",
                "values": {"0": "legit", "1": "fraud"},
                "delay": "7d",
                "topic": "payments.reviewed",
                "id_field": "review_id",
                "time_field": "reviewed_at",
                "event_id_field": "claim_id",
            },
        }
    )
    rows = 0
    latest = 0
    for record in Replay(mapping, KnownEvents(PAYMENTS.events), 4, now_ms).records(
        row_batches(path, mapping)
    ):
        assert record.log_time_ms >= latest
        latest = record.log_time_ms
        rows += record.topic == "payments.made"
        if rows == 30_000:
            break
    assert rows == 30_000
