"""A source for the driver out of the events that Faust delivers: in plan order, each once.

Faust delivers at least once, mostly in order. This source keeps a position for each partition: a
record below it was applied already and is dropped; before a record above it is added, the gap
between them is read from the log (`gap_reader`). Events are acknowledged to Faust when the
checkpoints that cover them are committed, and not before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from claimtrace.adapters.embedded_log.merge import merged
from claimtrace.batches.prefetch import PartitionBuffer
from claimtrace.batches.records import Records
from claimtrace.clock import Clock
from claimtrace.errors import StateError
from claimtrace.events import Record

from ...journal.plan import Range, TopicPartition
from ...journal.source import ByPosition
from ...worker.observer import WorkerObserver
from .gap_reader import Gap

_MOST_AHEAD: Final = 50_000
"""With more buffered records than this a batch no longer waits for partitions that are behind."""

_PATIENCE_S: Final = 0.5
"""A batch waits for a partition that isn't at its end until it was silent for this many seconds."""

_MARKER_PATIENCE_S: Final = 0.05
"""The same when only one position is missing: a transaction's marker, or a record on its way."""

STAND_IN: Final = ("claimtrace-stand-in", b"")
"""The one header of a message in place of records that Faust's client can't read, up to the
message's own position. A sender who writes it has the record read by position, nothing else."""


class Message(Protocol):
    """A Kafka message in Faust's form (`faust.types.tuples.Message`)."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    headers: Any
    key: bytes | None
    value: bytes | None


class Event(Protocol):
    """The form in which an agent receives a record (`faust.Event`)."""

    message: Message

    def ack(self) -> bool:
        """Acknowledge the event: Faust may commit past it."""


class PlanReader(Protocol):
    """Reads the records of plans by position, such as `KafkaSource`."""

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by their topics' places in `topics` from now on."""

    def fetch(self, ranges: Sequence[Range]) -> Sequence[Record]:
        """Return exactly the records of a plan, in plan order."""

    def close(self) -> None:
        """Close the connection to the brokers."""


class _FaustBuffer(PartitionBuffer):
    """The records of one partition that no plan has yet; they arrive one by one."""

    def __init__(self, position: int, now_s: float) -> None:
        super().__init__(position)
        self._arrived: list[Record] = []
        self.end: int | None = None
        self.last_arrival_s = now_s

    def accept(self, record: Record) -> bool:
        """Take a record for the next `add_accepted`; False when its position was passed already."""
        if record.position < self.next:
            return False
        self._arrived.append(record)
        self.next = record.position + 1
        return True

    def add_accepted(self) -> None:
        """Append the accepted records to the buffer, as one piece."""
        if self._arrived:
            self.add(Records.of(self._arrived))
            self._arrived.clear()

    def trim(self, position: int) -> None:
        """Drop the records before a position; records below it that arrive later are repeats.

        The position may be above `next`: plans may have been read by position up to there.
        """
        super().trim(position)
        self.next = max(self.next, position)


class FaustSource(ByPosition):
    """Orders the events that an agent collected, and acknowledges them.

    Args:
        topics: the input topics, in their order among equal log times.
        clock: for how long to wait for partitions that are behind.
        open_reader: opens a reader of plans by position: at the start, and when another worker's
            plan won.
        read_gaps: reads the records in gaps between positions, see `GapReader`.
        observer: told positions and ends.
    """

    def __init__(
        self,
        topics: Sequence[str],
        clock: Clock,
        open_reader: Callable[[], PlanReader],
        read_gaps: Callable[[Mapping[TopicPartition, Gap]], dict[TopicPartition, list[Record]]],
        observer: WorkerObserver | None = None,
    ) -> None:
        self._topics = tuple(topics)
        self._clock, self._open_reader, self._read_gaps = clock, open_reader, read_gaps
        self._observer = observer or WorkerObserver()
        self._reader: PlanReader | None = None
        self._arrived: deque[Record] = deque()
        self._buffers: dict[TopicPartition, _FaustBuffer] = {}
        self._pending: dict[TopicPartition, deque[Event]] = {}
        self.end_of: Callable[[TopicPartition], int | None] = lambda _: None
        """Returns the end of a partition, as far as Faust knows it."""
        self.repeats = self.gaps = 0
        """How many records were delivered again, and how many gaps were read."""

    @property
    def waiting(self) -> int:
        """The number of records that no plan has yet."""
        return len(self._arrived) + sum(map(len, self._buffers.values()))

    @property
    def unacknowledged(self) -> int:
        """The number of events that aren't acknowledged to Faust yet."""
        return sum(map(len, self._pending.values()))

    def collect(self, event: Event) -> None:
        """Keep an event until `acknowledge` has a position above that of its record."""
        record = record_of(event.message)
        self._arrived.append(record)
        topic_partition = record.topic, record.partition
        self._pending.setdefault(topic_partition, deque()).append(event)

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by their topics' places in `topics` from now on."""
        self._topics = tuple(topics)

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Sequence[Record]:
        """Return the next records by log time; empty when there are none, or an older one may come.

        Raises:
            StateError: the topic is another one than the positions belong to; or retention removed
                records before they were read.
            StoreUnavailable: a gap can't be read now.
        """
        for topic_partition, buffer in self._buffers.items():
            buffer.trim(positions.get(topic_partition, -1))
        self._buffer_arrived(positions)
        is_full = self.waiting > _MOST_AHEAD
        rank = {topic: i for i, topic in enumerate(self._topics)}
        topic_partitions = sorted(self._buffers, key=lambda each: (rank[each[0]], each[1]))
        heads, limits = [], []
        for topic_partition in topic_partitions:
            buffer = self._buffers[topic_partition]
            is_complete = is_full or self._is_complete(topic_partition, buffer)
            if not len(buffer) and not is_complete:
                return []  # its next record may be older than all that others have
            head = buffer.records.first(most)
            heads.append(head)
            if head and not is_complete:
                # its next record may be older than what others have after its newest one here
                limits.append(max(int(piece.log_times_ms.max()) for piece in head))
        return merged(heads, most, min(limits, default=None))

    def fetch(self, ranges: Sequence[Range]) -> Sequence[Record]:
        """Return exactly the records of a plan, read by position."""
        if self._reader is None:
            self._reader = self._open_reader()
        self._reader.order_topics(self._topics)
        return self._reader.fetch(ranges)

    def suspend_fetching(self) -> None:
        """Close the reader of plans, which would read ahead of Faust; `fetch` opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def acknowledge(self, committed: Mapping[TopicPartition, int]) -> int:
        """Acknowledge all events below the committed positions; returns how many."""
        done = 0
        for topic_partition, events in self._pending.items():
            position = committed.get(topic_partition, 0)
            while events and events[0].message.offset < position:
                events.popleft().ack()
                done += 1
        return done

    def report(self, positions: Mapping[TopicPartition, int]) -> None:
        """Report positions and the ends of the partitions to the observer, as far as known."""
        for (topic, partition), buffer in self._buffers.items():
            at = max(positions.get((topic, partition), 0), 0)
            self._observer.topic_partition(
                topic, partition, at, max(buffer.end or 0, buffer.next, at)
            )

    def _buffer_arrived(self, positions: Mapping[TopicPartition, int]) -> None:
        """Move arrived records to the buffers, and fill the gaps between them from the log.

        Raises:
            StoreUnavailable: a gap can't be read now; nothing has moved, and a retry is safe.
        """
        now_s = self._clock.monotonic_s()
        for record in self._arrived:
            topic_partition = record.topic, record.partition
            if topic_partition not in self._buffers:
                position = positions.get(topic_partition, -1)
                self._buffers[topic_partition] = _FaustBuffer(position, now_s)
            self._buffers[topic_partition].last_arrival_s = now_s
        # gaps first: their read may fail, and then no record may have been accepted yet
        gaps = self._find_gaps()
        missing = {}
        if gaps:
            self.gaps += len(gaps)
            missing = {
                topic_partition: deque(found)
                for topic_partition, found in self._read_gaps(gaps).items()
            }
        for record in self._arrived:
            topic_partition = record.topic, record.partition
            buffer, between = self._buffers[topic_partition], missing.get(topic_partition)
            # one read spans all gaps of a partition: records that arrived are in it as well, and
            # are accepted once
            while between and between[0].position < _behind_gap(record):
                buffer.accept(between.popleft())
            if is_stand_in(record):
                buffer.next = max(buffer.next, record.position + 1)
            elif not buffer.accept(record):
                self._check_end(topic_partition, buffer)
                self.repeats += 1
        for buffer in self._buffers.values():
            buffer.add_accepted()
        self._arrived.clear()

    def _find_gaps(self) -> dict[TopicPartition, Gap]:
        """Return the gaps among the records that arrived, one span for each partition.

        It reaches from the start of the partition's first gap to the end of its last one; a start
        of -1 is the beginning of the partition.
        """
        gaps: dict[TopicPartition, Gap] = {}
        nexts = {
            topic_partition: max(buffer.next, 0)
            for topic_partition, buffer in self._buffers.items()
        }
        for record in self._arrived:
            topic_partition = record.topic, record.partition
            if _behind_gap(record) > nexts[topic_partition]:
                gaps[topic_partition] = (
                    gaps.get(topic_partition, (nexts[topic_partition], 0))[0],
                    _behind_gap(record),
                )
            nexts[topic_partition] = max(nexts[topic_partition], record.position + 1)
        return {
            topic_partition: (
                -1 if self._buffers[topic_partition].next < 0 and start == 0 else start,
                stop,
            )
            for topic_partition, (start, stop) in gaps.items()
        }

    def _check_end(self, topic_partition: TopicPartition, buffer: _FaustBuffer) -> None:
        """Refuse a partition that ends before this worker's position: it is another topic.

        Called for each repeated record, as positions on another topic look like repeats.

        Raises:
            StateError: the topic was truncated or created again.
        """
        end = self.end_of(topic_partition)
        if end is not None and 0 <= end < buffer.next:
            raise StateError(
                f"the partition ends at {end}, this worker is at {buffer.next}",
                where=f"{topic_partition[0]}/{topic_partition[1]}",
                hint="the topic was truncated or made anew: start with a new folder and journal",
            )

    def _is_complete(self, topic_partition: TopicPartition, buffer: _FaustBuffer) -> bool:
        """Whether no older record of the partition is expected.

        That is so when the buffer has reached the partition's end, or when the partition has been
        silent for longer than a batch waits.
        """
        now_s, end = self._clock.monotonic_s(), self.end_of(topic_partition)
        if end is not None and end != buffer.end:
            buffer.end, buffer.last_arrival_s = end, now_s  # an end that moves counts as arrival
        if end is not None and buffer.next >= end:
            return True
        is_near = end is not None and end - buffer.next == 1
        return now_s - buffer.last_arrival_s > (_MARKER_PATIENCE_S if is_near else _PATIENCE_S)


def is_stand_in(record: Record) -> bool:
    """Whether a record stands for others, up to its own position, that must be read by position."""
    return record.headers == (STAND_IN,)


def _behind_gap(record: Record) -> int:
    """Return the position behind everything that is missing before a record, or that it stands
    for."""
    return record.position + is_stand_in(record)


def record_of(message: Message) -> Record:
    """Return a delivered message as a record; Faust keeps log times in seconds.

    Names of headers end at a NUL, as librdkafka reads them.

    >>> from types import SimpleNamespace
    >>> record_of(SimpleNamespace(topic="t", partition=1, offset=5, timestamp=1700000000.007,
    ...                           headers=[("h", b"1")], key=None, value=b"x"))
    Record(topic='t', partition=1, position=5, key=None, value=b'x', log_time_ms=1700000000007,
           headers=(('h', b'1'),))
    """
    headers = message.headers
    pairs: Iterator[tuple[str, bytes | None]] = (
        iter(()) if not headers else iter(headers.items() if isinstance(headers, dict) else headers)
    )
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        round(message.timestamp * 1000),
        tuple((name.partition("\0")[0], value or b"") for name, value in pairs),
    )
