"""What must be sent for records on the inputs: one engine, without any driver, group or journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC, DRIFT_TOPIC
from claimtrace.events import Outgoing, Record
from stream.engine.engine import Engine
from stream.journal.plan import Plan, TopicPartition, in_plan_order, plan_of
from tests.worlds.models import a_scorer

OUTPUTS: Final = (DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC)
CHAMPION: Final = a_scorer(1).ref


class Sent(NamedTuple):
    """A record that was sent, without its position: repetitions of it are equal."""

    partition: int
    key: bytes | None
    value: bytes | None
    log_time_ms: int
    headers: tuple[tuple[str, bytes], ...]


def records_of(rows: Sequence[Outgoing]) -> list[Record]:
    """The rows as delivered, when no position is left out."""
    ends: dict[TopicPartition, int] = {}
    made = []
    for topic, partition, key, value, log_time_ms, headers in rows:
        position = ends[topic, partition] = ends.get((topic, partition), -1) + 1
        made.append(Record(topic, partition, position, key, value, log_time_ms, headers))
    return made


def expected(stages: Sequence[Sequence[Record]], engine: Engine) -> dict[str, list[Outgoing]]:
    """What must be sent, by topic: one engine over all records, stage by stage, merged in each.

    A stage is what was put when all before it was consumed; or a plan's records.
    """
    sent: dict[str, list[Outgoing]] = {topic: [] for topic in OUTPUTS}
    for number, stage in enumerate(stages, 1):
        batch = in_plan_order(stage, engine.tie_order)
        plan = plan_of(number, batch, CHAMPION, 0)
        for outgoing in engine.step(plan, batch).outgoing:
            sent[outgoing.topic].append(outgoing)
    return sent


def planned(plans: Sequence[Plan], records: Sequence[Record]) -> list[list[Record]]:
    """The records of each plan; each record is in one of them."""
    by_topic_partition = {(r.topic, r.partition, r.position): r for r in records}
    stages = [
        [
            by_topic_partition.pop((s.topic, s.partition, at))
            for at in range(s.from_position, s.to_position)
        ]
        for plan in plans
        for s in plan.ranges
    ]
    assert not by_topic_partition, f"in no plan: {sorted(by_topic_partition)}"
    sizes = [len(plan.ranges) for plan in plans]
    return [[r for _ in range(size) for r in stages.pop(0)] for size in sizes]
