"""A reader of the positions that Faust left out.

Faust delivers records in order, with gaps: markers of transactions and compacted records, which
hold no record, and records that it drops when a partition is paused or revoked, which must not be
lost. So each gap is read again by position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaPartition

from claimtrace.adapters.kafka.client import BrokerErrors
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.clock import Clock
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.events import Record
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import TopicPartition
from ..kafka.reading import ends_of, reader, record_of

Gap = tuple[int, int]
"""Positions `[start, stop)` that are missing; a start of -1 is the beginning of the partition."""

_POLL_S: Final = 0.005
_PAGE: Final = 1_000
_PATIENCE_S: Final = 5.0


class GapReader:
    """Reads short spans of partitions; connects to the brokers at the first call.

    Args:
        connection: brokers, security, and the policy for records that retention removed.
        clock: for deadlines.
        notify: called with a line when records are lost by policy.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Clock,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._connection, self._clock, self._notify = connection, clock, notify
        self._earliest = connection.kafka.on_lost_records == "earliest"
        self._troubles = BrokerErrors(connection)
        self._reader: Any = None

    def __call__(self, gaps: Mapping[TopicPartition, Gap]) -> dict[TopicPartition, list[Record]]:
        """Read the committed records of all gaps at once; returns them in order of position.

        Raises:
            StateError: retention removed some of them, and the settings refuse to skip them.
            StoreUnavailable: the brokers don't deliver them; a retry may help.
        """
        consumer = self._connected()
        wanted: dict[TopicPartition, Gap] = {}
        for topic_partition, (start, stop) in sorted(gaps.items()):
            low, _ = ends_of(consumer, self._troubles, topic_partition)
            if 0 <= start < low:  # a start of -1 asks for whatever retention has left
                self._report_lost(topic_partition, start, min(low, stop))
            if max(start, low) < stop:
                wanted[topic_partition] = max(start, low), stop
        consumer.assign(
            [
                KafkaPartition(*topic_partition, start)
                for topic_partition, (start, _) in wanted.items()
            ]
        )
        try:
            return self._read(
                consumer, {topic_partition: stop for topic_partition, (_, stop) in wanted.items()}
            )
        finally:
            consumer.unassign()

    def close(self) -> None:
        """Close the connection to the brokers."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _connected(self) -> Any:
        if self._reader is None:
            self._reader = reader(self._connection, self._troubles)
        return self._reader

    def _read(
        self, consumer: Any, stops: dict[TopicPartition, int]
    ) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {
            topic_partition: [] for topic_partition in stops
        }
        unfinished = dict(stops)
        until_s = self._clock.monotonic_s() + _PATIENCE_S
        while unfinished:
            for arrived in consumer.consume(_PAGE, _POLL_S):
                topic_partition = arrived.topic(), arrived.partition()
                error, at = arrived.error(), arrived.offset()
                if error is None:
                    if at < stops[topic_partition]:
                        found[topic_partition].append(record_of(topic_partition[0], arrived))
                    if at + 1 >= stops[topic_partition]:
                        unfinished.pop(topic_partition, None)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                    # a gap may end in markers, after which no record comes
                    if at >= stops[topic_partition]:
                        unfinished.pop(topic_partition, None)
                elif not error.retriable():
                    raise error_of(
                        error, "can't read the input", topic_partition[0], operation="Read"
                    )
            self._troubles.check()
            if unfinished and self._clock.monotonic_s() > until_s:
                (topic, partition), stop = min(unfinished.items())
                raise StoreUnavailable(f"the brokers don't deliver the positions before {stop}",
                                       where=f"{topic}/{partition}")  # fmt: skip
        return found

    def _report_lost(self, topic_partition: TopicPartition, start: int, low: int) -> None:
        """Notify of records that retention removed before they were read.

        Raises:
            StateError: the settings refuse to skip them.
        """
        where = f"{topic_partition[0]}/{topic_partition[1]}"
        if not self._earliest:
            raise StateError(
                f"retention took {low - start:,} records before they were read (from {start})",
                where=where,
                hint="kafka.on_lost_records = earliest goes on without them; keep records longer",
            )
        self._notify(f"{low - start:,} records of {where} are lost: retention took them")
