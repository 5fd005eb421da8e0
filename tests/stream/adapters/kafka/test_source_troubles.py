"""Lost records, changed topics, silent partitions: reported, or waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from claimtrace.adapters.kafka.topics_admin import KafkaTopics
from claimtrace.errors import ClaimtraceError, ConfigError, StateError
from claimtrace.events import Outgoing
from claimtrace.settings.schema import Settings
from stream.adapters.kafka import source as kafka_source
from stream.adapters.kafka.source import KafkaSource
from stream.journal.plan import TopicPartition, plan_of
from tests.servers.kafka import Cluster
from tests.servers.mock_cluster import MockCluster
from tests.servers.records import send
from tests.servers.topics import client, delete_before
from tests.worlds.kafka_sources import WAIT_S, KafkaInputs, a_batch, after, drain, merged


@pytest.fixture
def inputs(kafka: Cluster) -> Iterator[KafkaInputs]:
    made = KafkaInputs(kafka.bootstrap)
    yield made
    for source in made.sources:
        source.close()


# -- records that are gone ------------------------------------------------------------------------


def numbered(topic: str, partition: int, number: int) -> list[Outgoing]:
    """Return rows whose values are their positions."""
    return [
        Outgoing(topic, partition, None, b"%d" % n, 1_780_000_000_000 + n) for n in range(number)
    ]


def raised_by(work: Callable[[], Any]) -> ClaimtraceError:
    """Return the error that the work raises before long."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        try:
            work()
        except ClaimtraceError as error:
            return error
    raise AssertionError("nothing was raised")


def test_lost_records_stop_the_worker(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 2)
    send(inputs.bootstrap, numbered(topic, 0, 100))
    delete_before(inputs.bootstrap, {(topic, 0): 60})
    source = inputs.source()
    error = raised_by(lambda: source.poll({(topic, 0): 10}, 10))
    assert isinstance(error, StateError)
    assert "retention took 50 records before they were read (from 10)" in error.what
    assert error.where == f"{topic}/0"
    assert "on_lost_records" in error.hint


def test_lost_records_are_told_and_passed_over_where_that_is_wanted(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 2)
    send(inputs.bootstrap, numbered(topic, 0, 100))
    delete_before(inputs.bootstrap, {(topic, 0): 60})
    source = inputs.source(on_lost_records="earliest")
    batches = drain(source, 40, lambda: 15, {(topic, 0): 10})
    assert [r.position for batch in batches for r in batch] == list(range(60, 100))
    assert inputs.watching.count == 50
    (line,) = inputs.said
    assert f"50 records of {topic}/0 are lost" in line
    assert "going on at 60" in line


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_nothing_but_lost_records(inputs: KafkaInputs, policy: str) -> None:
    (topic,) = inputs.make(1, 1)
    send(inputs.bootstrap, numbered(topic, 0, 30))
    delete_before(inputs.bootstrap, {(topic, 0): 30})
    source = inputs.source(on_lost_records=policy)
    if policy == "stop":
        assert "took 20 records" in raised_by(lambda: source.poll({(topic, 0): 10}, 10)).what
        return
    until_s = time.monotonic() + WAIT_S
    while not inputs.watching.count:
        assert source.poll({(topic, 0): 10}, 10) == []
        assert time.monotonic() < until_s
    send(inputs.bootstrap, numbered(topic, 0, 1))
    (batch,) = drain(source, 1, lambda: 10, {(topic, 0): 10})
    assert (batch[0].position, inputs.watching.count) == (30, 20)


def test_a_first_start_begins_with_what_is_left(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 1)
    send(inputs.bootstrap, numbered(topic, 0, 30))
    delete_before(inputs.bootstrap, {(topic, 0): 10})
    batches = drain(inputs.source(), 20, lambda: 7)
    assert [r.position for batch in batches for r in batch] == list(range(10, 30))
    assert inputs.said == []


@pytest.mark.parametrize("policy", ["stop", "earliest"])
def test_a_plan_whose_records_are_gone_is_not_run_on_others(
    inputs: KafkaInputs, policy: str
) -> None:
    (topic,) = inputs.make(1, 1)
    send(inputs.bootstrap, numbered(topic, 0, 40))
    (batch, *_) = drain(inputs.source(), 40, lambda: 20)
    plan = plan_of(1, batch, None, 0)
    delete_before(inputs.bootstrap, {(topic, 0): 10})
    late = inputs.source(on_lost_records=policy)
    assert isinstance(raised_by(lambda: late.fetch(plan.ranges)), StateError)
    assert inputs.watching.count == 0


def test_a_position_beyond_the_end_is_another_topic(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 2)
    send(inputs.bootstrap, numbered(topic, 1, 10))
    source = inputs.source(on_lost_records="earliest")
    assert source.poll({(topic, 1): 10}, 10) == [], "at its end is nothing wrong"
    error = raised_by(lambda: source.poll({(topic, 1): 11}, 10))
    assert isinstance(error, StateError)
    assert "ends at 10, this worker is at 11" in error.what
    assert "made anew" in error.hint


def test_a_topic_that_is_not_there_is_named(inputs: KafkaInputs) -> None:
    inputs.topics = ("source.nowhere",)
    with pytest.raises(ConfigError, match=r"no topic source.nowhere") as caught:
        inputs.source().poll({}, 10)
    assert "topics create" in caught.value.hint


def test_new_partitions_are_read_from_their_beginning(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 1)
    send(inputs.bootstrap, numbered(topic, 0, 5))
    source = inputs.source()
    (first,) = drain(source, 5, lambda: 10)
    at = after({}, first)
    KafkaTopics(Settings(source=f"kafka://{inputs.bootstrap}").kafka_connection).grow({topic: 3})
    send(inputs.bootstrap, [row for partition in (1, 2) for row in numbered(topic, partition, 7)])
    assert source.poll(at, 100) == [], "looked for now and then only"
    inputs.clock.shift_s += 31
    more = drain(source, 14, lambda: 4, at)
    assert [r for batch in more for r in batch] == merged(
        [r for r in inputs.there() if r.partition], (topic,)
    )
    assert source.fetch(plan_of(1, more[0], None, 0).ranges) == more[0]


# -- one partition far ahead of another -----------------------------------------------------------

MANY = 45_000


def fill(bootstrap: str, topic: str, partition: int, number: int) -> None:
    """Produce many small records, without a wait for each of them."""
    producer = Producer(client(bootstrap, linger_ms=20, queue_buffering_max_messages=MANY * 2))
    for n in range(number):
        producer.produce(topic, b"%d" % n, partition=partition, timestamp=1_780_000_000_000 + n)
    assert producer.flush(60) == 0


@pytest.fixture
def far(mock_kafka: MockCluster) -> Iterator[tuple[KafkaInputs, MockCluster]]:
    """A partition with many records, and one whose leader is down."""
    inputs = KafkaInputs(mock_kafka.bootstrap)
    inputs.topics = ("source.far",)
    mock_kafka.create_topic("source.far", 2)
    mock_kafka.set_leader("source.far", 0, 1)
    mock_kafka.set_leader("source.far", 1, 2)
    fill(inputs.bootstrap, "source.far", 0, MANY)
    fill(inputs.bootstrap, "source.far", 1, 50)
    mock_kafka.down(2)
    yield inputs, mock_kafka
    for source in inputs.sources:
        source.close()


def held(source: KafkaSource) -> int:
    """Return the number of records that the source has read ahead."""
    return sum(len(buffer.records) for buffer in source._buffers.values())


def test_a_silent_partition_is_waited_for_and_then_not(
    far: tuple[KafkaInputs, MockCluster],
) -> None:
    inputs, mock = far
    source, taken = inputs.source(), 0
    at: dict[TopicPartition, int] = {}
    from_s = time.monotonic()
    until_s = from_s + WAIT_S
    while taken < 4000:
        assert time.monotonic() < until_s
        batch = source.poll(at, 2000)
        assert held(source) <= kafka_source._FULL_RECORDS + 2 * kafka_source._PULL
        at, taken = after(at, batch) if batch else at, taken + len(batch)
        assert {r.partition for r in batch} <= {0}
    assert time.monotonic() - from_s >= kafka_source._PATIENCE_S
    mock.up(2)
    rest = drain(source, MANY + 50 - taken, lambda: 2000, at)
    positions = [(r.partition, r.position) for batch in rest for r in batch]
    assert [p for n, p in positions if n == 1] == list(range(50))
    assert [p for n, p in positions if n == 0] == list(range(taken, MANY))


def test_a_partition_that_was_held_back_is_fetched_for_plans(
    far: tuple[KafkaInputs, MockCluster],
) -> None:
    """Another worker writes the plans now: this one no longer polls, and must not wait for ever."""
    inputs, _ = far
    source = inputs.source()
    batch = a_batch(source, {}, 10)
    assert any(buffer.is_paused for buffer in source._buffers.values()), "it was held back"
    position = 0
    while position < MANY:
        (span,) = plan_of(1, batch, None, 0).ranges
        to = min(position + 2000, MANY)
        ranges = [type(span)(span.topic, 0, position, to)]
        assert [r.position for r in source.fetch(ranges)] == list(range(position, to))
        position = to


def test_a_partition_that_was_held_back_is_read_after_a_seek(
    far: tuple[KafkaInputs, MockCluster],
) -> None:
    inputs, _ = far
    source = inputs.source()
    batch = a_batch(source, {}, 10)
    (span,) = plan_of(1, batch, None, 0).ranges
    ranges = [type(span)(span.topic, 0, MANY - 5, MANY)]
    assert [r.position for r in source.fetch(ranges)] == list(range(MANY - 5, MANY))
    assert source.fetch(plan_of(1, batch, None, 0).ranges) == batch
