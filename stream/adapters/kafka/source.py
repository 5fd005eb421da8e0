"""Input topics of a Kafka cluster, read by position and merged by log time.

Every worker reads every partition, without being told by a group which (`stream.group.group` says
who decides). A partition that has no record here yet may still have older ones on the broker: a new
batch waits for it, for a while, so that a worker that catches up keeps the order of log times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import (
    TopicPartition as KafkaPartition,
)

from claimtrace.adapters.embedded_log.merge import merged
from claimtrace.adapters.kafka.client import BrokerErrors
from claimtrace.adapters.kafka.errors import error_of
from claimtrace.batches.prefetch import Prefetch
from claimtrace.batches.records import Records
from claimtrace.clock import Clock
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import Range, TopicPartition, in_plan_order
from ...journal.source import ByPosition
from ...worker.observer import WorkerObserver
from .reading import by_topic_partition, concerned, ends_of, reader, topic_partitions_of

_PULL = 4_000
_FULL_RECORDS, _LOW_RECORDS = 20_000, 10_000
"""A partition with more read ahead than this is paused while others are waited for."""
_WAIT_S, _PATIENCE_S, _FETCH_S = 0.02, 2.0, 5.0
_PARTITIONS_EVERY_S = 5.0


class _Buffer:
    """What was read ahead of one partition, from `start` on; `next` is the position after it."""

    __slots__ = ("ended", "is_paused", "next", "records", "start")

    def __init__(self, start: int) -> None:
        self.records = Prefetch()
        self.start = self.next = start
        self.ended = -1
        self.is_paused = False

    def add(self, records: Records) -> None:
        self.records.add(records)
        self.next = int(records.positions[-1]) + 1

    def trim(self, position: int) -> None:
        """Forget the records before a position."""
        self.records.drop_before(position)
        self.start = max(self.start, position)


class KafkaSource(ByPosition):
    """Reads the domain's topics from a cluster.

    Args:
        connection: brokers, security, and what to do about records that are gone.
        topics: in their order among equal log times.
        clock: for deadlines.
        observer: told positions, ends, and records that are lost by policy.
        topic_ids: the topics' ids as of now; asked again now and then. None: not looked at.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topics: Sequence[str],
        clock: Clock,
        observer: WorkerObserver | None = None,
        topic_ids: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self._topics, self._clock = tuple(topics), clock
        self._observer = observer or WorkerObserver()
        self._earliest = connection.kafka.on_lost_records == "earliest"
        self._troubles = BrokerErrors(connection)
        self._user, self._group = connection.security.username, connection.kafka.group
        self._consumer = reader(connection, self._troubles)
        self._buffers: dict[TopicPartition, _Buffer] = {}
        self._low: dict[TopicPartition, int] = {}  # where we go on after what retention took
        self._ask_ids: Callable[[], Sequence[str]] = topic_ids or (lambda: ())
        self._ids: tuple[str, ...] = ()
        self._topic_partitions: list[TopicPartition] = []
        self._partitions_at_s = -_PARTITIONS_EVERY_S
        self._fetching = False

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Records:
        """The next records in order of log time; empty when there are none now.

        Raises:
            StateError: records are gone that were never read, and the settings say stop.
            StoreUnavailable: no broker answers.
        """
        self._probe()
        self._look_for_partitions()
        for topic_partition in self._topic_partitions:
            self._buffer(
                topic_partition,
                max(positions.get(topic_partition, -1), self._low.get(topic_partition, -1)),
            )
        self._wait_for_heads(most)
        heads = {
            topic_partition: self._buffers[topic_partition].records.first(most)
            for topic_partition in self._topic_partitions
        }
        # what comes next on a partition may be older than what others have after this
        limits = [
            max(int(piece.log_times_ms.max()) for piece in head)
            for topic_partition, head in heads.items()
            if head and not self._is_at_end(topic_partition, self._buffers[topic_partition])
        ]
        return merged(list(heads.values()), most, min(limits, default=None))

    def fetch(self, ranges: Sequence[Range]) -> Records:
        """Exactly the records of a plan, in plan order.

        Raises:
            StateError: the topic no longer has them.
            StoreUnavailable: the brokers don't deliver them; try again.
        """
        self._look_for_partitions()
        for span in ranges:
            self._buffer((span.topic, span.partition), span.from_position)
        self._fetching = True
        try:
            parts = [self._fetch(span) for span in ranges]
        finally:
            self._fetching = False
        return in_plan_order(Records.joined(parts), self._topics)

    def ends(self) -> dict[TopicPartition, int]:
        """The position after the last record of every partition, as the brokers say."""
        self._look_for_partitions()
        return {
            topic_partition: self._watermarks(topic_partition)[1]
            for topic_partition in self._topic_partitions
        }

    def is_through(self, topic_partition: TopicPartition, end: int) -> bool:
        """Whether nothing but transaction markers is left before an end."""
        buffer = self._buffers.get(topic_partition)
        return buffer is not None and not len(buffer.records) and buffer.ended >= end

    def report(self, positions: dict[TopicPartition, int]) -> None:
        """Tell where we are and where the partitions end, as far as it is known."""
        for (topic, partition), buffer in self._buffers.items():
            end = self._known_end((topic, partition))
            at = positions.get((topic, partition), buffer.start)
            self._observer.topic_partition(topic, partition, max(at, 0), max(end, at, 0))

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _fetch(self, span: Range) -> Records:
        topic_partition = span.topic, span.partition
        buffer = self._buffers[topic_partition]
        until_s = self._clock.monotonic_s() + _FETCH_S
        while buffer.next < span.to_position:
            before = buffer.next
            self._balance(waiting=False)  # it may be held back, and nobody else lets it go
            self._pull(_WAIT_S)
            if buffer.next > before:
                until_s = self._clock.monotonic_s() + _FETCH_S
            elif self._clock.monotonic_s() > until_s:
                why = f": {self._troubles.last}" if self._troubles.last else ""
                raise StoreUnavailable(
                    f"the brokers don't deliver positions {buffer.next} to {span.to_position}{why}",
                    where=f"{span.topic}/{span.partition}",
                )
            if buffer.ended >= span.to_position:
                break
        found = buffer.records.until(span.to_position)
        ends = [span.from_position, span.to_position - 1]
        if not len(found) or found.positions[[0, -1]].tolist() != ends:
            raise StateError(
                f"the log no longer has {span.topic}/{span.partition} from {span.from_position} "
                f"to {span.to_position}",
                where="journal",
                hint="keep records longer than the time between two snapshots "
                "(kafka.input_retention); copy a newer snapshot from another worker",
            )
        return found

    def _buffer(self, topic_partition: TopicPartition, position: int) -> None:
        """Have the partition read from a position on; -1: from its beginning."""
        buffer = self._buffers.get(topic_partition)
        if buffer is None:
            start = OFFSET_BEGINNING if position < 0 else position
            self._consumer.incremental_assign([KafkaPartition(*topic_partition, start)])
            self._buffers[topic_partition] = _Buffer(position)
        elif position < buffer.start or position > max(buffer.next, buffer.start, 0):
            self._seek(topic_partition, position)
        else:
            buffer.trim(position)

    def _seek(self, topic_partition: TopicPartition, position: int) -> None:
        if position < 0:
            return
        if self._buffers[topic_partition].is_paused:  # else it would outlive the assignment
            self._consumer.resume([KafkaPartition(*topic_partition)])
        self._consumer.incremental_unassign([KafkaPartition(*topic_partition)])
        self._consumer.incremental_assign([KafkaPartition(*topic_partition, position)])
        self._buffers[topic_partition] = _Buffer(position)

    def _wait_for_heads(self, most: int) -> None:
        """Read until every partition shows a record or its end, or patience is over."""
        from_s = self._clock.monotonic_s()
        while True:
            have = sum(len(buffer.records) for buffer in self._buffers.values())
            late = [
                topic_partition
                for topic_partition, buffer in self._buffers.items()
                if not len(buffer.records) and not self._is_at_end(topic_partition, buffer)
            ]
            waited_s = self._clock.monotonic_s() - from_s
            if have >= most and not late:
                break
            if have and (not late or waited_s > _PATIENCE_S):
                self._pull(0.0)
                break
            if not have and waited_s > _WAIT_S:
                break
            self._balance(bool(late))
            self._pull(_WAIT_S)

    def _balance(self, waiting: bool) -> None:
        """Hold partitions back that are far ahead of those that we wait for."""
        for topic_partition, buffer in self._buffers.items():
            if waiting and not buffer.is_paused and len(buffer.records) > _FULL_RECORDS:
                self._consumer.pause([KafkaPartition(*topic_partition)])
                buffer.is_paused = True
            elif buffer.is_paused and len(buffer.records) < _LOW_RECORDS:
                self._consumer.resume([KafkaPartition(*topic_partition)])
                buffer.is_paused = False

    def _pull(self, timeout_s: float) -> None:
        """Take what has arrived; `consume` alone would wait until it has all it was asked for."""
        first = self._consumer.poll(timeout_s)
        self._troubles.check()
        if first is None:
            return
        self._troubles.answered()
        arrived = [first, *self._consumer.consume(_PULL - 1, 0)]
        errors = list(map(Message.error, arrived))
        fine = arrived
        if any(errors):
            fine = [each for each, error in zip(arrived, errors, strict=True) if error is None]
        for topic_partition, records in by_topic_partition(fine).items():
            if (buffer := self._buffers.get(topic_partition)) is not None:
                buffer.add(records)
        for message, error in zip(arrived, errors, strict=True):
            if error is not None:
                self._take_error((message.topic(), message.partition()), message, error)

    def _take_error(
        self, topic_partition: TopicPartition, arrived: Message, error: KafkaError
    ) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
            if topic_partition in self._buffers:
                self._buffers[topic_partition].ended = arrived.offset()
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            self._out_of_range(topic_partition)
        elif not error.retriable():
            where = concerned(error, topic_partition[0] or "", self._group)
            raise error_of(error, "can't read the input", where, user=self._user, operation="Read")

    def _out_of_range(self, topic_partition: TopicPartition) -> None:
        """Our position is not on the topic any more: by retention, or it is another topic."""
        buffer = self._buffers[topic_partition]
        low, high = self._watermarks(topic_partition)
        where = f"{topic_partition[0]}/{topic_partition[1]}"
        if buffer.next == self._low.get(topic_partition):
            return  # we go on there already, and were told twice
        if not buffer.next < low:
            what = f"the partition is from {low}, ends at {high}, this worker is at {buffer.next}"
            raise StateError(what, where=where, hint="the topic was cut or made anew: start with "
                             "a new folder and journal")  # fmt: skip
        lost = low - buffer.next
        if not self._earliest or self._fetching:
            raise StateError(
                f"retention took {lost:,} records before they were read (from {buffer.next})",
                where=where,
                hint="kafka.on_lost_records = earliest goes on without them; keep records longer",
            )
        self._observer.notify(
            f"{lost:,} records of {where} are lost: retention took them; going on at {low}"
        )
        self._observer.lost(lost)
        self._low[topic_partition] = low
        self._seek(topic_partition, low)

    def _is_at_end(self, topic_partition: TopicPartition, buffer: _Buffer) -> bool:
        end = self._known_end(topic_partition)
        return (end >= 0 and buffer.next >= end) or (0 <= buffer.next <= buffer.ended) or (
            buffer.next < 0 and (buffer.ended >= 0 or end == 0)
        )  # fmt: skip

    def _known_end(self, topic_partition: TopicPartition) -> int:
        """The end as of the last fetch; negative when nothing was fetched yet."""
        found = self._consumer.get_watermark_offsets(KafkaPartition(*topic_partition), cached=True)
        return int(found[1]) if found else -1

    def _watermarks(self, topic_partition: TopicPartition) -> tuple[int, int]:
        return ends_of(self._consumer, self._troubles, topic_partition, self._user)

    def _probe(self) -> None:
        """See whether brokers that were down answer again."""
        if not self._troubles.down:
            return
        try:
            self._consumer.list_topics(timeout=1)
        except KafkaException as error:
            raise StoreUnavailable("no broker answers", where="source") from error
        self._troubles.answered()

    def _look_for_partitions(self) -> None:
        """Which partitions there are: new ones are read from their beginning; and whether these are
        still the topics that we began with, for in others our positions mean other records."""
        now_s = self._clock.monotonic_s()
        if self._topic_partitions and now_s - self._partitions_at_s < _PARTITIONS_EVERY_S:
            return
        ids = tuple(self._ask_ids())
        if self._ids and ids != self._ids:
            raise StateError("an input topic was made anew while this worker ran", where="source",
                             hint="start with new topics, journal included, another kafka.group "
                             "and a new folder")  # fmt: skip
        self._ids = ids
        self._topic_partitions = topic_partitions_of(self._consumer, self._topics, self._troubles)
        self._partitions_at_s = now_s
