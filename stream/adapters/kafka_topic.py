"""One topic read from end to end, without a group: for proofs and for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from claimtrace.adapters.kafka_client import Troubles, client_config, connect
from claimtrace.adapters.kafka_errors import error_of
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Record
from claimtrace.settings import Settings

from .kafka_source import READER, record_of

_TIMEOUT_S: Final = 10.0
_PAGE: Final = 2_000
_TURNS: Final = 50
_TURN_S: Final = 0.2


def partitions_of(settings: Settings, topic: str) -> int:
    """How many partitions a topic has; 0 when there is none."""
    reader, troubles = _reader(settings)
    try:
        there = reader.list_topics(topic, timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        troubles.check()
        raise error_of(error.args[0], "the brokers don't answer", "source") from error
    finally:
        reader.close()
    return len(there[topic].partitions) if topic in there else 0


def read_partition(
    settings: Settings, topic: str, partition: int, last: int | None = None
) -> Iterator[Record]:
    """The committed records of a partition up to its end as of now, or about the last so many.

    Raises:
        ConfigError: the topic may not be read.
        StoreUnavailable: the brokers don't deliver.
    """
    reader, troubles = _reader(settings)
    try:
        low, end = ends_of(reader, troubles, topic, partition)
        at = low if last is None else max(low, end - last)
        if at >= end:
            return
        reader.assign([TopicPartition(topic, partition, at)])
        for page in _pages(reader, troubles, topic, end):
            for arrived in page:
                yield record_of(topic, arrived)
    finally:
        reader.close()


def ends_of(reader: Any, troubles: Troubles, topic: str, partition: int) -> tuple[int, int]:
    """The first and the next offset of a partition."""
    try:
        found = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
    except KafkaException as error:
        troubles.check()
        raise error_of(error.args[0], "can't read", topic, operation="Read") from error
    if found is None:
        raise StoreUnavailable("the brokers don't answer", where=topic)
    return int(found[0]), int(found[1])


def _reader(settings: Settings) -> tuple[Any, Troubles]:
    troubles = Troubles(settings)
    config = client_config(settings) | {
        **READER, "group.id": settings.kafka.group, "error_cb": troubles,
    }  # fmt: skip
    return connect(Consumer, config), troubles


def _pages(reader: Any, troubles: Troubles, topic: str, end: int) -> Iterator[list[Any]]:
    """What arrives before an offset, until that or the end of what is committed is reached."""
    turns = 0
    while turns < _TURNS:
        arrived = reader.consume(_PAGE, _TURN_S)
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
