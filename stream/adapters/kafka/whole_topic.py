"""One topic read from end to end, without a group: for proofs and for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.kafka.client import BrokerErrors
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Record
from claimtrace.settings.schema import KafkaConnection

from .reading import ends_of, reader, record_of

_TIMEOUT_S: Final = 10.0
_PAGE: Final = 2_000
_TURNS: Final = 50
_TURN_S: Final = 0.2


def partitions_of(connection: KafkaConnection, topic: str) -> int:
    """How many partitions a topic has; 0 when there is none."""
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    try:
        there = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        troubles.check()
        raise error_of(error.args[0], "the brokers don't answer", "source") from error
    finally:
        consumer.close()
    return len(there[topic].partitions) if topic in there else 0


def read_partition(
    connection: KafkaConnection, topic: str, partition: int, last: int | None = None
) -> Iterator[Record]:
    """The committed records of a partition up to its end as of now, or about the last so many.

    Raises:
        ConfigError: the topic may not be read.
        StoreUnavailable: the brokers don't deliver.
    """
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    try:
        low, end = ends_of(consumer, troubles, (topic, partition), connection.security.username)
        at = low if last is None else max(low, end - last)
        if at >= end:
            return
        consumer.assign([TopicPartition(topic, partition, at)])
        for page in _pages(consumer, troubles, topic, end):
            for arrived in page:
                yield record_of(topic, arrived)
    finally:
        consumer.close()


def _pages(consumer: Any, troubles: BrokerErrors, topic: str, end: int) -> Iterator[list[Any]]:
    """What arrives before an offset, until that or the end of what is committed is reached."""
    turns = 0
    while turns < _TURNS:
        arrived = consumer.consume(_PAGE, _TURN_S)
        troubles.check()
        turns = 0 if arrived else turns + 1
        page = []
        is_through = False
        for each in arrived:
            error = each.error()
            if error is None and each.offset() < end:
                page.append(each)
                is_through = each.offset() + 1 >= end
            elif error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                is_through = True
            elif not error.retriable():
                raise error_of(error, "can't read", topic, operation="Read")
        yield page
        if is_through:
            return
    raise StoreUnavailable("the brokers don't deliver", where=topic)
