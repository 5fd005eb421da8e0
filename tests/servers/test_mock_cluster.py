"""The mock cluster fails on request, and recovers."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.servers.mock_cluster import NO_LEADER, Api, MockCluster
from tests.servers.topics import client, read_topic, values


def send(mock: MockCluster, text: bytes, timeout_s: float = 10) -> KafkaError | None:
    delivered: list[KafkaError | None] = []
    limit = round(timeout_s * 1000)
    producer = Producer(client(mock.bootstrap, enable_idempotence=True, message_timeout_ms=limit))
    producer.produce("t", text, partition=0, on_delivery=lambda error, _: delivered.append(error))
    producer.flush(timeout_s + 5)
    return delivered[0]


def test_topics_have_the_partitions_asked_for(mock_kafka: MockCluster) -> None:
    mock_kafka.create_topic("t", 12)
    known = AdminClient(client(mock_kafka.bootstrap)).list_topics(timeout=10)
    assert (len(known.topics["t"].partitions), len(known.brokers)) == (12, 3)
    assert send(mock_kafka, b"v") is None
    assert values(read_topic(mock_kafka.bootstrap, "t")) == [b"v"]


def test_errors_come_once_and_are_retried(mock_kafka: MockCluster) -> None:
    mock_kafka.create_topic("t", 1)
    mock_kafka.watch()
    mock_kafka.fail(Api.PRODUCE, KafkaError.NOT_ENOUGH_REPLICAS, times=2)
    assert send(mock_kafka, b"v") is None
    assert mock_kafka.requests().count(Api.PRODUCE) == 3
    assert mock_kafka.requests() == []

    mock_kafka.fail(Api.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    refused = send(mock_kafka, b"v")
    assert refused is not None
    assert refused.code() == KafkaError.MSG_SIZE_TOO_LARGE

    mock_kafka.fail(Api.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    mock_kafka.heal(Api.PRODUCE)
    assert send(mock_kafka, b"v") is None


def test_a_commit_can_be_refused(mock_kafka: MockCluster) -> None:
    mock_kafka.create_topic("t", 1)
    reader = Consumer(
        {**client(mock_kafka.bootstrap), "group.id": "g", "enable.auto.commit": False}
    )
    mock_kafka.set_coordinator("g", 2)
    mock_kafka.fail(Api.OFFSET_COMMIT, KafkaError.ILLEGAL_GENERATION)
    position = [TopicPartition("t", 0, 5)]
    with pytest.raises(KafkaException, match="ILLEGAL_GENERATION"):
        reader.commit(offsets=position, asynchronous=False)
    reader.commit(offsets=position, asynchronous=False)
    assert reader.committed([TopicPartition("t", 0)], timeout=10)[0].offset == 5
    reader.close()


def test_brokers_go_down_and_up(mock_kafka: MockCluster) -> None:
    mock_kafka.create_topic("t", 1)
    mock_kafka.down()
    refused = send(mock_kafka, b"lost", timeout_s=1)
    assert refused is not None
    mock_kafka.up()
    assert send(mock_kafka, b"v") is None

    mock_kafka.set_leader("t", 0, NO_LEADER)
    assert send(mock_kafka, b"lost", timeout_s=1) is not None
    mock_kafka.set_leader("t", 0, 2)
    mock_kafka.delay(200, broker=2)
    assert send(mock_kafka, b"w") is None
    assert values(read_topic(mock_kafka.bootstrap, "t")) == [b"v", b"w"]


def test_a_cluster_can_be_closed_twice(mock_kafka: MockCluster) -> None:
    assert mock_kafka.bootstrap.count("127.0.0.1:") == 3
    mock_kafka.close()
    mock_kafka.close()
