"""Rows built in columns equal the rows built one by one from each record and decision."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from claimtrace.batches.accepted import Accepted
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.decisions import DECISIONS_TOPIC, Decision, ModelRef
from claimtrace.editions import NEWEST
from claimtrace.events import Record
from claimtrace.refusals import Refusal
from featurestore.offline.tables import DECISIONS, EVENTS, LABELS, SCHEMAS, conform, rows_of
from stream.engine.engine import Engine
from stream.journal.plan import TopicPartition, in_plan_order, plan_of
from stream.offline_rows import rows as rows_module
from stream.offline_rows.arrow_columns import byte_strings, dictionary_texts
from stream.offline_rows.rows import PendingRows
from tests.worlds.models import a_scorer, scorer_of
from tests.worlds.random_events import KEY, a_stream, as_records
from tests.worlds.stream_folder import DOMAIN, terms

PARTITIONS = 3
EngineRun = tuple[dict[str, PendingRows], list[Record], list[Any], list[Decision]]


def some_records(count: int) -> list[Record]:
    """Claims, labels and profiles on several partitions; some refused, tombstones or with a key."""
    positions: dict[TopicPartition, int] = {}
    found = []
    for i, record in enumerate(as_records(a_stream(5, count))):
        topic_partition = record.topic, i % PARTITIONS
        positions[topic_partition] = positions.get(topic_partition, -1) + 1
        value = b"{" if i % 17 == 3 else None if i % 23 == 5 else record.value
        found.append(
            record._replace(
                partition=topic_partition[1], position=positions[topic_partition], value=value,
                key=b"k" if i % 5 == 0 else None,
            )
        )  # fmt: skip
    return list(in_plan_order(found, DOMAIN.tie_order(NEWEST)))


def run_engine(batch: int, models: list[ModelRef | None], records: list[Record]) -> EngineRun:
    """Run records through an engine; returns its rows and the sources to compare them with."""
    engine = Engine(DOMAIN, terms(PARTITIONS), KEY, scorer_of)
    pending: dict[str, PendingRows] = {}
    answers: list[Any] = []
    decisions: list[Decision] = []
    for number, start in enumerate(range(0, len(records), batch), 1):
        part = records[start : start + batch]
        effects = engine.step(plan_of(number, part, models[number % len(models)], 0), part)
        answers += engine.decoder.decode(part)
        decisions += [
            msgspec.json.decode(each.value, type=Decision)
            for each in effects.outgoing
            if each.topic == DECISIONS_TOPIC and each.value
        ]
        for table, rows in effects.rows.items():
            pending.setdefault(table, PendingRows(table)).add(rows)
    return pending, records, answers, decisions


def event_row(record: Record, answer: Accepted | Refusal | None) -> dict[str, Any]:
    accepted = answer if isinstance(answer, Accepted) else None
    return {
        "topic": record.topic, "partition": record.partition, "position": record.position,
        "key": record.key, "value": record.value, "log_time_ms": record.log_time_ms,
        "event_id": accepted and accepted.event_id,
        "event_time_ms": accepted and accepted.event_time_ms,
        "accepted": accepted is not None,
        "reason": answer.reason if isinstance(answer, Refusal) else None,
    }  # fmt: skip


def decision_row(decision: Decision) -> dict[str, Any]:
    names = set(SCHEMAS[DECISIONS].names) & set(Decision.__struct_fields__)
    row = {name: getattr(decision, name) for name in names} | {"flags": list(decision.flags)}
    model = decision.model
    return row | {
        "rules": [hit.rule for hit in decision.rules],
        "features": [np.nan if each is None else each for each in decision.features],
        "model_name": model and model.name,
        "model_version": model and model.version,
        "model_digest": model and model.digest,
        # with a roll-out: tests/stream/worker/test_rollout.py
        **dict.fromkeys(("arm", "rollout_version", "other_models", "other_scores",
                         "other_outcomes")),
    }  # fmt: skip


@pytest.mark.parametrize("batch", [1, 7, 100])
@pytest.mark.parametrize("with_models", [False, True])
def test_rows_are_those_written_one_by_one(
    monkeypatch: pytest.MonkeyPatch, batch: int, with_models: bool
) -> None:
    monkeypatch.setattr(rows_module, "_RECORDS_PER_TABLE", 40)
    models = [a_scorer(3).ref, a_scorer(4).ref, None] if with_models else [None]
    pending, records, answers, decisions = run_engine(batch, models, some_records(240))
    events = pending[EVENTS].rows()
    wanted = list(map(event_row, records, answers))
    assert events.to_pylist() == rows_of(EVENTS, wanted).to_pylist()
    assert sum(not row["accepted"] for row in wanted) > 20
    decided = pending[DECISIONS].rows()
    wanted = sorted(map(decision_row, decisions), key=lambda row: row["decision_id"])
    got = sorted(decided.to_pylist(), key=lambda row: row["decision_id"])
    assert len(got) == len(wanted) > 100
    for row, want in zip(got, wanted, strict=True):
        assert {name: repr(row[name]) for name in want} == {n: repr(want[n]) for n in want}
    labels = pending[LABELS].rows().to_pylist()
    outcomes = [a for a in answers if isinstance(a, Accepted) and hasattr(a.event, "outcome")]
    assert {row["event_id"] for row in labels} == {each.event_id for each in outcomes}
    for row in labels:
        event = next(each.event for each in outcomes if each.event_id == row["event_id"])
        assert row["outcome"] == event.outcome  # type: ignore[attr-defined]
        assert row["is_fraud"] == {"fraud": True, "legit": False}.get(row["outcome"])
    for table, each in pending.items():
        assert conform(table, each.rows()).num_rows == each.rows().num_rows


def test_pending_rows_can_be_read_again() -> None:
    pending, *_ = run_engine(10, [None], some_records(60))
    before = pending[EVENTS].rows()
    assert pending[EVENTS].rows().equals(before)


def test_dictionaries_of_different_batches_become_one() -> None:
    parts = [
        dictionary_texts(["a", None, "b"]),
        dictionary_texts(["b", "c"]),
        dictionary_texts([None], np.zeros(2, np.int64)),
    ]
    table = pa.concat_tables([pa.table({"word": part}) for part in parts]).unify_dictionaries()
    assert table["word"].to_pylist() == ["a", None, "b", "b", "c", None, None]
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in table["word"].chunks}) == 1


@pytest.mark.parametrize("values", [[], [None, None], [b"a", b""], [b"a", None, b"bc"]])
def test_bytes_survive_the_conversion(values: list[bytes | None]) -> None:
    parts = [ByteStrings.of(values[:1]), ByteStrings.of(values[1:])]
    assert byte_strings(parts).to_pylist() == values
