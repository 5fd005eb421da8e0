"""The order of Faust's deliveries: repeats dropped, gaps filled, no early acknowledgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.clock import ManualClock
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.events import Record
from stream.adapters.faust.source import STAND_IN, FaustSource, record_of
from stream.journal.plan import Range, TopicPartition, in_plan_order

TOPICS = ("a", "b")


class FakeEvent:
    """An event of Faust."""

    def __init__(self, record: Record) -> None:
        self.message: Any = SimpleNamespace(
            topic=record.topic, partition=record.partition, offset=record.position,
            timestamp=record.log_time_ms / 1000, headers=list(record.headers), key=record.key,
            value=record.value,
        )  # fmt: skip
        self.is_acked = False

    def ack(self) -> bool:
        self.is_acked = True
        return True


@dataclass
class Log:
    """Partitions of records, some positions of which hold no record; reads gaps and plans."""

    records: dict[TopicPartition, list[Record]]
    ends: dict[TopicPartition, int]
    fails: int = 0
    asked: list[Mapping[TopicPartition, tuple[int, int]]] = field(default_factory=list)

    def read_gaps(
        self, gaps: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Record]]:
        self.asked.append(gaps)
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("down")
        return {
            topic_partition: [
                r for r in self.records[topic_partition] if start <= r.position < stop
            ]
            for topic_partition, (start, stop) in gaps.items()
        }

    def order_topics(self, topics: Sequence[str]) -> None: ...

    def fetch(self, ranges: Sequence[Range]) -> list[Record]:
        return in_plan_order(
            [
                record
                for span in ranges
                for record in self.records[span.topic, span.partition]
                if span.from_position <= record.position < span.to_position
            ],
            TOPICS,
        )

    def close(self) -> None: ...


def a_log(*positions: tuple[str, int, Sequence[int]], end_after: int = 0) -> Log:
    records = {
        (topic, partition): [
            Record(topic, partition, at, None, b"x", 1_000 + 10 * at + partition)
            for at in topic_partitions
        ]
        for topic, partition, topic_partitions in positions
    }
    ends = {
        topic_partition: found[-1].position + 1 + end_after
        for topic_partition, found in records.items()
    }
    return Log(records, ends)


def a_source(log: Log, clock: ManualClock | None = None) -> FaustSource:
    made = FaustSource(TOPICS, clock or ManualClock(), lambda: log, log.read_gaps)
    made.end_of = log.ends.get
    return made


def topic_partitions(records: Sequence[Record]) -> list[tuple[str, int, int]]:
    return [(r.topic, r.partition, r.position) for r in records]


def test_repeats_are_dropped_and_acknowledged_with_the_rest() -> None:
    log = a_log(("a", 0, range(4)))
    source, events = a_source(log), []
    for record in [*log.records["a", 0], *log.records["a", 0][1:]]:
        events.append(FakeEvent(record))
        source.collect(events[-1])
    assert len(source.poll({("a", 0): 1}, 100)) == 3
    assert source.repeats == 4
    assert source.acknowledge({("a", 0): 2}) == 2
    assert [each.is_acked for each in events] == [True, True, False, False, False, False, False]
    assert source.acknowledge({("a", 0): 4}) == 5
    assert source.unacknowledged == 0
    assert source.poll({("a", 0): 4}, 100) == []


def test_a_gap_is_read_and_markers_are_nothing() -> None:
    log = a_log(("a", 0, [0, 1, 3, 4, 6]))
    source = a_source(log)
    for at in (0, 3, 4):  # record 1 left out; 2 and 5 are markers
        source.collect(FakeEvent(log.records["a", 0][at]))
    assert [r.position for r in source.poll({}, 100)] == [0, 1, 3, 4, 6]
    assert log.asked == [{("a", 0): (1, 6)}]


def test_a_gap_that_cannot_be_read_loses_nothing() -> None:
    log = a_log(("a", 0, range(3)), ("a", 1, range(2)))
    log.fails = 1
    source = a_source(log)
    source.collect(FakeEvent(log.records["a", 0][2]))
    source.collect(FakeEvent(log.records["a", 1][0]))
    source.collect(FakeEvent(log.records["a", 1][1]))
    with pytest.raises(StoreUnavailable):
        source.poll({}, 100)
    assert len(source.poll({}, 100)) == 5
    assert log.asked[0] == {("a", 0): (-1, 2)}


def test_a_shorter_partition_than_what_was_read_is_another_one() -> None:
    log = a_log(("a", 0, range(3)))
    source = a_source(log)
    source.collect(FakeEvent(log.records["a", 0][0]))
    with pytest.raises(StateError, match="made anew"):
        source.poll({("a", 0): 500}, 100)


def test_an_older_record_that_may_come_is_waited_for_but_not_for_ever() -> None:
    clock = ManualClock()
    log = a_log(("a", 0, range(2)), ("a", 1, range(1)))
    log.ends["a", 0] = 5
    source = a_source(log, clock)
    source.collect(FakeEvent(log.records["a", 0][0]))
    source.collect(FakeEvent(log.records["a", 1][0]))
    assert topic_partitions(source.poll({}, 100)) == [
        ("a", 0, 0)
    ]  # 1000; on a/1 is 1001, after what may come
    clock.sleep(0.6)
    assert topic_partitions(source.poll({}, 100)) == [("a", 0, 0), ("a", 1, 0)]


def test_a_marker_at_the_end_is_not_waited_for_long() -> None:
    clock = ManualClock()
    log = a_log(("a", 0, [0]), ("a", 1, [0]), end_after=1)
    source = a_source(log, clock)
    for topic_partition in log.records:
        source.collect(FakeEvent(log.records[topic_partition][0]))
    assert len(source.poll({}, 100)) == 1
    clock.sleep(0.06)
    assert len(source.poll({}, 100)) == 2


@settings(deadline=None)
@given(st.data())
def test_whatever_is_repeated_or_left_out_each_record_comes_once_in_plan_order(
    data: st.DataObject,
) -> None:
    parts = [("a", 0), ("a", 1), ("b", 0)]
    log = a_log(*[(*topic_partition, sorted(data.draw(st.sets(st.integers(0, 25), min_size=1))))
                  for topic_partition in parts])  # fmt: skip
    source, clock = a_source(log), ManualClock()
    positions: dict[TopicPartition, int] = {}
    got: list[Record] = []
    for topic_partition in parts:
        kept = log.records[topic_partition]
        for record in kept:
            for _ in range(data.draw(st.integers(0, 2)) if record is not kept[-1] else 1):
                source.collect(FakeEvent(record))
        if data.draw(st.booleans()):
            source.collect(FakeEvent(kept[0]))
    for _ in range(200):
        batch = source.poll(positions, data.draw(st.integers(1, 9)))
        if not batch:
            clock.sleep(1.0)
            break
        assert batch == in_plan_order(batch, TOPICS)
        for record in batch:
            positions[record.topic, record.partition] = record.position + 1
        got += batch
    for topic_partition in parts:
        assert [r for r in got if (r.topic, r.partition) == topic_partition] == log.records[
            topic_partition
        ]
    source.acknowledge(positions)
    assert source.unacknowledged == 0


def test_a_stand_in_has_the_records_up_to_its_own_read_by_position() -> None:
    log = a_log(("a", 0, [0, 1, 2, 4]))  # 3 is a marker
    log.ends["a", 0] = 5
    source = a_source(log)
    source.collect(FakeEvent(log.records["a", 0][0]))
    stand_in = FakeEvent(Record("a", 0, 4, None, None, 0, (STAND_IN,)))
    source.collect(stand_in)
    assert source.poll({("a", 0): 0}, 100) == log.records["a", 0]
    assert log.asked == [{("a", 0): (1, 5)}]
    assert source.acknowledge({("a", 0): 4}) == 1
    assert not stand_in.is_acked
    assert source.acknowledge({("a", 0): 5}) == 1
    assert source.poll({("a", 0): 5}, 100) == []


def test_a_name_with_a_nul_is_read_as_librdkafka_reads_it() -> None:
    message = FakeEvent(Record("a", 0, 4, None, b"x", 0, (("n\0ul", b"1"), ("", b"")))).message
    assert record_of(message).headers == (("n", b"1"), ("", b""))
