"""The Kafka sink on a real broker: acknowledged records are stored, failed ones are reported."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from claimtrace.errors import ConfigError, StateError, StoreUnavailable
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KafkaSettings, Settings
from producers.adapters.kafka import Aborted, Fenced, KafkaSink
from producers.sending.sink import Sink
from tests.servers.kafka import Cluster
from tests.servers.topics import client, create_topics, read_topic


@pytest.fixture
def topic(kafka: Cluster) -> str:
    name = f"sink.{uuid.uuid4().hex[:8]}"
    create_topics(kafka.bootstrap, {name: 4})
    return name


@pytest.fixture
def sinks(kafka: Cluster) -> Iterator[Callable[..., KafkaSink]]:
    """A factory of sinks on the shared broker, which are closed at the end."""
    made: list[KafkaSink] = []

    def make(**arguments: object) -> KafkaSink:
        made.append(KafkaSink(settings_of(kafka).kafka_connection, **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sink in made:
        sink.close()


def settings_of(kafka: Cluster, **properties: str | int | bool) -> Settings:
    quick: dict[str, str | int | bool] = {"topic.metadata.propagation.max.ms": 1000}
    own = KafkaSettings(properties=quick | properties)
    return Settings(source=f"kafka://{kafka.bootstrap}", kafka=own)


def outgoing(topic: str, numbers: range, partition: int = 0) -> list[Outgoing]:
    return [Outgoing(topic, partition, b"p-%d" % n, b"%d" % n, 1_700_000_000_000 + n)
            for n in numbers]  # fmt: skip


@pytest.mark.parametrize("transactional_id", ["", "worker-1"])
def test_the_configuration_of_the_producer_loses_nothing(monkeypatch, transactional_id):
    config: dict[str, object] = {}
    monkeypatch.setattr("producers.adapters.kafka.connect", lambda _, asked: config.update(asked))
    own = KafkaSettings(compression="zstd", properties={"linger.ms": 9})
    KafkaSink(
        Settings(source="kafka://a:1", kafka=own).kafka_connection,
        transactional_id=transactional_id,
    )
    assert config["acks"] == "all"
    assert config["enable.idempotence"] is True
    assert config["partitioner"] == "murmur2_random"
    assert config["compression.type"] == "zstd"
    assert config["linger.ms"] == 9
    if transactional_id:
        assert config["transactional.id"] == "worker-1"
        assert "message.timeout.ms" not in config
    else:
        assert config["message.timeout.ms"] == 0


def test_a_record_fails_after_the_message_timeout():
    sink = KafkaSink(Settings(source="kafka://127.0.0.1:1").kafka_connection, message_timeout_s=0.3)
    sink.send(outgoing("t", range(3)))
    with pytest.raises(StoreUnavailable, match="timed out"):
        sink.flush(30)
    assert (sink.acknowledged, sink.failed, sink.unacknowledged) == (0, 3, 0)
    sink.close()


def test_records_arrive_in_order_with_key_headers_and_partition(kafka, topic, sinks):
    sink: Sink = sinks()
    header = ("schema", b"claims.filed/1")
    sent = [
        Outgoing(topic, n % 3, b"k-%d" % n, b"v-%d" % n, 1_700_000_000_000 + n, (header,))
        for n in range(3000)
    ]
    sink.send(sent[:1000])
    sink.send(sent[1000:])
    sink.send([Outgoing(topic, 3, None, None, 5)])
    sink.flush(30)
    assert sink.acknowledged == 3001
    assert (sink.failed, sink.unacknowledged) == (0, 0)
    found = read_topic(kafka.bootstrap, topic)
    for partition in range(3):
        here = [r for r in found if r.partition == partition]
        mine = [o for o in sent if o.partition == partition]
        assert [(r.key, r.value, r.log_time_ms, r.headers) for r in here] == [
            (o.key, o.value, o.log_time_ms, o.headers) for o in mine
        ]
    assert [(r.key, r.value) for r in found if r.partition == 3] == [(None, None)]


def test_without_a_partition_the_key_decides_as_in_java(kafka, topic, sinks):
    sink = sinks()
    sink.send([Outgoing(topic, -1, key, key, 1) for key in (b"policy-1", b"policy-2", b"policy-3")])
    sink.flush(30)
    there = {r.key: r.partition for r in read_topic(kafka.bootstrap, topic)}
    assert there == {key: _murmur2(key) % 4 for key in there}
    assert len(there) == 3


def test_a_full_queue_is_waited_for_and_drops_nothing(kafka, topic):
    few = settings_of(kafka, **{"queue.buffering.max.messages": 100})
    sink = KafkaSink(few.kafka_connection)
    for start in range(0, 5000, 1000):
        sink.send(outgoing(topic, range(start, start + 1000)))
    sink.flush(30)
    sink.close()
    assert sink.acknowledged == 5000
    assert [r.value for r in read_topic(kafka.bootstrap, topic)] == [b"%d" % n for n in range(5000)]


def test_a_record_too_large_is_reported_at_the_next_call_and_the_others_arrive(kafka, topic, sinks):
    sink = sinks()
    sink.send(outgoing(topic, range(3)))
    sink.send([Outgoing(topic, 0, b"k", b"x" * 2_000_000, 1)])
    with pytest.raises(ConfigError, match="can't write") as caught:
        sink.flush(30)
    assert topic in caught.value.where
    assert "max.message.bytes" in caught.value.hint
    sink.flush(30)
    assert (sink.acknowledged, sink.failed) == (3, 1)


@pytest.mark.parametrize("where", ["broker", "client"])
def test_without_gaps_nothing_is_sent_behind_a_record_that_is_refused(kafka, where):
    """The newest record of a partition then says that none before it is missing."""
    topic = f"sink.gapless.{where}"
    config = {"max.message.bytes": "2000"} if where == "broker" else {}
    create_topics(kafka.bootstrap, {topic: 1}, config=config)
    large = bytes(np.random.default_rng(1).integers(0, 256, 1_100_000, np.uint8))
    if where == "broker":
        large = large[:5_000]
    properties = {"batch.num.messages": 1}  # or the others of its batch would be refused with it
    connection = Settings(source=f"kafka://{kafka.bootstrap}",
                          kafka=KafkaSettings(properties=properties)).kafka_connection  # fmt: skip
    sink = KafkaSink(connection, gapless=True)
    values = [b"0", b"1", large, b"3", b"4"]
    rows = [Outgoing(topic, 0, None, value, 1) for value in values]
    sink.send(rows[:2])
    sink.flush(30)
    sink.send(rows[2:])
    with pytest.raises(ConfigError, match="too large") as said:
        sink.flush(30)
    assert "max.message.bytes" in said.value.hint
    for again in (lambda: sink.send(rows[3:]), lambda: sink.flush(30)):
        with pytest.raises(ConfigError, match="too large"):
            again()
    sink.close()
    assert (sink.acknowledged, sink.unacknowledged, sink.failed) == (2, 0, 3)
    assert [record.value for record in read_topic(kafka.bootstrap, topic)] == values[:2]


def test_an_unknown_topic_names_the_command_that_creates_it(sinks):
    sink = sinks()
    sink.send([Outgoing("no.such.topic", 0, b"k", b"v", 1)])
    with pytest.raises(ConfigError) as caught:
        sink.flush(40)
    assert caught.value.where == "no.such.topic"
    assert "claimtrace topics create" in caught.value.hint


def test_an_outage_of_the_brokers_loses_nothing(kafka_clusters):
    own = kafka_clusters()
    create_topics(own.bootstrap, {"away": 1})
    sink = KafkaSink(
        settings_of(own, **{"queue.buffering.max.messages": 50}).kafka_connection,
        send_deadline_s=0.3,
    )
    sink.send(outgoing("away", range(10)))
    sink.flush(30)
    own.kill()
    sink.send(outgoing("away", range(10, 100)))  # 50 fit the queue, the others wait beside it
    with pytest.raises(StoreUnavailable, match="the queue is full; 90 records wait"):
        sink.send(outgoing("away", range(100, 101)))
    with pytest.raises(StoreUnavailable, match="90 records wait"):
        sink.flush(0.5)
    assert sink.acknowledged == 10
    own.start()
    sink.flush(60)
    sink.send(outgoing("away", range(100, 101)))
    sink.flush(30)
    assert sink.acknowledged == 101
    found = [r.value for r in read_topic(own.bootstrap, "away")]
    assert found == [b"%d" % n for n in range(101)]
    sink.close()
    sink.close()


def test_closing_without_brokers_ends_and_claims_nothing(monkeypatch):
    monkeypatch.setattr("producers.adapters.kafka._CLOSE_S", 0.3)
    sink = KafkaSink(Settings(source="kafka://127.0.0.1:1").kafka_connection)
    sink.send(outgoing("gone", range(3)))
    sink.close()
    sink.close()
    assert sink.acknowledged == 0
    assert sink.failed + sink.unacknowledged == 3


# -- transactions ---------------------------------------------------------------------------------


@pytest.fixture
def group(kafka: Cluster, topic: str) -> Iterator[Consumer]:
    """The only member of a consumer group, with the topic assigned to it."""
    member = _member(kafka, f"group-{topic}", topic)
    yield member
    member.close()


def _member(kafka: Cluster, group: str, topic: str, **properties: str) -> Consumer:
    member = Consumer(
        client(kafka.bootstrap, group_id=group, enable_auto_commit=False, session_timeout_ms=6000)
        | properties
    )
    member.subscribe([topic])
    deadline = time.monotonic() + 30
    while not member.assignment() and time.monotonic() < deadline:
        member.poll(0.1)
    assert member.assignment()
    return member


def test_a_transaction_is_seen_whole_or_not_at_all(kafka, topic, sinks, group):
    sink = sinks(transactional_id=f"worker-{topic}")
    sink.begin()
    sink.send(outgoing(topic, range(5)))
    sink.flush(30)
    assert read_topic(kafka.bootstrap, topic) == []
    sink.commit([TopicPartition(topic, 0, 3)], group.consumer_group_metadata())
    assert [r.value for r in read_topic(kafka.bootstrap, topic)] == [b"0", b"1", b"2", b"3", b"4"]
    assert group.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 3

    sink.begin()
    sink.send(outgoing(topic, range(5, 9)))
    sink.abort()
    sink.abort()
    assert sink.acknowledged == 5
    sink.begin()
    sink.send(outgoing(topic, range(9, 10)))
    sink.commit([], group.consumer_group_metadata())
    assert sink.acknowledged == 6
    assert [r.value for r in read_topic(kafka.bootstrap, topic)][5:] == [b"9"]
    assert len(read_topic(kafka.bootstrap, topic, committed=False)) >= 6


def test_an_older_sink_of_the_same_id_is_fenced(kafka, topic, sinks, group):
    name = f"worker-{topic}"
    old = sinks(transactional_id=name)
    old.begin()
    old.send(outgoing(topic, range(3)))
    old.flush(30)
    new = sinks(transactional_id=name)
    new.begin()
    old.send(outgoing(topic, range(3, 6)))
    with pytest.raises(Fenced):
        old.commit([TopicPartition(topic, 0, 3)], group.consumer_group_metadata())
    new.send(outgoing(topic, range(10, 12)))
    new.commit([TopicPartition(topic, 0, 7)], group.consumer_group_metadata())
    assert [r.value for r in read_topic(kafka.bootstrap, topic)] == [b"10", b"11"]
    with pytest.raises(StateError):
        old.begin()


def test_a_member_that_the_group_left_behind_is_fenced(kafka, topic, sinks):
    member = _member(kafka, f"left-{topic}", topic)
    stale = member.consumer_group_metadata()
    member.close()
    other = _member(kafka, f"left-{topic}", topic)
    sink = sinks(transactional_id=f"worker-{topic}")
    sink.begin()
    sink.send(outgoing(topic, range(2)))
    with pytest.raises(Fenced):
        sink.commit([TopicPartition(topic, 0, 2)], stale)
    assert read_topic(kafka.bootstrap, topic) == []
    assert sink.acknowledged == 0
    sink.begin()
    sink.send(outgoing(topic, range(5, 6)))
    sink.commit([TopicPartition(topic, 0, 1)], other.consumer_group_metadata())
    assert [r.value for r in read_topic(kafka.bootstrap, topic)] == [b"5"]
    other.close()


def test_a_refused_record_takes_its_transaction_with_it_and_is_named(kafka, topic, sinks, group):
    sink = sinks(transactional_id=f"worker-{topic}")
    sink.begin()
    sink.send(outgoing(topic, range(2)))
    sink.send([Outgoing("no.such.topic", 0, b"k", b"v", 1)])
    with pytest.raises((ConfigError, Aborted)) as caught:
        sink.commit([TopicPartition(topic, 0, 2)], group.consumer_group_metadata(), 60)
    assert "no.such.topic" in str(caught.value)
    sink.abort()
    assert read_topic(kafka.bootstrap, topic) == []


def test_a_record_that_the_client_refuses_takes_its_transaction_with_it(kafka, topic, sinks, group):
    """The refused record never reached the transaction, which must not be committed then."""
    sink = sinks(transactional_id=f"worker-{topic}")
    sink.begin()
    sink.send([*outgoing(topic, range(2)), Outgoing(topic, 0, b"k", b"x" * 2_000_000, 1)])
    with pytest.raises(ConfigError, match="too large"):
        sink.commit([TopicPartition(topic, 0, 3)], group.consumer_group_metadata(), 60)
    assert read_topic(kafka.bootstrap, topic) == []
    assert group.committed([TopicPartition(topic, 0)], timeout=10)[0].offset < 0
    sink.begin()
    sink.send(outgoing(topic, range(5, 6)))
    sink.commit([TopicPartition(topic, 0, 1)], group.consumer_group_metadata())
    assert [r.value for r in read_topic(kafka.bootstrap, topic)] == [b"5"]
    assert (sink.acknowledged, sink.failed) == (1, 3)


def test_sending_outside_of_a_transaction_is_a_state_error(topic, sinks):
    sink = sinks(transactional_id=f"worker-{topic}")
    with pytest.raises(StateError, match="no transaction was begun"):
        sink.send(outgoing(topic, range(1)))
    with pytest.raises(StateError, match="no transactions"):
        sinks().begin()


def _murmur2(key: bytes) -> int:
    """Hash a key as Kafka does (org.apache.kafka.common.utils.Utils.murmur2), made positive."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if len(key) > whole:
        h = ((h ^ int.from_bytes(key[whole:], "little")) * m) & mask
    h = ((h ^ (h >> 13)) * m) & mask
    return (h ^ (h >> 15)) & 0x7FFFFFFF
