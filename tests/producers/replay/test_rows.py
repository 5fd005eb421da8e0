"""Rows: what a worker would refuse is refused first; labels, and why there are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.batches.accepted import Accepted
from claimtrace.buffers.siphash import hash_key
from claimtrace.clock import DAY_MS
from claimtrace.decisions import DEAD_TOPIC
from claimtrace.encoding.decoder import Decoder
from claimtrace.errors import UsageError
from claimtrace.events import Outgoing, Record
from claimtrace.limits import FUTURE_TOLERANCE_MS
from claimtrace.refusals import REASONS
from claimtrace_examples.auto_claims import DOMAIN
from producers.replay.cells import BadCell
from producers.replay.mapping import load_mapping
from producers.replay.mapping_check import KnownEvents
from producers.replay.order import merge_by_arrival, paced
from producers.replay.replay import BY_KEY, Replay
from producers.replay.report import ReplayReport
from producers.replay.rows import RowBatch

NOW_MS = 1_790_000_000_000
KNOWN = KnownEvents(DOMAIN.events, DOMAIN.currency, ("fraud", "legit"), "outcome",
                    "claims.adjudicated")  # fmt: skip
CLAIMS: dict[str, Any] = {
    "topic": "claims.filed",
    "key": "policy_id",
    "time": {"field": "filed_at", "column": "T"},
    "constants": {"currency": "USD"},
    "fields": {
        "claim_id": "A", "policy_id": "P", "narrative": "N", "incident_at": "D",
        "total_claim_cents": {"column": "C", "kind": "cents"},
        "num_injuries": {"column": "I", "kind": "integer"},
    },
    "label": {
        "column": "F", "values": {"1": "fraud", "0": "legit", "2": "open"}, "delay": "30d",
        "topic": "claims.adjudicated", "id_field": "adjudication_id", "time_field": "decided_at",
        "event_id_field": "claim_id",
    },
}  # fmt: skip
COLUMNS = ("A", "P", "T", "N", "D", "C", "I", "F")
GOOD: dict[str, Any] = {
    "A": "c-1", "P": "p-1", "T": "2025-03-01", "N": "said", "D": "2025-02-28", "C": "10.50",
    "I": "2", "F": "1",
}  # fmt: skip


def run(
    rows: list[dict[str, Any]], **changes: Any
) -> tuple[list[Outgoing], list[Outgoing], ReplayReport]:
    """Return events, dead letters and the report of some rows."""
    mapping = load_mapping({**CLAIMS, **changes})
    replay = Replay(mapping, KNOWN, 4, lambda: NOW_MS, "t.csv")
    columns: dict[str, list[Any]] = {name: [] for name in mapping.columns()}
    for row in rows:
        for name in columns:
            columns[name].append({**GOOD, **row}.get(name))
    sent = list(replay.records([RowBatch(1, columns)]))
    events = [record for record in sent if record.topic != DEAD_TOPIC]
    return events, [record for record in sent if record.topic == DEAD_TOPIC], replay.report


CELL = (
    st.sampled_from(["", "NULL", "nan", "c-1", "2025-03-01", "1.50", "7", "x" * 300, "\0", "a..b"])
    | st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.booleans()
    | st.binary(max_size=6) | st.datetimes() | st.decimals() | st.lists(st.text(), max_size=1)
    | st.builds(BadCell, st.text(max_size=3))
)  # fmt: skip


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, CELL)), max_size=8))
@settings(deadline=None)
def test_every_row_is_an_event_that_a_worker_takes_or_a_dead_letter(
    rows: list[dict[str, Any]],
) -> None:
    """Total: any cells give one record a row, each named; nothing is lost, nothing raises."""
    events, dead, report = run(rows, on_bad_row="dead")
    claims = [record for record in events if record.topic == "claims.filed"]
    assert report.rows == len(rows) == len(claims) + len(dead)
    assert report.refused.total() == len(dead)
    labels = len(events) - len(claims)
    assert labels + report.without_label == len(claims)
    assert report.events.total() == len(events)
    decoder = Decoder(DOMAIN.events, DOMAIN.currency, hash_key(""))
    given = [Record(r.topic, 0, i, r.key, r.value, r.log_time_ms) for i, r in enumerate(events)]
    for answer in decoder.decode(given) if given else ():
        assert isinstance(answer, Accepted)
        assert answer.flags == 0
    times = [record.log_time_ms for record in events]
    assert times == sorted(times)
    assert all(at_ms <= NOW_MS for at_ms in times)
    for letter in dead:
        told = dict(letter.headers)
        assert told["x-dead-reason"].decode() in REASONS
        assert isinstance(json.loads(letter.value or b""), dict)
        assert 1 <= int(told["x-dead-row"]) <= len(rows)


@pytest.mark.parametrize(
    ("cells", "column", "reason"),
    [
        ({"A": ""}, "A", "bad_id"),
        ({"A": "NULL"}, "A", "bad_id"),
        ({"A": float("nan")}, "A", "bad_id"),
        ({"A": "c 1"}, "A", "bad_id"),
        ({"A": "x" * 200}, "A", "bad_id"),
        ({"P": "p" * 200}, "P", "out_of_range"),
        ({"P": ["7"]}, "P", "bad_type"),
        ({"P": {"a": 1}}, "P", "bad_type"),
        ({"P": b"\xff"}, "P", "bad_utf8"),
        ({"P": datetime(2025, 1, 1, tzinfo=UTC)}, "P", "bad_type"),
        ({"N": "a\0b"}, "", "bad_string"),
        ({"N": "x" * 9000}, "N", "out_of_range"),
        ({"C": "-1.00"}, "C", "out_of_range"),
        ({"C": "1000000000.01"}, "C", "out_of_range"),
        ({"C": "1e99999"}, "C", "out_of_range"),
        ({"C": "10.005"}, "C", "bad_type"),
        ({"C": "1,50"}, "C", "bad_type"),
        ({"I": "1.5"}, "I", "bad_type"),
        ({"I": "2000000"}, "I", "out_of_range"),
        ({"I": True}, "I", "bad_type"),
        ({"T": ""}, "T", "bad_time"),
        ({"T": "9999-12-31T23:59:59-23:00"}, "T", "bad_time"),
        ({"T": "9999-12-31"}, "T", "time_out_of_range"),
        ({"T": "2205-03-05"}, "T", "time_out_of_range"),
        ({"T": "1970-01-01"}, "T", "time_out_of_range"),
        ({"D": "31.02.2025"}, "D", "bad_time"),
        ({"F": ["1"]}, "F", "bad_type"),
    ],
)
def test_a_row_is_refused_with_row_column_and_reason(
    cells: dict[str, Any], column: str, reason: str
) -> None:
    rows = [{}, {"A": "c-2", **cells}, {"A": "c-3"}]
    events, dead, report = run(rows, on_bad_row="dead")
    assert [json.loads(e.value or b"")["claim_id"] for e in events] == ["c-1", "c-3"] * 2
    assert report.refused == {reason: 1}
    (letter,) = dead
    told = {name.removeprefix("x-dead-"): text.decode() for name, text in letter.headers}
    assert (told["row"], told["column"], told["reason"]) == ("2", column, reason)
    assert (told["topic"], told["file"]) == ("claims.filed", "t.csv")
    assert told["hint"]
    assert told["detail"]
    assert letter.log_time_ms == NOW_MS
    with pytest.raises(UsageError, match=reason) as caught:
        run(rows)
    assert "t.csv row 2" in caught.value.where
    assert caught.value.where.endswith(f"column {column}") == bool(column)
    assert caught.value.hint


def test_the_clock_of_the_machine_is_the_limit() -> None:
    times = {"time": {"field": "filed_at", "column": "T", "unit": "ms"}}
    events, _, _ = run([{"T": NOW_MS + FUTURE_TOLERANCE_MS, "F": "?"}], **times)
    assert events[0].log_time_ms == NOW_MS, "clocks differ a little; the log's is not moved"
    with pytest.raises(UsageError, match="ahead of this machine's clock"):
        run([{"T": NOW_MS + FUTURE_TOLERANCE_MS + 1}], **times)
    with pytest.raises(UsageError, match="ahead of this machine's clock"):
        run([{"L": NOW_MS + DAY_MS}], arrival={"column": "L", "unit": "ms"})
    with pytest.raises(UsageError, match="more than a day before"):
        run([{"T": NOW_MS, "L": NOW_MS - 2 * DAY_MS}], **times,
            arrival={"column": "L", "unit": "ms"})  # fmt: skip


def test_a_label_that_is_not_known_yet_waits() -> None:
    times = {"time": {"field": "filed_at", "column": "T", "unit": "ms"}}
    events, _, report = run([{"T": NOW_MS - 30 * DAY_MS + 1}, {"T": NOW_MS - 30 * DAY_MS}], **times)
    assert [event.topic for event in events].count("claims.adjudicated") == 1
    assert report.label_ahead == 1
    assert "1 row with an outcome that would be known only after now" in " ".join(report.lines())


def test_a_delay_may_be_a_column() -> None:
    label = {**CLAIMS["label"], "delay": {"column": "W", "unit": "d"}}
    rows = [{"W": "3"}, {"A": "c-2", "W": 0.5}, {"A": "c-3", "W": ""}, {"A": "c-4", "W": "NULL"}]
    events, _, report = run(rows, label=label)
    decided = {
        (found := json.loads(e.value or b""))["claim_id"]: found["decided_at"]
        for e in events
        if e.topic == "claims.adjudicated"
    }
    assert decided == {"c-1": "2025-03-04T00:00:00.000Z", "c-2": "2025-03-01T12:00:00.000Z"}
    assert report.label_delay_missing == 2
    for wrong in ("-1", "soon", "1e40", ["1"]):
        with pytest.raises(UsageError, match="row 1 column W"):
            run([{"W": wrong}], label=label)


def test_rows_without_a_label_say_why() -> None:
    texts = ["1", "1 ", "Y", "Y", "", None, "NULL", 1.0, True, b"0", float("nan"), "2"]
    rows = [{"A": f"c-{i}", "F": text} for i, text in enumerate(texts)]
    events, _, report = run(rows)
    assert report.events["claims.adjudicated"] == 4
    assert (report.label_texts.total, report.label_missing) == (4, 4)
    said = report.lines()
    assert "8 rows without a label" in said
    assert "  4 rows with a text that `values` doesn't name: 'Y', '1 ', 'true'" in said
    assert "1 outcome is not a label of the domain: 'open'" in said
    assert report.as_dict()["rows_without_label"]["texts"] == {"Y": 2, "1 ": 1, "true": 1}
    del events


def test_outcomes_of_a_table_of_verdicts_are_counted() -> None:
    mapping = {
        "topic": "claims.adjudicated", "key": "claim_id",
        "time": {"field": "decided_at", "column": "T"},
        "fields": {"adjudication_id": "A", "claim_id": "P", "outcome": "F"}, "label": None,
        "constants": {},
    }  # fmt: skip
    rows = [{"A": f"v-{i}", "F": text} for i, text in enumerate(("fraud", "Fraud", "open", ""))]
    _, _, report = run(rows, **mapping)
    assert report.other_outcomes.counts == {"Fraud": 1, "open": 1}


def test_a_mapping_may_say_what_else_is_missing() -> None:
    fields = {**CLAIMS["fields"], "policy_id": {"column": "P", "missing": ["99999"]}}
    events, _, _ = run([{"P": 99999, "N": "-9"}], fields=fields, missing=["-9"])
    event = json.loads(events[0].value or b"")
    assert "policy_id" not in event
    assert "narrative" not in event
    assert events[0].key is None


def test_the_zone_of_the_mapping_is_that_of_every_time() -> None:
    events, _, _ = run([{"T": "2025-03-01T09:15:00"}], zone="America/New_York")
    event = json.loads(events[0].value or b"")
    assert event["filed_at"] == "2025-03-01T14:15:00.000Z"
    assert event["incident_at"] == "2025-02-28T05:00:00.000Z"


def test_dead_letters_wait_for_nothing() -> None:
    mapping = load_mapping({**CLAIMS, "on_bad_row": "dead"})
    bad = RowBatch(1, {name: [GOOD[name]] * 2 for name in COLUMNS}, {1: "is torn"})
    replays = [Replay(mapping, KNOWN, BY_KEY, lambda: NOW_MS) for _ in range(2)]
    merged = list(merge_by_arrival(*(replay.records([bad]) for replay in replays)))
    assert [record.topic for record in merged].count(DEAD_TOPIC) == 2
    assert {record.partition for record in merged} == {BY_KEY}
    log_times = [record.log_time_ms for record in merged if record.topic != DEAD_TOPIC]
    assert log_times == sorted(log_times)
    from claimtrace.clock import ManualClock

    clock = ManualClock()
    assert sum(len(batch) for batch in paced(merged, clock, 1.0)) == 6
    assert clock.now_ms() == 30 * DAY_MS


def test_many_texts_are_counted_within_bounds() -> None:
    report = ReplayReport()
    for i in range(5000):
        report.label_texts.add(f"{i} " + "x" * 1000)
    assert report.label_texts.total == 5000
    assert len(report.label_texts.counts) == 1000
    assert str(report.label_texts).endswith(", ...")
    for i in range(100):
        report.refuse("bad_id", f"row {i}")
    assert len(report.refusals) == 5


def test_a_prefix_makes_no_id_of_a_missing_value() -> None:
    fields = {
        **CLAIMS["fields"],
        "claim_id": {"column": "A", "prefix": "usa-"},
        "policy_id": {"column": "P", "prefix": "usa-"},
    }
    (event, *_), _, _ = run([{"P": "N/A"}], fields=fields)
    assert json.loads(event.value or b"")["claim_id"] == "usa-c-1"
    assert json.loads(event.value or b"")["policy_id"] == "N/A", "as the engine knows it"
    for cell in ("NULL", "\\N", "nan"):
        with pytest.raises(UsageError, match="bad_id"):
            run([{"A": cell}], fields=fields)
