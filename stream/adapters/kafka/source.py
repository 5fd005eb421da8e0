"""Input topics of a Kafka cluster, read by position and merged by log time.

Every worker reads every partition; the group (`stream.group.group`) assigns decisions, not reads. A
partition without a record in its buffer may still have older records on the broker than the other
partitions: a new batch waits for them, up to `_PATIENCE_S`, so that a worker that catches up keeps
the order of log times.
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
from claimtrace.batches.prefetch import PartitionBuffer
from claimtrace.batches.records import Records
from claimtrace.clock import Clock
from claimtrace.errors import StateError, StoreUnavailable
from claimtrace.settings.schema import KafkaConnection

from ...journal.plan import Range, TopicPartition, in_plan_order
from ...journal.source import ByPosition
from ...worker.observer import WorkerObserver
from .accessors import errors_of
from .reading import by_topic_partition, ends_of, reader, resource_of, topic_partitions_of

_PULL = 4_000
_FULL_RECORDS, _LOW_RECORDS = 20_000, 10_000
"""While a batch waits for some partitions, others are paused above the first number of records in
their buffer, and resumed below the second."""
_WAIT_S, _PATIENCE_S, _FETCH_S = 0.02, 2.0, 5.0
"""How long one poll waits; how long a batch waits for slow partitions; how long a fetch waits
without progress."""
_PARTITIONS_EVERY_S = 5.0


class _KafkaBuffer(PartitionBuffer):
    """The records read ahead of one partition, and the state of its fetching."""

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.ended = -1
        """The end of the partition as the last end-of-partition event told it; -1: none yet."""
        self.is_paused = False


class KafkaSource(ByPosition):
    """Reads the domain's topics from a cluster.

    Args:
        connection: brokers, security, and the policy for records that retention removed.
        topics: the input topics, in their order among equal log times.
        clock: for deadlines.
        observer: told positions, ends, and records that are lost by policy.
        topic_ids: returns the topics' ids as of now, every few seconds. None: they aren't compared.
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
        self._buffers: dict[TopicPartition, _KafkaBuffer] = {}
        self._low: dict[TopicPartition, int] = {}  # where reading goes on after lost records
        self._ask_ids: Callable[[], Sequence[str]] = topic_ids or (lambda: ())
        self._ids: tuple[str, ...] = ()
        self._topic_partitions: list[TopicPartition] = []
        self._partitions_at_s = -_PARTITIONS_EVERY_S
        self._fetching = False

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by their topics' places in `topics` from now on."""
        if self._topics != tuple(topics):
            self._topics = tuple(topics)
            rank = {topic: i for i, topic in enumerate(topics)}
            self._topic_partitions.sort(key=lambda each: (rank[each[0]], each[1]))

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Records:
        """Return the next records in order of log time; empty when there are none now.

        Raises:
            StateError: retention removed records before they were read, and the settings refuse
                to skip them.
            StoreUnavailable: no broker answers.
        """
        self._probe()
        self._refresh_partitions()
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
        # the next record of a partition that isn't at its end is unknown: the batch must not go
        # beyond the partition's newest record in hand, or the unknown one could be older
        limits = [
            max(int(piece.log_times_ms.max()) for piece in head)
            for topic_partition, head in heads.items()
            if head and not self._is_at_end(topic_partition, self._buffers[topic_partition])
        ]
        return merged(list(heads.values()), most, min(limits, default=None))

    def fetch(self, ranges: Sequence[Range]) -> Records:
        """Return exactly the records of a plan, in plan order.

        Raises:
            StateError: the topic no longer has them.
            StoreUnavailable: the brokers don't deliver them; a retry may help.
        """
        self._refresh_partitions()
        for span in ranges:
            self._buffer((span.topic, span.partition), span.from_position)
        self._fetching = True
        try:
            parts = [self._fetch(span) for span in ranges]
        finally:
            self._fetching = False
        return in_plan_order(Records.joined(parts), self._topics)

    def ends(self) -> dict[TopicPartition, int]:
        """Ask the brokers for the position after the last record of every partition."""
        self._refresh_partitions()
        return {
            topic_partition: self._watermarks(topic_partition)[1]
            for topic_partition in self._topic_partitions
        }

    def is_through(self, topic_partition: TopicPartition, end: int) -> bool:
        """Whether only transaction markers are left to read before an end."""
        buffer = self._buffers.get(topic_partition)
        return buffer is not None and not len(buffer) and buffer.ended >= end

    def report(self, positions: dict[TopicPartition, int]) -> None:
        """Report positions and the ends of the partitions to the observer, as far as known."""
        for (topic, partition), buffer in self._buffers.items():
            end = self._known_end((topic, partition))
            at = positions.get((topic, partition), buffer.start)
            self._observer.topic_partition(topic, partition, max(at, 0), max(end, at, 0))

    def close(self) -> None:
        """Close the connection to the brokers."""
        self._consumer.close()

    def _fetch(self, span: Range) -> Records:
        """Read until the buffer has a range; any progress extends the deadline."""
        topic_partition = span.topic, span.partition
        buffer = self._buffers[topic_partition]
        until_s = self._clock.monotonic_s() + _FETCH_S
        while buffer.next < span.to_position:
            before = buffer.next
            self._balance(waiting=False)  # the partition may be paused, and only this resumes it
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
        # positions inside the range may be missing (markers, compaction), its ends may not
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
        """Make the partition's buffer start at a position; -1: at the partition's beginning."""
        buffer = self._buffers.get(topic_partition)
        if buffer is None:
            start = OFFSET_BEGINNING if position < 0 else position
            self._consumer.incremental_assign([KafkaPartition(*topic_partition, start)])
            self._buffers[topic_partition] = _KafkaBuffer(position)
        elif position < buffer.start or position > max(buffer.next, buffer.start, 0):
            self._seek(topic_partition, position)
        else:
            buffer.trim(position)

    def _seek(self, topic_partition: TopicPartition, position: int) -> None:
        if position < 0:
            return
        # librdkafka keeps a pause across assignments, so it is lifted first
        if self._buffers[topic_partition].is_paused:
            self._consumer.resume([KafkaPartition(*topic_partition)])
        self._consumer.incremental_unassign([KafkaPartition(*topic_partition)])
        self._consumer.incremental_assign([KafkaPartition(*topic_partition, position)])
        self._buffers[topic_partition] = _KafkaBuffer(position)

    def _wait_for_heads(self, most: int) -> None:
        """Read until every partition has a record or is at its end, or `_PATIENCE_S` is over."""
        from_s = self._clock.monotonic_s()
        while True:
            have = sum(len(buffer) for buffer in self._buffers.values())
            late = [
                topic_partition
                for topic_partition, buffer in self._buffers.items()
                if not len(buffer) and not self._is_at_end(topic_partition, buffer)
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
        """Pause partitions that are far ahead of those that a batch waits for."""
        for topic_partition, buffer in self._buffers.items():
            if waiting and not buffer.is_paused and len(buffer) > _FULL_RECORDS:
                self._consumer.pause([KafkaPartition(*topic_partition)])
                buffer.is_paused = True
            elif buffer.is_paused and len(buffer) < _LOW_RECORDS:
                self._consumer.resume([KafkaPartition(*topic_partition)])
                buffer.is_paused = False

    def _pull(self, timeout_s: float) -> None:
        """Add what has arrived to the buffers, after a wait of at most `timeout_s`.

        `consume(n, timeout)` would wait for all `n` messages; so one is polled, and the rest is
        consumed without a wait.
        """
        first = self._consumer.poll(timeout_s)
        self._troubles.check()
        if first is None:
            return
        self._troubles.answered()
        try:
            arrived = [first, *self._consumer.consume(_PULL - 1, 0)]
            errors = errors_of(arrived)
            good = arrived
            if any(errors):
                good = [each for each, e in zip(arrived, errors, strict=True) if e is None]
            found = by_topic_partition(good)
        except Exception:
            self._forget()  # or the messages taken just now would be missing from the buffers
            raise
        for topic_partition, records in found.items():
            if (buffer := self._buffers.get(topic_partition)) is not None:
                buffer.add(records)
        # errors come last: an end of partition refers to the records before it
        for message, error in zip(arrived, errors, strict=True):
            if error is not None:
                self._handle_error((message.topic(), message.partition()), message, error)

    def _forget(self) -> None:
        """Drop all buffers: the next call begins to read again where it is asked to."""
        paused = [KafkaPartition(*each) for each, b in self._buffers.items() if b.is_paused]
        if paused:
            self._consumer.resume(paused)
        self._consumer.unassign()
        self._buffers.clear()

    def _handle_error(
        self, topic_partition: TopicPartition, arrived: Message, error: KafkaError
    ) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
            if topic_partition in self._buffers:
                self._buffers[topic_partition].ended = arrived.offset()
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            self._handle_out_of_range(topic_partition)
        elif not error.retriable():
            where = resource_of(error, topic_partition[0] or "", self._group)
            raise error_of(error, "can't read the input", where, user=self._user, operation="Read")

    def _handle_out_of_range(self, topic_partition: TopicPartition) -> None:
        """Skip records that retention removed, if the settings allow it.

        Raises:
            StateError: the settings refuse to skip records; the records belong to a plan; or the
                position is beyond the end, so that this is another topic of the same name.
        """
        buffer = self._buffers[topic_partition]
        low, high = self._watermarks(topic_partition)
        where = f"{topic_partition[0]}/{topic_partition[1]}"
        if buffer.next == self._low.get(topic_partition):
            return  # librdkafka reports it twice; reading goes on at `low` already
        if not buffer.next < low:
            what = f"the partition is from {low}, ends at {high}, this worker is at {buffer.next}"
            raise StateError(what, where=where, hint="the topic was truncated or made anew: start "
                             "with a new folder and journal")  # fmt: skip
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

    def _is_at_end(self, topic_partition: TopicPartition, buffer: _KafkaBuffer) -> bool:
        """Whether everything on the partition is in the buffer, as far as the client knows.

        Both signs of an end are needed: the watermark doesn't count open transactions, and the
        end-of-partition event is told only once. A buffer that starts at the beginning (-1) has no
        position until its first record.
        """
        end = self._known_end(topic_partition)
        return (end >= 0 and buffer.next >= end) or (0 <= buffer.next <= buffer.ended) or (
            buffer.next < 0 and (buffer.ended >= 0 or end == 0)
        )  # fmt: skip

    def _known_end(self, topic_partition: TopicPartition) -> int:
        """Return the end as of the last fetch, from the cache; negative before the first fetch."""
        found = self._consumer.get_watermark_offsets(KafkaPartition(*topic_partition), cached=True)
        return int(found[1]) if found else -1

    def _watermarks(self, topic_partition: TopicPartition) -> tuple[int, int]:
        return ends_of(self._consumer, self._troubles, topic_partition, self._user)

    def _probe(self) -> None:
        """Ask whether brokers that were down answer again.

        Raises:
            StoreUnavailable: they don't.
        """
        if not self._troubles.down:
            return
        try:
            self._consumer.list_topics(timeout=1)
        except KafkaException as error:
            raise StoreUnavailable("no broker answers", where="source") from error
        self._troubles.answered()

    def _refresh_partitions(self) -> None:
        """List the partitions every few seconds; new ones are read from their beginning.

        Raises:
            StateError: a topic has another id than at the start: positions on it mean other
                records.
        """
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
