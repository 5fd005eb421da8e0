"""Input streams of Kinesis, read by position and merged by the time of arrival.

Every worker reads every shard, in threads of a pool, within the five reads a second that a shard
allows to all of its readers together. A child is begun when its parents are finished. The group
(`stream.group.group`) assigns decisions, not reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, Protocol

import msgspec

from claimtrace.adapters.embedded_log.merge import merged
from claimtrace.adapters.kinesis.read_capacity import BYTES_A_SECOND, READS_A_SECOND
from claimtrace.batches.records import Records, TopicPartition
from claimtrace.clock import Clock
from claimtrace.errors import StateError, StoreUnavailable

from ...group.shard_family import Family, Shard
from ...journal.plan import Range, in_plan_order
from ...worker.observer import WorkerObserver
from .polling import ReadRequest, ShardPage
from .shard_buffer import Anchor, ShardBuffer

_FULL_RECORDS: Final = 20_000
"""A shard with more records in its buffer isn't read further."""
_WAIT_S, _PATIENCE_S, _FETCH_S = 0.02, 2.0, 15.0
"""How long one wait for reads takes; how long a batch waits for slow shards; how long a fetch waits
without progress."""
_SHARDS_EVERY_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 1.0
_THREADS: Final = 16

_anchors = msgspec.json.Decoder(list[tuple[TopicPartition, Anchor]])


class Reads(Protocol):
    """A way to read and list shards."""

    is_shared: bool
    """Whether all readers of a shard share its read limit."""

    def read(self, request: ReadRequest) -> ShardPage:
        """Read one page; called from threads."""

    def shards(self, name: str) -> list[Shard]:
        """Return all shards that a stream lists."""


class KinesisSource:
    """Reads the domain's topics, each of which is a stream.

    Args:
        reads: reads and lists the shards, by polling or fan-out.
        streams: the stream of each topic, in the order of the topics among equal log times.
        clock: for deadlines, pauses and read times.
        on_lost: called when records are gone that were never read; may raise.
        retention_ms: how long a stream keeps records.
        observer: told positions.
    """

    def __init__(
        self,
        reads: Reads,
        streams: Mapping[str, str],
        clock: Clock,
        on_lost: Callable[[str], None],
        retention_ms: int,
        observer: WorkerObserver | None = None,
    ) -> None:
        self._reads, self._streams, self._clock = reads, dict(streams), clock
        self._on_lost, self._retention_ms = on_lost, retention_ms
        self._observer = observer or WorkerObserver()
        self._families = {topic: Family() for topic in streams}
        self._listed_s = -_SHARDS_EVERY_S
        self._shards: dict[TopicPartition, ShardBuffer] = {}
        self._anchors: dict[TopicPartition, Anchor] = {}
        """Where to begin with shards that have no buffer yet, from the bookmarks of a snapshot."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="kinesis")
        self.readers = 1 if reads.is_shared else 0
        """The number of workers that share the shards' read limit; 0: this worker isn't limited."""
        self._writes_plans = False
        """Whether this worker writes the plans; the others read only as far as plans go."""

    # -- what a plan and a snapshot must know -----------------------------------------------------

    def located(self, ranges: Sequence[Range]) -> list[Range]:
        """Return the ranges with the record of Kinesis that each begins with."""
        return [
            msgspec.structs.replace(
                each, at=_text(self._shards[each.topic, each.partition].anchor(each.from_position))
            )
            for each in ranges
        ]

    def bookmarks(self, positions: Mapping[TopicPartition, int]) -> bytes:
        """Return for each shard the record of Kinesis from which these positions continue."""
        known = dict(self._anchors)
        # the anchor of the last record before a position: the record at it may not exist yet
        for topic_partition, shard in self._shards.items():
            if positions.get(topic_partition, 0) > 0:
                known[topic_partition] = shard.anchor(positions[topic_partition] - 1)
        return msgspec.json.encode(sorted(known.items()))

    def resume(self, bookmarks: bytes) -> None:
        """Continue from the bookmarks of a snapshot."""
        self._shards.clear()
        self._anchors = dict(_anchors.decode(bookmarks or b"[]"))

    # -- new batches ------------------------------------------------------------------------------

    def order_topics(self, topics: Sequence[str]) -> None:
        """Order records of equal log times by their topics' places in `topics` from now on."""
        if list(self._streams) != list(topics):
            self._streams = {topic: self._streams[topic] for topic in topics}

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Records:
        """Return the next records in order of arrival; empty when there are none now.

        Raises:
            StateError: records are gone that were never read, and the settings refuse to skip them.
            StoreUnavailable: AWS doesn't answer.
        """
        self._writes_plans = True
        topic_partitions = self._readable(positions)
        for topic_partition in topic_partitions:
            position = positions.get(topic_partition, 0)
            self._buffer(topic_partition, position).trim(position)
        self._wait_for_heads(topic_partitions, most)
        heads = {
            topic_partition: self._shards[topic_partition].records.first(most)
            for topic_partition in topic_partitions
        }
        # the next record of a shard that isn't at its end is unknown: the batch must not go beyond
        # the shard's newest record in hand, or the unknown one could be older
        limits = [
            max(int(piece.log_times_ms.max()) for piece in head)
            for topic_partition, head in heads.items()
            if head and not self._shards[topic_partition].is_at_end
        ]
        return merged(list(heads.values()), most, min(limits, default=None))

    def fetch(self, ranges: Sequence[Range]) -> Records:
        """Return exactly the records of a plan, in plan order.

        Raises:
            StateError: the stream no longer has them.
            StoreUnavailable: they aren't delivered; a retry may help.
        """
        self._writes_plans = False
        parts = []
        for span in ranges:
            topic_partition = span.topic, span.partition
            anchor, shard = _anchor(span), self._shards.get(topic_partition)
            if shard is None or not shard.reaches(span.from_position):
                shard = self._begin(topic_partition, anchor, span.from_position)
            parts.append(self._fetch(shard, span))
        return in_plan_order(Records.joined(parts), list(self._streams))

    def topic_partitions(self) -> set[TopicPartition]:
        """Return all shards that are listed, closed ones too."""
        self._refresh_shards()
        return {(topic, n) for topic, family in self._families.items() for n in family.numbers}

    def lineage(self) -> dict[TopicPartition, tuple[int, ...]]:
        """Return all listed shards, with the parents of each."""
        return {
            (topic, number): self._families[topic].parents(number)
            for topic, number in self.topic_partitions()
        }

    def finished(self) -> set[TopicPartition]:
        """Return the shards that have ended and whose records are all in plans."""
        return {(topic, n) for topic, family in self._families.items() for n in family.finished}

    def is_caught_up(self, since_ms: int) -> bool:
        """Whether everything that had arrived by a time was read."""
        return all(
            self._families[topic].is_finished(number)
            or ((topic, number) in self._shards and self._shards[topic, number].seen_ms >= since_ms)
            for topic in self._streams
            for number in self._families[topic].numbers
        )

    def share_with(self, workers: int) -> None:
        """Share the shards' read limit with other workers: `workers` of them with this one."""
        if self._reads.is_shared:
            self.readers = workers

    def report(self, positions: Mapping[TopicPartition, int]) -> None:
        """Report the positions to the observer, and how far the shards are read."""
        for topic_partition, shard in self._shards.items():
            self._observer.topic_partition(
                *topic_partition, positions.get(topic_partition, 0), shard.next
            )

    def close(self) -> None:
        """End the threads; returns when no read is under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- inside -----------------------------------------------------------------------------------

    def _readable(self, positions: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """Return the shards that may be read, in order of the topics."""
        self._refresh_shards()
        # a shard is finished once all of it is in plans, not when it is read: a child that is begun
        # earlier could put a key's later records into an earlier plan
        for topic_partition, shard in self._shards.items():
            if shard.is_ended and positions.get(topic_partition, 0) >= shard.next:
                self._families[topic_partition[0]].finish(topic_partition[1])
        return [
            (topic, number)
            for topic in self._streams
            for number in sorted(self._families[topic].readable)
        ]

    def _refresh_shards(self) -> None:
        """List the shards every few seconds, or after one has ended."""
        now_s = self._clock.monotonic_s()
        if now_s - self._listed_s < _SHARDS_EVERY_S:
            return
        for topic, stream in self._streams.items():
            for number in sorted(self._families[topic].learn(self._reads.shards(stream))):
                shard = self._shards.get((topic, number))
                if self._writes_plans and shard is not None and not shard.is_at_end:
                    self._on_lost(f"shard {number} of {stream} is gone before it was read")
        self._listed_s = now_s

    def _buffer(self, topic_partition: TopicPartition, position: int) -> ShardBuffer:
        """Return a shard's buffer that reaches a position; begins to read there if need be."""
        shard = self._shards.get(topic_partition)
        if shard is None or not shard.reaches(position):
            anchor = self._known_anchor(topic_partition, position)
            shard = self._begin(topic_partition, anchor, position)
        return shard

    def _known_anchor(self, topic_partition: TopicPartition, position: int) -> Anchor | None:
        """Return a record of Kinesis to begin with for a position; None: the shard's first record.

        Raises:
            StateError: neither a buffer nor a bookmark knows one.
        """
        if position == 0:
            return None
        shard, known = self._shards.get(topic_partition), self._anchors.get(topic_partition)
        if shard is not None and shard.start <= position:
            return shard.anchor(position - 1)
        if known is None or known.first >= position:
            raise StateError(f"no record of the stream is known for position {position}",
                             where=f"{self._streams[topic_partition[0]]}/{topic_partition[1]}",
                             hint="start with a new folder, journal and streams")  # fmt: skip
        return known

    def _begin(
        self, topic_partition: TopicPartition, anchor: Anchor | None, position: int
    ) -> ShardBuffer:
        shard = ShardBuffer(topic_partition, self._streams[topic_partition[0]], anchor, position)
        self._shards[topic_partition] = shard
        self._anchors.pop(topic_partition, None)
        return shard

    def _fetch(self, shard: ShardBuffer, span: Range) -> Records:
        """Read until the buffer has a range; any progress extends the deadline."""
        until_s = self._clock.monotonic_s() + _FETCH_S
        shard.trim(span.from_position)
        if shard.next < span.to_position and shard.empty_reads:
            # the plan says that there are records, so the pause of an idle shard is cut short
            shard.empty_reads = 0
            shard.due_s = min(shard.due_s, self._clock.monotonic_s() + self._pause_s(shard))
        while shard.next < span.to_position:
            before = shard.next
            if shard.is_ended:
                break
            self._read([shard.topic_partition], _WAIT_S)
            if shard.next > before:
                until_s = self._clock.monotonic_s() + _FETCH_S
            elif self._clock.monotonic_s() > until_s:
                raise StoreUnavailable(
                    f"positions {shard.next} to {span.to_position} aren't delivered",
                    where=f"{self._streams[span.topic]}/{span.partition}",
                )
        found = shard.records.until(span.to_position)
        count = span.to_position - span.from_position
        if shard.is_gap or len(found) != count or found.positions[0] != span.from_position:
            raise StateError(
                f"the stream no longer has {span.topic}/{span.partition} from {span.from_position} "
                f"to {span.to_position}",
                where="journal",
                hint="keep records longer than the time between two snapshots; copy a newer "
                "snapshot from another worker",
            )
        return found

    def _wait_for_heads(self, topic_partitions: Sequence[TopicPartition], most: int) -> None:
        """Read until every shard has a record or is at its end, or `_PATIENCE_S` is over."""
        shards = [self._shards[topic_partition] for topic_partition in topic_partitions]
        from_s = self._clock.monotonic_s()
        while True:
            have = sum(map(len, shards))
            is_late = any(not len(shard) and not shard.is_at_end for shard in shards)
            waited_s = self._clock.monotonic_s() - from_s
            if (have >= most and not is_late) or (not have and waited_s > _WAIT_S):
                self._read(topic_partitions, 0.0)
                return
            if have and (not is_late or waited_s > _PATIENCE_S):
                self._read(topic_partitions, 0.0)
                return
            self._read(topic_partitions, _WAIT_S)

    def _read(self, topic_partitions: Sequence[TopicPartition], timeout_s: float) -> None:
        """Start the reads that are due, and add the pages that have arrived to the buffers."""
        now_s = self._clock.monotonic_s()
        for topic_partition in topic_partitions:
            shard = self._shards[topic_partition]
            is_wanted = not shard.is_ended and len(shard) < _FULL_RECORDS
            if shard.pending is None and is_wanted and now_s >= shard.due_s:
                shard.due_s = now_s + self._pause_s(shard)
                shard.pending = self._pool.submit(self._reads.read, shard.request)
        pending: list[Future[ShardPage]] = [s.pending for s in self._shards.values() if s.pending]
        if not pending:
            if timeout_s:
                self._clock.sleep(timeout_s)
            return
        wait(pending, timeout=timeout_s, return_when=FIRST_COMPLETED)
        for shard in self._shards.values():
            if shard.pending is not None and shard.pending.done():
                self._add_page(shard)

    def _add_page(self, shard: ShardBuffer) -> None:
        """Add the page of a read that has finished, and set when the next read is due.

        Raises:
            StateError, StoreUnavailable, ConfigError: those of the read.
        """
        assert shard.pending is not None
        done, shard.pending = shard.pending, None
        seen_before_ms = shard.seen_ms
        page = done.result()
        if page.is_throttled:
            shard.empty_reads += 1
            shard.due_s = self._clock.monotonic_s() + self._pause_s(shard)
            return
        # a shard also limits bytes: after a large page all of its readers must wait for longer
        size_s = self.readers * sum(map(len, page.values)) / BYTES_A_SECOND
        shard.due_s = max(shard.due_s, self._clock.monotonic_s() + size_s)
        shard.add_page(page, self._clock.now_ms())
        if page.iterator is None:
            self._listed_s = -_SHARDS_EVERY_S  # the shard has ended: list its children
        if shard.is_gap and seen_before_ms < self._clock.now_ms() - self._retention_ms:
            where = f"shard {shard.topic_partition[1]} of {self._streams[shard.topic_partition[0]]}"
            self._on_lost(f"{where} was last read longer ago than the stream keeps records")

    def _pause_s(self, shard: ShardBuffer) -> float:
        """Return the pause between two reads: this worker's share, longer for an idle shard."""
        share_s = self.readers / READS_A_SECOND
        return min(share_s * 1.5 ** min(shard.empty_reads, 8), max(share_s, _LONGEST_PAUSE_S))


def _text(anchor: Anchor) -> str:
    """Return an anchor as the `at` of a range in a plan."""
    return f"{anchor.first}:{anchor.sequence}"


def _anchor(span: Range) -> Anchor:
    """Return the anchor in a range of a plan.

    Raises:
        StateError: the range has none: it is of another log.
    """
    first, _, sequence = span.at.partition(":")
    if not (first.isdigit() and sequence.isdigit()):
        raise StateError(
            f"a plan doesn't name the record that {span.topic}/{span.partition} begins with",
            where="journal",
            hint="the journal is not of a Kinesis stream",
        )
    return Anchor(int(first), sequence)
