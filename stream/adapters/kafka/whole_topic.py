"""One topic read from its beginning to its end, without a group: for proofs and for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.kafka.client import BrokerErrors
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.clock import Clock
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Record
from claimtrace.settings.schema import KafkaConnection

from ...group.group import Checkpoint
from ...proofs.coverage import EVERY_PLAN, DecisionsEnd
from .reading import ends_of, reader, record_of, resource_of

_TIMEOUT_S: Final = 10.0
_PAGE: Final = 2_000
_POLL_S: Final = 0.2
_NO_COORDINATOR: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
"""Errors of a group that will be answered soon."""
_EMPTY_POLLS: Final = 50
"""After this many polls in a row without a message the brokers count as unavailable."""


def partitions_of(connection: KafkaConnection, topic: str) -> int:
    """Return the number of partitions of a topic; 0 when it doesn't exist."""
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        troubles.check()
        raise error_of(error.args[0], "the brokers don't answer", "source") from error
    finally:
        consumer.close()
    return len(found[topic].partitions) if topic in found else 0


def read_partition(
    connection: KafkaConnection, topic: str, partition: int, last: int | None = None
) -> Iterator[Record]:
    """Yield the committed records of a partition up to its end as of now.

    Args:
        connection: brokers and security.
        topic: the topic.
        partition: the partition.
        last: start this many positions before the end; fewer records come where positions are
            transaction markers. None: from the beginning.

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
        for page in pages(consumer, troubles, topic, end):
            for arrived in page:
                yield record_of(topic, arrived)
    finally:
        consumer.close()


def has_records(connection: KafkaConnection, topic: str) -> bool:
    """Whether a topic has ever had a record."""
    partitions = range(partitions_of(connection, topic))
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    user = connection.security.username
    try:
        return any(ends_of(consumer, troubles, (topic, each), user)[1] > 0 for each in partitions)
    finally:
        consumer.close()


def decision_ends(
    connection: KafkaConnection, claims: str, clock: Clock
) -> dict[int, DecisionsEnd]:
    """Return the end of each partition of the decisions, as of now.

    The plan of an end is the one up to which the partition's owner has committed. Where the group
    has committed nothing, as when the brokers have forgotten it, nothing may be missing.

    Args:
        connection: brokers, security and the group's name; nobody joins the group.
        claims: the topic of the claims.
        clock: for pauses while the group has no coordinator yet.

    Raises:
        ConfigError: the topic or the group may not be read.
        StoreUnavailable: the brokers don't answer.
    """
    partitions = range(partitions_of(connection, DECISIONS_TOPIC))
    if not partitions:
        return {}
    troubles = BrokerErrors(connection)
    consumer = reader(connection, troubles)
    try:
        found = committed(consumer, connection, [(claims, each) for each in partitions], clock)
        plans = {each.partition: _emitted(each) for each in found if each.offset >= 0}
        rest = 0 if plans else EVERY_PLAN
        ends = {
            each: ends_of(consumer, troubles, (DECISIONS_TOPIC, each), connection.security.username)
            for each in partitions
        }
        return {each: DecisionsEnd(end, plans.get(each, rest)) for each, (_, end) in ends.items()}
    finally:
        consumer.close()


def committed(
    consumer: Any, connection: KafkaConnection, asked: list[tuple[str, int]], clock: Clock
) -> list[TopicPartition]:
    """Read the group's committed offsets; waits while its coordinator is elected or loads."""
    user, group = connection.security.username, connection.kafka.group
    until_s = clock.monotonic_s() + _TIMEOUT_S
    while True:
        try:
            found = consumer.committed(
                [TopicPartition(*each) for each in asked], timeout=_TIMEOUT_S
            )
            errors = [each.error for each in found if each.error is not None]
        except KafkaException as error:
            found, errors = [], [error.args[0]]
        if not errors:
            return list(found)
        if errors[0].code() not in _NO_COORDINATOR or clock.monotonic_s() > until_s:
            where = resource_of(errors[0], asked[0][0], group)
            raise error_of(errors[0], "can't read the group's offsets", where, user=user,
                           operation="Read")  # fmt: skip
        clock.sleep(_POLL_S)


def _emitted(committed: Any) -> int:
    """Return the plan that a committed offset names; every plan for one of another program."""
    try:
        return msgspec.json.decode(committed.metadata or "", type=Checkpoint).emitted
    except msgspec.DecodeError:
        return EVERY_PLAN


def pages(consumer: Any, troubles: BrokerErrors, topic: str, end: int) -> Iterator[list[Any]]:
    """Yield messages before offset `end`, until that or the last committed record is reached."""
    empty_polls = 0
    while empty_polls < _EMPTY_POLLS:
        arrived = consumer.consume(_PAGE, _POLL_S)
        troubles.check()
        empty_polls = 0 if arrived else empty_polls + 1
        page = []
        is_at_end = False
        for each in arrived:
            error = each.error()
            if error is None and each.offset() < end:
                page.append(each)
                is_at_end = each.offset() + 1 >= end
            elif error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                is_at_end = True
            elif not error.retriable():
                raise error_of(error, "can't read", topic, operation="Read")
        yield page
        if is_at_end:
            return
    raise StoreUnavailable("the brokers don't deliver", where=topic)
