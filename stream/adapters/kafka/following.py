"""A topic of Kafka followed as it grows, or read from a time on; without a group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.kafka.client import BrokerErrors
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.clock import Clock
from claimtrace.events import Record
from claimtrace.settings.schema import KafkaConnection

from .reading import ends_of, reader, record_of
from .whole_topic import committed, pages, partitions_of

_TIMEOUT_S: Final = 10.0
_PAGE: Final = 1_000
_POLL_S: Final = 0.1
_SILENT_POLLS: Final = 100
"""After so many polls without a message the past counts as read."""


def follow_topic(connection: KafkaConnection, topic: str, last: int) -> Iterator[list[Record]]:
    """Yield what is committed to a topic as it comes; an empty page after each wait for nothing.

    The first page is what the topic had before.

    Args:
        connection: brokers and security.
        topic: the topic, which exists.
        last: begin this many positions before the end of each partition.

    Raises:
        ConfigError: the topic may not be read.
        StoreUnavailable: the brokers don't answer.
    """
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    try:
        starts, ends = [], {}
        for partition in range(partitions_of(connection, topic)):
            user = connection.security.username
            low, end = ends_of(consumer, troubles, (topic, partition), user)
            starts.append(TopicPartition(topic, partition, max(low, end - last)))
            if low < end and last:
                ends[partition] = end
        consumer.assign(starts)
        yield _up_to(consumer, troubles, topic, ends)
        while True:
            yield [record_of(topic, each) for each in _page(consumer, troubles, topic)]
    finally:
        consumer.close()


def records_since(connection: KafkaConnection, topic: str, since_ms: int) -> Iterator[Record]:
    """Yield the committed records of a topic from a log time on, up to its end as of now.

    Raises:
        ConfigError: the topic may not be read.
        StoreUnavailable: the brokers don't answer.
    """
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    user = connection.security.username
    try:
        for partition in range(partitions_of(connection, topic)):
            low, end = ends_of(consumer, troubles, (topic, partition), user)
            at = max(low, _first_since(consumer, troubles, (topic, partition), since_ms, user))
            if at >= end:
                continue
            consumer.assign([TopicPartition(topic, partition, at)])
            for page in pages(consumer, troubles, topic, end):
                for arrived in page:
                    yield record_of(topic, arrived)
    finally:
        consumer.close()


def _up_to(consumer: Any, troubles: BrokerErrors, topic: str, ends: dict[int, int]) -> list[Record]:
    """Return the records before the ends of the partitions, and some more."""
    found: list[Record] = []
    silent = 0
    while ends and silent < _SILENT_POLLS:
        page = _page(consumer, troubles, topic, ends)
        silent = 0 if page else silent + 1
        for each in page:
            found.append(record_of(topic, each))
            if each.offset() + 1 >= ends.get(each.partition(), 0):
                ends.pop(each.partition(), None)
    return found


def _page(
    consumer: Any, troubles: BrokerErrors, topic: str, ends: dict[int, int] | None = None
) -> list[Any]:
    """Return messages that have come; partitions that end here are taken out of `ends`."""
    first = consumer.poll(_POLL_S)  # `consume` would wait the whole time for a full page
    arrived = [] if first is None else [first, *consumer.consume(_PAGE, 0)]
    troubles.check()
    messages = []
    for each in arrived:
        error = each.error()
        if error is None:
            messages.append(each)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            if ends is not None:
                ends.pop(each.partition(), None)
        elif not error.retriable():
            raise error_of(error, "can't read", topic, operation="Read")
    return messages


def _first_since(
    consumer: Any, troubles: BrokerErrors, where: tuple[str, int], since_ms: int, user: str
) -> int:
    """Return the first position with a log time from `since_ms` on; a large number for none."""
    asked = [TopicPartition(*where, since_ms)]
    try:
        (found,) = consumer.offsets_for_times(asked, timeout=_TIMEOUT_S)
    except KafkaException as error:
        troubles.check()
        what = "can't ask for a position by time"
        raise error_of(error.args[0], what, where[0], user=user, operation="Read") from error
    return int(found.offset) if found.offset >= 0 else 2**62


def ends_and_commits(
    connection: KafkaConnection, topics: Sequence[str], clock: Clock
) -> dict[str, list[tuple[int, int]]]:
    """Return for each topic a pair a partition: its end, and the group's position (-1: none yet).

    Topics that don't exist are left out. Nobody joins the group.

    Raises:
        ConfigError: a topic or the group may not be read.
        StoreUnavailable: the brokers don't answer.
    """
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    user = connection.security.username
    try:
        counts = {topic: partitions_of(connection, topic) for topic in topics}
        asked = [(topic, each) for topic, count in counts.items() for each in range(count)]
        positions = {
            (each.topic, each.partition): int(each.offset)
            for each in (committed(consumer, connection, asked, clock) if asked else [])
        }
        found: dict[str, list[tuple[int, int]]] = {topic: [] for topic in counts if counts[topic]}
        for topic, partition in asked:
            _, end = ends_of(consumer, troubles, (topic, partition), user)
            found[topic].append((end, max(-1, positions.get((topic, partition), -1))))
        return found
    finally:
        consumer.close()
