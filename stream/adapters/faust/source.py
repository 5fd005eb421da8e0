"""What Faust delivers, as a source of the driver: collected by hand, in plan order, each once.

Faust delivers at least once, mostly in order. Here each partition has a position; a record below it
was applied already and is dropped, a record above it waits until the hole was read (`faust_gaps`).
Events are acknowledged to Faust when the marks that cover them are committed, and not before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from claimtrace.adapters.embedded_log.merge import merged
from claimtrace.batches.records import Records
from claimtrace.clock import Clock
from claimtrace.errors import StateError
from claimtrace.events import Record

from ...journal.plan import Range, TopicPartition
from ...journal.source import ByPosition
from ...worker.observer import WorkerObserver
from .gap_reader import Hole

_MOST_AHEAD: Final = 50_000
"""With more records than this in hand, what there is goes on, whatever its order."""

_PATIENCE_S: Final = 0.5
"""A partition whose end isn't reached yet is waited for so long after it last said something."""

_MARKER_PATIENCE_S: Final = 0.05
"""The same when one position is missing: it is a transaction's marker, or on its way."""


class Message(Protocol):
    """A record as Faust has it (`faust.types.tuples.Message`)."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    headers: Any
    key: bytes | None
    value: bytes | None


class Event(Protocol):
    """What an agent gets of a record (`faust.Event`)."""

    message: Message

    def ack(self) -> bool:
        """Faust may commit past it."""


class Reader(Protocol):
    """Reads the records of plans, such as `KafkaSource`."""

    def fetch(self, ranges: Sequence[Range]) -> Sequence[Record]:
        """Exactly the records of a plan, in plan order."""

    def close(self) -> None:
        """Let go of the brokers."""


class _Buffer:
    """What is in hand of one partition; `next` is the position after it."""

    __slots__ = ("end", "heard_s", "next", "records")

    def __init__(self, position: int, now_s: float) -> None:
        self.records: deque[Record] = deque()
        self.next = position
        self.end: int | None = None
        self.heard_s = now_s

    def add(self, record: Record) -> bool:
        """Keep a record, unless it is below `next`: False then."""
        if record.position < self.next:
            return False
        self.records.append(record)
        self.next = record.position + 1
        return True

    def trim(self, position: int) -> None:
        """Forget the records before a position."""
        while self.records and self.records[0].position < position:
            self.records.popleft()
        self.next = max(self.next, position)


class FaustSource(ByPosition):
    """Hands over what an agent collected.

    Args:
        topics: in their order among equal log times.
        clock: for patience.
        open_reader: opens what reads plans by position: at the start, and when another worker's
            plan won.
        read_holes: the records in holes between positions, see `GapReader`.
        observer: told positions and ends.
    """

    def __init__(
        self,
        topics: Sequence[str],
        clock: Clock,
        open_reader: Callable[[], Reader],
        read_holes: Callable[[Mapping[TopicPartition, Hole]], dict[TopicPartition, list[Record]]],
        observer: WorkerObserver | None = None,
    ) -> None:
        self._rank = {topic: i for i, topic in enumerate(topics)}
        self._clock, self._open_reader, self._read_holes = clock, open_reader, read_holes
        self._observer = observer or WorkerObserver()
        self._reader: Reader | None = None
        self._arrived: deque[Record] = deque()
        self._buffers: dict[TopicPartition, _Buffer] = {}
        self._pending: dict[TopicPartition, deque[Event]] = {}
        self.end_of: Callable[[TopicPartition], int | None] = lambda _: None
        """Where a partition ends, as far as Faust knows."""
        self.repeats = self.holes = 0

    @property
    def waiting(self) -> int:
        """Records in hand that no plan has yet."""
        return len(self._arrived) + sum(len(each.records) for each in self._buffers.values())

    @property
    def unacknowledged(self) -> int:
        """Events that Faust hasn't been told of."""
        return sum(map(len, self._pending.values()))

    def take(self, event: Event) -> None:
        """Keep an event until `acknowledge` has a position above it."""
        record = record_of(event.message)
        self._arrived.append(record)
        topic_partition = record.topic, record.partition
        self._pending.setdefault(topic_partition, deque()).append(event)

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Sequence[Record]:
        """The next records by log time; empty when there are none, or an older one may come.

        Raises:
            StateError: the topic is not the one that the positions are of; records are gone.
            StoreUnavailable: a hole can't be read now.
        """
        for topic_partition, buffer in self._buffers.items():
            buffer.trim(positions.get(topic_partition, -1))
        self._sort_in(positions)
        is_full = self.waiting > _MOST_AHEAD
        topic_partitions = sorted(
            self._buffers,
            key=lambda topic_partition: (self._rank[topic_partition[0]], topic_partition[1]),
        )
        heads, limits = [], []
        for topic_partition in topic_partitions:
            buffer = self._buffers[topic_partition]
            is_through = is_full or self._is_through(topic_partition, buffer)
            if not buffer.records and not is_through:
                return []
            head = list(islice(buffer.records, most))
            heads.append([Records.of(head)] if head else [])
            if head and not is_through:
                # what comes next on it may be older than what others have after this
                limits.append(max(record.log_time_ms for record in head))
        return merged(heads, most, min(limits, default=None))

    def fetch(self, ranges: Sequence[Range]) -> Sequence[Record]:
        """Exactly the records of a plan, read by position."""
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader.fetch(ranges)

    def rest(self) -> None:
        """Close the reader of plans: it would read ahead of Faust."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def acknowledge(self, committed: Mapping[TopicPartition, int]) -> int:
        """Acknowledge all events below positions; returns how many."""
        done = 0
        for topic_partition, events in self._pending.items():
            position = committed.get(topic_partition, 0)
            while events and events[0].message.offset < position:
                events.popleft().ack()
                done += 1
        return done

    def report(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell where we are and where the partitions end, as far as it is known."""
        for (topic, partition), buffer in self._buffers.items():
            at = max(positions.get((topic, partition), 0), 0)
            self._observer.topic_partition(
                topic, partition, at, max(buffer.end or 0, buffer.next, at)
            )

    def _sort_in(self, positions: Mapping[TopicPartition, int]) -> None:
        """Put what arrived where it belongs; if holes can't be read, all of it stays."""
        now_s = self._clock.monotonic_s()
        for record in self._arrived:
            topic_partition = record.topic, record.partition
            if topic_partition not in self._buffers:
                self._buffers[topic_partition] = _Buffer(positions.get(topic_partition, -1), now_s)
            self._buffers[topic_partition].heard_s = now_s
        holes = self._find_holes()
        missing = {}
        if holes:
            self.holes += len(holes)
            missing = {
                topic_partition: deque(found)
                for topic_partition, found in self._read_holes(holes).items()
            }
        for record in self._arrived:
            topic_partition = record.topic, record.partition
            buffer, between = self._buffers[topic_partition], missing.get(topic_partition)
            while between and between[0].position < record.position:
                buffer.add(between.popleft())
            if not buffer.add(record):
                self._check_end(topic_partition, buffer)
                self.repeats += 1
        self._arrived.clear()

    def _find_holes(self) -> dict[TopicPartition, Hole]:
        """Of each partition, from its first hole to after its last, among what arrived."""
        holes: dict[TopicPartition, Hole] = {}
        nexts = {
            topic_partition: max(buffer.next, 0)
            for topic_partition, buffer in self._buffers.items()
        }
        for record in self._arrived:
            topic_partition = record.topic, record.partition
            if record.position > nexts[topic_partition]:
                holes[topic_partition] = (
                    holes.get(topic_partition, (nexts[topic_partition], 0))[0],
                    record.position,
                )
            nexts[topic_partition] = max(nexts[topic_partition], record.position + 1)
        return {
            topic_partition: (
                -1 if self._buffers[topic_partition].next < 0 and start == 0 else start,
                stop,
            )
            for topic_partition, (start, stop) in holes.items()
        }

    def _check_end(self, topic_partition: TopicPartition, buffer: _Buffer) -> None:
        """A record that comes again is on a partition that is at least as long as we have read."""
        end = self.end_of(topic_partition)
        if end is not None and 0 <= end < buffer.next:
            raise StateError(
                f"the partition ends at {end}, this worker is at {buffer.next}",
                where=f"{topic_partition[0]}/{topic_partition[1]}",
                hint="the topic was cut or made anew: start with a new folder and journal",
            )

    def _is_through(self, topic_partition: TopicPartition, buffer: _Buffer) -> bool:
        """Whether nothing older can come: it is at its end, or has been silent for too long."""
        now_s, end = self._clock.monotonic_s(), self.end_of(topic_partition)
        if end is not None and end != buffer.end:
            buffer.end, buffer.heard_s = end, now_s
        if end is not None and buffer.next >= end:
            return True
        is_near = end is not None and end - buffer.next == 1
        return now_s - buffer.heard_s > (_MARKER_PATIENCE_S if is_near else _PATIENCE_S)


def record_of(message: Message) -> Record:
    """A record as delivered; Faust keeps its log time in seconds.

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
        tuple((name, value or b"") for name, value in pairs),
    )
