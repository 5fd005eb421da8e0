"""Deciding partition by partition equals deciding on everything; a decision keeps its trace."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
import pytest

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.editions import NEWEST
from stream.engine.decider import TRACE_HEADER
from stream.engine.effects import Counts, Effects
from stream.engine.engine import Engine
from stream.journal.plan import JOURNAL, TopicPartition, in_plan_order, plan_of
from stream.offline_rows.rows import build
from tests.worlds.models import a_scorer, scorer_of
from tests.worlds.random_events import KEY, a_stream, as_records
from tests.worlds.stream_folder import DOMAIN, terms

PARTITIONS = 3


def a_batch(count: int) -> list[Any]:
    """Records over several partitions in plan order, some of them malformed."""
    positions: dict[TopicPartition, int] = {}
    records = []
    for i, record in enumerate(as_records(a_stream(21, count))):
        partition = i % PARTITIONS
        position = positions.get((record.topic, partition), 0)
        positions[record.topic, partition] = position + 1
        value = b"{" if i % 17 == 3 else record.value
        records.append(record._replace(partition=partition, position=position, value=value))
    return in_plan_order(records, DOMAIN.tie_order(NEWEST))


def an_engine(**changes: Any) -> Engine:
    return Engine(DOMAIN, terms(PARTITIONS, **changes), KEY, scorer_of)


def by_topic_partition(effects: Effects) -> dict[tuple[str, int], list[Any]]:
    found: dict[tuple[str, int], list[Any]] = {}
    for each in effects.outgoing:
        found.setdefault((each.topic, each.partition), []).append(each)
    return found


@pytest.mark.parametrize("with_model", [False, True])
def test_the_parts_are_the_whole(with_model: bool) -> None:
    records = a_batch(300)
    plan = plan_of(1, records, a_scorer(3).ref if with_model else None, 0)
    whole = an_engine().step(plan, records)
    engine = an_engine()
    applied = engine.apply(plan, records)
    owned = sorted([JOURNAL, *((span.topic, span.partition) for span in plan.ranges)], reverse=True)
    parts = [engine.decider.decide(applied, {topic_partition}) for topic_partition in owned]
    counts = Counts()
    for part in parts:
        counts.add(part.counts)
    for field in fields(Counts):
        assert getattr(counts, field.name) == getattr(whole.counts, field.name), field.name
    assert counts.referred > 10
    assert counts.dead > 5
    want = by_topic_partition(whole)
    got: dict[tuple[str, int], list[Any]] = {}
    for part in parts:
        for topic_partition, outgoing in by_topic_partition(part).items():
            got.setdefault(topic_partition, []).extend(outgoing)
    for topic_partition, outgoing in want.items():
        if topic_partition[0] == DECISIONS_TOPIC:
            assert got[topic_partition] == outgoing, "order and chain"
        else:  # the order between partitions is free
            assert sorted(got[topic_partition]) == sorted(outgoing)
    for table, rows in whole.rows.items():
        together = build(table, [part.rows[table] for part in parts if table in part.rows])
        assert sorted(map(repr, together.to_pylist())) == sorted(
            map(repr, build(table, [rows]).to_pylist())
        )


def test_a_decision_carries_the_trace_of_its_claim() -> None:
    trace = (TRACE_HEADER, b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")
    records = [r._replace(headers=(("schema", b"claims.filed/1"), trace)) for r in a_batch(40)]
    effects = an_engine().step(plan_of(1, records, None, 0), records)
    decisions = [each for each in effects.outgoing if each.topic == DECISIONS_TOPIC]
    assert decisions
    assert all(each.headers == (trace,) for each in decisions)


def test_without_reasons_nothing_else_changes() -> None:
    records = a_batch(300)
    plan = plan_of(1, records, a_scorer(3).ref, 0)
    differing = {"reasons", "base_margin", "rest_margin", "chain"}
    with_reasons, without = (
        [
            msgspec.json.decode(each.value or b"")
            for each in an_engine(reasons=most).step(plan, records).outgoing
            if each.topic == DECISIONS_TOPIC
        ]
        for most in (4, 0)
    )
    assert sum(bool(decision["reasons"]) for decision in with_reasons) > 10
    for had, has in zip(with_reasons, without, strict=True):
        assert (has["reasons"], has["base_margin"], has["rest_margin"]) == ([], None, None)
        for name in had.keys() - differing:
            assert has[name] == had[name], name
