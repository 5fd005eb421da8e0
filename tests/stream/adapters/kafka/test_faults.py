"""A worker on brokers that fail as they are told to: librdkafka's mock cluster, and a real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.errors import ConfigError, StateError
from claimtrace.events import Outgoing
from stream.adapters.kafka.journal import KafkaJournal
from stream.journal.plan import JOURNAL
from tests.servers.mock_cluster import Api, MockCluster
from tests.worlds.stream_folder import terms
from tests.worlds.workers_in_process import TOPICS, Bench, OneWorker, bench_of, until

BAD = [Outgoing("claims.filed", 0, None, value, 1) for value in (b"{", b"[]", b"\xff")]
EVERYTHING = 7
"""Two partitions of three inputs, and the journal."""


@pytest.fixture
def bench(mock_kafka: MockCluster) -> Iterator[Bench]:
    for topic, partitions in TOPICS.items():
        mock_kafka.create_topic(topic, partitions, 3)
    with bench_of(mock_kafka.bootstrap) as made:
        made.put(1, 60, BAD)
        yield made


def started(bench: Bench, **kafka: Any) -> OneWorker:
    """A worker that owns everything and has done what is there."""
    worker = bench.worker(**kafka)
    until(worker.is_done, worker)
    assert len(worker.owned) == EVERYTHING
    return worker


def test_the_bench_alone(bench: Bench) -> None:
    worker = started(bench)
    assert worker.heard.changes[0] == "gained"
    assert bench.check() == 0


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    ],
)
def test_a_refused_commit_is_not_fatal_and_moves_no_mark(
    bench: Bench, mock_kafka: MockCluster, code: int
) -> None:
    worker = started(bench)
    before = worker.group.checkpoints(worker.group.topic_partitions())
    mock_kafka.fail(Api.OFFSET_COMMIT, code, times=3)
    bench.put(2, 40)
    worker.heard.commits.clear()
    while not worker.driver.step(64):
        time.sleep(0.01)
    mock_kafka.heal(Api.OFFSET_COMMIT)
    if code != KafkaError.COORDINATOR_LOAD_IN_PROGRESS:  # librdkafka asks again by itself
        assert worker.group.checkpoints(worker.group.topic_partitions()) == before
        assert worker.driver._ownership._checkpoints[JOURNAL] == before[JOURNAL]
    until(worker.is_done, worker)
    assert len(worker.owned) == EVERYTHING
    assert worker.group.checkpoints([JOURNAL])[JOURNAL].emitted > before[JOURNAL].emitted
    bench.check()


def test_produce_errors_are_tried_again_in_order(bench: Bench, mock_kafka: MockCluster) -> None:
    worker = started(bench)
    mock_kafka.fail(
        Api.PRODUCE, KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_LEADER_FOR_PARTITION, times=2,
    )  # fmt: skip
    bench.put(2, 120)
    mock_kafka.fail(
        Api.PRODUCE, KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS, times=4
    )
    until(worker.is_done, worker)
    mock_kafka.heal(Api.PRODUCE)
    assert bench.check() == 0


def test_a_record_too_large_for_the_topic_stops_with_the_setting_to_mend(
    bench: Bench, mock_kafka: MockCluster
) -> None:
    worker = started(bench)
    bench.put(2, 40)
    mock_kafka.fail(Api.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE, times=50)
    from_s = time.monotonic()
    with pytest.raises(ConfigError) as raised:
        until(worker.is_done, worker)
    assert "max.message.bytes" in raised.value.hint
    assert time.monotonic() - from_s < 20
    mock_kafka.heal(Api.PRODUCE)
    worker.group.leave()
    bench.opened.remove(worker.group.leave)
    started(bench)
    bench.check()


@pytest.mark.long
def test_all_brokers_down_and_up_again(bench: Bench, mock_kafka: MockCluster) -> None:
    worker = started(bench)
    bench.put(2, 40)
    mock_kafka.down()
    worker.heard.readiness.clear()
    back = threading.Timer(4.0, mock_kafka.up)
    back.start()
    until(worker.is_done, worker)
    back.join()
    assert False in worker.heard.readiness
    assert worker.heard.readiness[-1]
    assert worker.heard.pauses
    bench.check()


def test_an_idle_worker_outlives_its_brokers(bench: Bench, mock_kafka: MockCluster) -> None:
    worker = started(bench)
    worker.group._partitions_at_s = -1e9  # it looks for new partitions just then
    mock_kafka.down()
    back = threading.Timer(3.0, mock_kafka.up)
    back.start()
    while back.is_alive():
        worker.driver.step(64)
        time.sleep(0.01)
    bench.put(2, 40)
    until(worker.is_done, worker)
    bench.check()


@pytest.mark.long
def test_leaders_and_the_coordinator_move(bench: Bench, mock_kafka: MockCluster) -> None:
    worker = started(bench)
    for turn in range(3):
        bench.put(2 + turn, 30)
        for topic, partitions in TOPICS.items():
            for partition in range(partitions):
                mock_kafka.set_leader(topic, partition, 1 + (turn + partition) % 3)
        mock_kafka.set_coordinator("claimtrace", 1 + turn % 3)
        until(worker.is_done, worker)
    assert "lost" not in worker.heard.changes
    assert bench.check() == 0


@pytest.mark.long
def test_slow_brokers_cause_no_storm_and_no_rebalance(
    bench: Bench, mock_kafka: MockCluster
) -> None:
    worker = started(bench)
    mock_kafka.watch()
    bench.put(2, 40)
    mock_kafka.delay(800)
    worker.heard.changes.clear()
    from_s = time.monotonic()
    until(worker.is_done, worker, seconds=60)
    seconds = time.monotonic() - from_s
    mock_kafka.delay(0)
    asked = mock_kafka.requests()
    assert worker.heard.changes == []
    assert asked.count(Api.JOIN_GROUP) == 0
    assert len(asked) < 60 * seconds, "more than a few requests a second and client"
    bench.check()


@pytest.mark.long
def test_a_worker_slower_than_the_group_allows_loses_its_places_and_nothing_else(
    bench: Bench,
) -> None:
    slow = bench.worker(4000, session_timeout="1s")
    until(slow.is_done, slow)
    other = bench.worker(session_timeout="1s")
    bench.put(2, 60)
    for _ in range(3):
        slow.driver.step(5)
    until(lambda: len(other.owned) == EVERYTHING, other)  # the slow one is in its slow step
    bench.put(3, 30)
    until(other.is_done, other)
    slow.driver.step(64)
    until(slow.is_done, slow, other)
    assert {"lost", "revoked"} & set(slow.heard.changes)
    bench.put(4, 30)
    until(slow.is_done, slow, other, seconds=60)
    bench.check()


@pytest.mark.parametrize("protocol", ["consumer", pytest.param("classic", marks=pytest.mark.long)])
def test_workers_come_and_go_with_work_in_flight(bench: Bench, protocol: str) -> None:
    first = started(bench, group_protocol=protocol)
    second = bench.worker(group_protocol=protocol)
    bench.put(2, 90)
    until(lambda: bool(second.owned) and second.is_done(), first, second)
    assert "revoked" in first.heard.changes
    assert first.owned.isdisjoint(second.owned)
    bench.put(3, 90)
    first.driver.step(64)
    second.driver.step(64)
    first.driver.finish()
    bench.opened.remove(first.group.leave)
    until(lambda: len(second.owned) == EVERYTHING and second.is_done(), second)
    bench.check()


def test_another_application_on_the_same_journal_is_refused(bench: Bench) -> None:
    started(bench)
    with pytest.raises(StateError, match="begun with remember_ms"):
        KafkaJournal(bench.settings().kafka_connection, terms(0, remember_ms=1), SystemClock())


def test_another_application_in_the_same_group_is_told_of(bench: Bench) -> None:
    stranger = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": "shared"})
    topic_partition = TopicPartition("claims.filed", 0, 1)
    stranger.commit(offsets=[topic_partition], asynchronous=False)
    with pytest.raises(StateError, match="set by something else than claimtrace") as raised:
        bench.worker(group="shared")
    assert "kafka.group" in raised.value.hint
    stranger.close()

    started(bench)
    late = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": "claimtrace"})
    with pytest.raises(KafkaException, match="UNKNOWN_MEMBER_ID"):  # not while we are there
        late.commit(offsets=[topic_partition], asynchronous=False)
    late.close()
    bench.check()
