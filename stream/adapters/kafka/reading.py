"""Shared parts of all readers of Kafka topics: a consumer by position, ends, and records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.batches.records import Records
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.errors import ConfigError, StoreUnavailable
from claimtrace.events import Record
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import TopicPartition
from .accessors import contents_of, places_of

_TIMEOUT_S: Final = 10.0
_UP: Final = "are the brokers up, and reachable from here?"
_UNKNOWN_TO_CLIENT: Final = (KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001
"""Codes by which the client says that it has no word of a partition, not that there is none."""

READER: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # never skip silently
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "session.timeout.ms": 10_000,  # unused, but librdkafka compares it with the next property
    "max.poll.interval.ms": 300_000,  # one in `kafka.properties` is meant for the group's member
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 32 * 1024,
}
"""Properties of a consumer that reads by position."""


def reader(connection: KafkaConnection, troubles: BrokerErrors, **more: str | int | bool) -> Any:
    """Make a consumer that reads by position and isn't a member of the group.

    Args:
        connection: brokers and security; the group's name is needed for the ACL alone.
        troubles: called with errors that occur outside of calls.
        more: further properties, with `_` in place of `.`.
    """
    own = {name.replace("_", "."): value for name, value in more.items()}
    group = {"group.id": connection.kafka.group, "error_cb": troubles}
    return connect(Consumer, client_config(connection) | {**READER, **group, **own})


def ends_of(
    consumer: Any, troubles: BrokerErrors, topic_partition: TopicPartition, user: str = ""
) -> tuple[int, int]:
    """Ask the brokers for the first and the next position of a partition.

    Raises:
        ConfigError: the topic doesn't exist, or may not be read.
        StoreUnavailable: the brokers don't answer.
    """
    try:
        found = consumer.get_watermark_offsets(KafkaPartition(*topic_partition), timeout=_TIMEOUT_S)
    except KafkaException as error:
        troubles.check()
        if error.args[0].code() in _UNKNOWN_TO_CLIENT or troubles.down:
            _must_exist(consumer, troubles, topic_partition)
        what = "can't ask for the end of the partition"
        raise error_of(
            error.args[0], what, topic_partition[0], user=user, operation="Read"
        ) from error
    if found is None:
        raise StoreUnavailable("the brokers don't tell the end of the partition",
                               where=topic_partition[0])  # fmt: skip
    return int(found[0]), int(found[1])


def _must_exist(consumer: Any, troubles: BrokerErrors, topic_partition: TopicPartition) -> None:
    """Ask the brokers for a partition that the client doesn't know: it knows none while it has had
    no answer from them.

    Returns when the brokers say that it doesn't exist.

    Raises:
        StoreUnavailable: no broker answers, or the partition is there.
    """
    topic, partition = topic_partition
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        troubles.check()
        raise StoreUnavailable("no broker answers", where="source", hint=_UP) from error
    if topic in found and partition in found[topic].partitions:
        what = "the brokers don't tell the end of the partition"
        raise StoreUnavailable(what, where=f"{topic}/{partition}", hint=_UP)


def topic_partitions_of(
    consumer: Any, topics: Sequence[str], troubles: BrokerErrors
) -> list[TopicPartition]:
    """Return the partitions of topics, in order of the topics.

    Raises:
        ConfigError: a topic doesn't exist, or may not be described.
        StoreUnavailable: the brokers don't answer.
    """
    try:
        found = consumer.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        troubles.check()
        raise error_of(error.args[0], "the brokers don't answer", "source") from error
    troubles.check()
    topic_partitions: list[TopicPartition] = []
    for topic in topics:
        if topic not in found or not found[topic].partitions:
            raise ConfigError(
                f"there is no topic {topic}, or this user may not see it",
                where="source",
                hint="make it: claimtrace topics create",
            )
        topic_partitions += [(topic, partition) for partition in sorted(found[topic].partitions)]
    return topic_partitions


def resource_of(error: KafkaError, topic: str, group: str) -> str:
    """Return the resource that an error concerns: the topic, or a group that may not be used.

    librdkafka reports a denied group as the error of a topic.
    """
    return group if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED else topic


def by_topic_partition(arrived: Sequence[Message]) -> dict[TopicPartition, Records]:
    """Return delivered messages as records of each partition; their log times are the broker's.

    Raises:
        StoreUnavailable: the client library can't say where one of them stands.
    """
    topic_partitions, offsets = places_of(arrived)
    numbers: dict[TopicPartition, int] = {}
    parts = np.array(
        [numbers.setdefault(topic_partition, len(numbers)) for topic_partition in topic_partitions],
        np.int64,
    )
    found = contents_of(arrived)
    records = Records(
        list(numbers),
        parts,
        np.array(offsets, np.int64),
        ByteStrings.of(found.keys),
        ByteStrings.of(found.values),
        np.array(found.log_times_ms, np.int64),
        found.headers,
    )
    return {
        topic_partition: records.take(np.flatnonzero(parts == i))
        for topic_partition, i in numbers.items()
    }


def record_of(topic: str, arrived: Message) -> Record:
    """Return a delivered message as a record; its log time is the broker's.

    Raises:
        StoreUnavailable: the client library can't say where it stands.
    """
    [(_, partition)], [offset] = places_of([arrived])
    found = contents_of([arrived])
    headers = found.headers[0] if found.headers else ()
    return Record(
        topic, partition, offset, found.keys[0], found.values[0], found.log_times_ms[0], headers
    )
