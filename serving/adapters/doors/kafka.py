"""Kafka as doors use it: claims are produced, decisions are read as they fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from claimtrace.adapters.kafka.client import BrokerErrors, client_config, connect
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import KafkaConnection
from stream.adapters.kafka.reading import (
    by_topic_partition,
    ends_of,
    reader,
    topic_partitions_of,
)
from stream.journal.plan import TopicPartition

from ...doors.waiting import Place

_TOPICS: Final = (DECISIONS_TOPIC, DEAD_TOPIC)
_ACKNOWLEDGED_S: Final = 10.0
"""How long acknowledgements are waited for, before the door says that the log isn't writable."""
_POLL_S: Final = 0.05
_FETCH_S: Final = 5.0
_PAGE: Final = 2_000


class KafkaWriter:
    """Produces claims, idempotent and acknowledged by all in-sync replicas; of one thread.

    Args:
        connection: brokers and credentials.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._user = connection.security.username
        self._troubles = BrokerErrors(connection)
        own = {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,  # who waits has waited for the batch before
            "partitioner": "murmur2_random",
            "message.timeout.ms": round(_ACKNOWLEDGED_S * 1000),
            "error_cb": self._troubles,
        }
        self._producer: Any = connect(Producer, client_config(connection) | own)

    def write(self, records: Sequence[Outgoing]) -> list[Place]:
        """Produce records; returns where each is.

        Raises:
            StoreUnavailable: one of them was not acknowledged in time; it may be on the log.
            ConfigError: the cluster refuses this user or topic.
        """
        reports: dict[int, tuple[KafkaError | None, int, int]] = {}

        def report(at: int) -> Any:
            def reported(error: KafkaError | None, message: Message) -> None:
                partition, offset = message.partition(), message.offset()
                reports[at] = error, -1 if partition is None else partition, offset or 0

            return reported

        for at, record in enumerate(records):
            try:
                self._producer.produce(record.topic, key=record.key, value=record.value,
                                       headers=list(record.headers),
                                       on_delivery=report(at))  # fmt: skip
            except KafkaException as error:
                raise error_of(error.args[0], "can't write", record.topic, user=self._user,
                               operation="Write") from error  # fmt: skip
            except BufferError as error:
                raise StoreUnavailable("the queue to the brokers is full",
                                       where=record.topic) from error  # fmt: skip
        self._producer.flush(2 * _ACKNOWLEDGED_S)
        if len(reports) < len(records):
            raise StoreUnavailable("the brokers don't acknowledge", where=records[0].topic)
        for failed, _, _ in reports.values():
            if failed is not None:
                raise error_of(failed, "can't write", records[0].topic, user=self._user,
                               operation="Write")  # fmt: skip
        return [Place(*reports[at][1:]) for at in range(len(records))]

    def close(self) -> None:
        """Close the producer."""
        self._producer.flush(_POLL_S)


class KafkaFeed:
    """Reads decisions and dead letters of a cluster; of one thread.

    Args:
        connection: brokers and credentials.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._user = connection.security.username
        self._troubles = BrokerErrors(connection)
        # whoever waits, waits for the first record: the broker sends it at once
        self._consumer = reader(connection, self._troubles, fetch_wait_max_ms=50)
        self._fetcher: Any = None
        self._connection = connection
        self.partitions = topic_partitions_of(self._consumer, _TOPICS, self._troubles)
        self._at: dict[TopicPartition, int] = {}

    def wake(self) -> None:
        """Do nothing: the brokers tell of new records at once."""

    def read(self, positions: Mapping[TopicPartition, int], *, wait: bool) -> list[Record]:
        """Return the records of committed transactions that come next, in order of a partition."""
        if not self._at:
            self._at = {each: self._from(each, positions.get(each, 0)) for each in self.partitions}
            self._consumer.assign([KafkaPartition(*each, at) for each, at in self._at.items()])
        first = self._consumer.poll(_POLL_S if wait else 0.0)
        self._troubles.check()
        if first is None:
            return []
        arrived = [first, *self._consumer.consume(_PAGE, 0.0)]
        return self._records(arrived)

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end of each partition as of now.

        A partition whose last offsets are transaction markers has its end behind its last record;
        the client says when it has reached it.
        """
        return {each: self._last(each) for each in self.partitions}

    def fetch(self, topic: str, partition: int, position: int, most: int = 1) -> list[Record]:
        """Return records from one position on; fewer at the end of the partition."""
        if self._fetcher is None:
            self._fetcher = reader(self._connection, self._troubles, fetch_wait_max_ms=50)
        _, end = ends_of(self._fetcher, self._troubles, (topic, partition), self._user)
        if position >= end:
            return []
        self._fetcher.assign([KafkaPartition(topic, partition, position)])
        arrived: list[Any] = []
        for _ in range(round(_FETCH_S / _POLL_S)):
            first = self._fetcher.poll(_POLL_S)
            self._troubles.check()
            if first is None:
                continue
            arrived += [first, *self._fetcher.consume(most, 0.0)]
            if _is_end(arrived[-1]) or sum(not _is_end(each) for each in arrived) >= most:
                break
        self._fetcher.unassign()
        return self._records(arrived)[:most]

    def close(self) -> None:
        """Close the consumers."""
        self._consumer.close()
        if self._fetcher is not None:
            self._fetcher.close()

    def _from(self, each: TopicPartition, position: int) -> int:
        low, _ = ends_of(self._consumer, self._troubles, each, self._user)
        return max(low, position)

    def _last(self, each: TopicPartition) -> int:
        """Return the position behind the last record of a partition; 0 when it has none."""
        low, end = ends_of(self._consumer, self._troubles, each, self._user)
        at = end
        while at > low:  # of the last offsets some may be markers of transactions
            at = max(low, at - 100)
            if found := self.fetch(*each, at, _PAGE):
                return found[-1].position + 1
        return 0

    def _records(self, arrived: Sequence[Any]) -> list[Record]:
        messages = []
        for each in arrived:
            error = each.error()
            if error is None:
                messages.append(each)
            elif not _is_end(each) and not error.retriable():
                raise error_of(error, "can't read", each.topic() or "source", user=self._user,
                               operation="Read")  # fmt: skip
        if not messages:
            return []
        return [one for part in by_topic_partition(messages).values() for one in part]


def _is_end(message: Any) -> bool:
    """Whether a message only says that the end of a partition is reached."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001
