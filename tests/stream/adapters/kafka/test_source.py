"""Reads by position from a real broker: the order of the embedded log, wherever a batch ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from confluent_kafka import Producer

from claimtrace.adapters.embedded_log.merge import MergedReader
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.batches.records import Records
from claimtrace.events import Outgoing, Record
from claimtrace.limits import MAX_VALUE_BYTES
from stream.journal.plan import TopicPartition, plan_of
from tests.servers.kafka import Cluster
from tests.servers.records import send
from tests.servers.topics import client
from tests.worlds.kafka_sources import KafkaInputs, a_batch, after, drain, merged, some_rows


@pytest.fixture
def inputs(kafka: Cluster) -> Iterator[KafkaInputs]:
    made = KafkaInputs(kafka.bootstrap)
    yield made
    for source in made.sources:
        source.close()


# -- the order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_batches_cut_anywhere_follow_the_merge(inputs: KafkaInputs, seed: int) -> None:
    topics = inputs.make(3, 3)
    rng = np.random.default_rng(seed)
    send(inputs.bootstrap, some_rows(seed, topics, 3, 400))
    wanted = merged(inputs.there(), topics)
    largest = int(rng.choice([3, 40, 500]))
    source = inputs.source()
    batches = drain(source, 400, lambda: int(rng.integers(1, largest + 1)))
    assert [r for batch in batches for r in batch] == wanted
    by_topic_partition: dict[TopicPartition, list[Record]] = {}
    for record in inputs.there():
        by_topic_partition.setdefault((record.topic, record.partition), []).append(record)
    topic_partitions = [(topic, p) for topic in topics for p in range(3)]
    local = MergedReader(
        topics,
        topic_partitions,
        lambda t, p, at, most: [Records.of(by_topic_partition.get((t, p), [])[at : at + most])],
    )
    assert local.take({}, 1000, (0, 0)) == wanted
    for reader in (source, inputs.source()):  # one that has read it all, one that is new
        for at in rng.permutation(len(batches)).tolist():
            assert reader.fetch(plan_of(1, batches[at], None, 0).ranges) == batches[at]


def test_a_source_that_goes_back_and_forth_gives_the_same_records(inputs: KafkaInputs) -> None:
    topics = inputs.make(2, 2)
    rng = np.random.default_rng(9)
    send(inputs.bootstrap, some_rows(9, topics, 2, 600))
    source = inputs.source()
    batches = drain(source, 600, lambda: 25)
    starts: list[dict[TopicPartition, int]] = [
        {(topic, p): 0 for topic in topics for p in range(2)}
    ]
    for batch in batches:
        starts.append(after(starts[-1], batch))
    for _ in range(60):
        at = int(rng.integers(len(batches)))
        if rng.random() < 0.5:
            assert source.fetch(plan_of(1, batches[at], None, 0).ranges) == batches[at]
        else:
            assert a_batch(source, starts[at], 25) == batches[at]


def test_new_records_are_seen_and_an_empty_topic_is_empty(inputs: KafkaInputs) -> None:
    topics = inputs.make(2, 2)
    source = inputs.source()
    for _ in range(5):
        assert source.poll({}, 100) == []
    at: dict[TopicPartition, int] = {}
    for n in range(5):
        row = Outgoing(topics[n % 2], n % 2, None, b"%d" % n, 1_780_000_000_000 - n)
        send(inputs.bootstrap, [row])
        (batch,) = drain(source, 1, lambda: 100, at)
        assert [r.value for r in batch] == [row.value]
        at = after(at, batch)
    there = {(topics[0], 0): 3, (topics[1], 1): 2}
    assert source.ends() == {(t, p): there.get((t, p), 0) for t in topics for p in range(2)}


# -- what stands in a record ----------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_records_arrive_as_they_were_sent(inputs: KafkaInputs, codec: str) -> None:
    (topic,) = inputs.make(1, 2)
    at = 1_780_000_000_000
    rows = [
        Outgoing(topic, 0, None, None, at),
        Outgoing(topic, 0, b"", b"", at),
        Outgoing(topic, 0, b"\xff\x00", b"\x00" * 10, at, (("a", b"1"), ("a", b"2"), ("", b""))),
        Outgoing(topic, 0, b"k" * 500, b"x" * (MAX_VALUE_BYTES + 1), at),
        Outgoing(topic, 0, b"k", np.random.default_rng(1).bytes(MAX_VALUE_BYTES + 1), at),
        *(Outgoing(topic, 1, b"k%d" % n, b'{"n":%d}' % n, at + n) for n in range(500)),
    ]
    send(inputs.bootstrap, rows, compression_type=codec, batch_size=100_000)
    source = inputs.source()
    found = [r for batch in drain(source, len(rows), lambda: 100) for r in batch]
    got = [Outgoing(r.topic, r.partition, r.key, r.value, r.log_time_ms, r.headers)
           for r in sorted(found, key=lambda r: (r.partition, r.position))]  # fmt: skip
    assert got == rows
    assert source.fetch(plan_of(1, found, None, 0).ranges) == found


def test_a_header_without_a_value_is_empty(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 1)
    producer = Producer(client(inputs.bootstrap))
    producer.produce(topic, b"v", headers=[("h", None)])
    assert producer.flush(30) == 0
    ((record,),) = drain(inputs.source(), 1, lambda: 1)
    assert record.headers == (("h", b""),)


def test_the_brokers_time_is_the_log_time_where_the_topic_says_so(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 1, **{"message.timestamp.type": "LogAppendTime"})
    before_ms = SystemClock().now_ms()
    send(inputs.bootstrap, [Outgoing(topic, 0, None, b"v", 1_000_000_000_000)])
    ((record,),) = drain(inputs.source(), 1, lambda: 1)
    assert before_ms - 1000 <= record.log_time_ms <= SystemClock().now_ms() + 1000


# -- gaps -----------------------------------------------------------------------------------------


def test_markers_and_aborted_records_are_stepped_over(inputs: KafkaInputs) -> None:
    topics = inputs.make(2, 2)
    rng = np.random.default_rng(4)
    producer = Producer(client(inputs.bootstrap, transactional_id=f"gaps-{topics[0]}"))
    producer.init_transactions(30)
    kept = 0
    for turn in range(20):
        producer.begin_transaction()
        for _ in range(int(rng.integers(1, 6))):
            topic_partition = topics[int(rng.integers(2))], int(rng.integers(2))
            stamp = 1_780_000_000_000 + turn * 1000 - int(rng.integers(0, 3000))
            producer.produce(
                topic_partition[0], b"%d" % turn, partition=topic_partition[1], timestamp=stamp
            )
        queued = len(producer)
        producer.flush(30)
        if turn % 3 == 1 or turn == 19:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
            kept += queued
    wanted = merged(inputs.there(), topics)
    assert len(wanted) == kept
    steps = [b.position - a.position for a, b in pairwise(inputs.there()) if a[:2] == b[:2]]
    assert max(steps) > 2, "there are gaps"
    source = inputs.source()
    batches = drain(source, kept, lambda: int(rng.integers(1, 9)))
    assert [r for batch in batches for r in batch] == wanted
    at = after({}, wanted)
    for topic_partition, end in source.ends().items():
        assert source.is_through(topic_partition, end)
        assert end > at.get(topic_partition, 0), "the end is an aborted record or a marker"
    for reader in (source, inputs.source()):
        for batch in reversed(batches):
            assert reader.fetch(plan_of(1, batch, None, 0).ranges) == batch


def test_an_open_transaction_holds_up_its_partition_only(inputs: KafkaInputs) -> None:
    (topic,) = inputs.make(1, 2)
    producer = Producer(client(inputs.bootstrap, transactional_id=f"open-{topic}"))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(30)
    send(
        inputs.bootstrap,
        [Outgoing(topic, 0, None, b"behind it", 1), Outgoing(topic, 1, None, b"x", 2)],
    )
    source = inputs.source()
    ((other,),) = drain(source, 1, lambda: 10)
    assert other.value == b"x"
    producer.commit_transaction(30)
    (rest,) = drain(source, 2, lambda: 10, {(topic, 1): 1})
    assert sorted(r.value or b"" for r in rest) == [b"behind it", b"open"]
