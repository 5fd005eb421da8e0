"""Input streams of Kinesis, read by position and merged by the time of arrival.

Every worker reads every shard, each by a thread of a pool, within the five reads a second that a
shard gives to all of its readers together. A child is begun when its parents are done with.
Which shards a worker decides on is not decided here (`stream.group.group`).
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
_WAIT_S, _PATIENCE_S, _FETCH_S = 0.02, 2.0, 15.0
_FAMILIES_EVERY_S: Final = 10.0
_LONGEST_S: Final = 1.0
_THREADS: Final = 16

_anchors = msgspec.json.Decoder(list[tuple[TopicPartition, Anchor]])


class Reads(Protocol):
    """How shards are read and listed."""

    is_shared: bool
    """Whether a read takes from what others may read."""

    def read(self, ask: ReadRequest) -> ShardPage:
        """One page; called from threads."""

    def shards(self, name: str) -> list[Shard]:
        """All that a stream lists."""


class KinesisSource:
    """Reads the domain's topics, each a stream.

    Args:
        reads: how.
        streams: the stream of each topic, in the order of the topics among equal log times.
        retention_ms: how long a stream keeps records.
        on_lost: told when records are gone that were never read; may raise.
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
        self._families_at_s = -_FAMILIES_EVERY_S
        self._shards: dict[TopicPartition, ShardBuffer] = {}
        self._anchors: dict[TopicPartition, Anchor] = {}
        """Of shards that aren't in hand: where they go on."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="kinesis")
        self.readers = 1 if reads.is_shared else 0
        """How many workers share what the shards give; 0: we have it to ourselves."""
        self._polls = False
        """Whether it is us who say what comes next; others read what plans say, and no further."""

    # -- what a plan and a snapshot must know -----------------------------------------------------

    def located(self, ranges: Sequence[Range]) -> list[Range]:
        """The ranges, with the record of Kinesis that each begins with."""
        return [
            msgspec.structs.replace(
                each, at=_text(self._shards[each.topic, each.partition].anchor(each.from_position))
            )
            for each in ranges
        ]

    def bookmarks(self, positions: Mapping[TopicPartition, int]) -> bytes:
        """Where each shard goes on from these positions."""
        known = dict(self._anchors)
        for topic_partition, shard in self._shards.items():
            if positions.get(topic_partition, 0) > 0:
                known[topic_partition] = shard.anchor(positions[topic_partition] - 1)
        return msgspec.json.encode(sorted(known.items()))

    def resume(self, bookmarks: bytes) -> None:
        """Go on from bookmarks."""
        self._shards.clear()
        self._anchors = dict(_anchors.decode(bookmarks or b"[]"))

    # -- new batches ------------------------------------------------------------------------------

    def poll(self, positions: dict[TopicPartition, int], most: int) -> Records:
        """The next records in order of arrival; empty when there are none now.

        Raises:
            StateError: records are gone that were never read, and the settings say stop.
            StoreUnavailable: AWS doesn't answer.
        """
        self._polls = True
        topic_partitions = self._topic_partitions(positions)
        for topic_partition in topic_partitions:
            self._in_hand(topic_partition, positions.get(topic_partition, 0)).trim(
                positions.get(topic_partition, 0)
            )
        self._wait_for_heads(topic_partitions, most)
        heads = {
            topic_partition: self._shards[topic_partition].ahead.first(most)
            for topic_partition in topic_partitions
        }
        # what comes next on a shard may be older than what others have after this
        limits = [
            max(int(piece.log_times_ms.max()) for piece in head)
            for topic_partition, head in heads.items()
            if head and not self._shards[topic_partition].is_at_end
        ]
        return merged(list(heads.values()), most, min(limits, default=None))

    def fetch(self, ranges: Sequence[Range]) -> Records:
        """Exactly the records of a plan, in plan order.

        Raises:
            StateError: the stream no longer has them.
            StoreUnavailable: they aren't delivered; try again.
        """
        self._polls = False
        parts = []
        for span in ranges:
            topic_partition = span.topic, span.partition
            anchor, shard = _anchor(span), self._shards.get(topic_partition)
            if shard is None or not shard.reaches(span.from_position):
                shard = self._begin(topic_partition, anchor, span.from_position)
            parts.append(self._fetch(shard, span))
        return in_plan_order(Records.joined(parts), list(self._streams))

    def topic_partitions(self) -> set[TopicPartition]:
        """Every shard that is listed, closed ones too."""
        self._look_at_families()
        return {(topic, n) for topic, family in self._families.items() for n in family.numbers}

    def lineage(self) -> dict[TopicPartition, tuple[int, ...]]:
        """Every place, and the shards that it came from."""
        return {
            (topic, number): self._families[topic].parents(number)
            for topic, number in self.topic_partitions()
        }

    def finished(self) -> set[TopicPartition]:
        """The places that have ended and are in plans to their end."""
        return {(topic, n) for topic, family in self._families.items() for n in family.finished}

    def is_caught_up(self, since_ms: int) -> bool:
        """Whether all that had arrived by then was read."""
        return all(
            self._families[topic].is_finished(number)
            or ((topic, number) in self._shards and self._shards[topic, number].seen_ms >= since_ms)
            for topic in self._streams
            for number in self._families[topic].numbers
        )

    def share_with(self, workers: int) -> None:
        """So many workers read the same shards."""
        if self._reads.is_shared:
            self.readers = workers

    def report(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell where we are."""
        for topic_partition, shard in self._shards.items():
            self._observer.topic_partition(
                *topic_partition, positions.get(topic_partition, 0), shard.next
            )

    def close(self) -> None:
        """Let go of the streams."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- inside -----------------------------------------------------------------------------------

    def _topic_partitions(self, positions: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """The shards that may be read, in order of the topics."""
        self._look_at_families()
        for topic_partition, shard in self._shards.items():
            if shard.is_ended and positions.get(topic_partition, 0) >= shard.next:
                self._families[topic_partition[0]].finish(topic_partition[1])
        return [
            (topic, number)
            for topic in self._streams
            for number in sorted(self._families[topic].readable)
        ]

    def _look_at_families(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._families_at_s < _FAMILIES_EVERY_S:
            return
        for topic, stream in self._streams.items():
            for number in sorted(self._families[topic].learn(self._reads.shards(stream))):
                shard = self._shards.get((topic, number))
                if self._polls and shard is not None and not shard.is_at_end:
                    self._on_lost(f"shard {number} of {stream} is gone before it was read")
        self._families_at_s = now_s

    def _in_hand(self, topic_partition: TopicPartition, position: int) -> ShardBuffer:
        shard = self._shards.get(topic_partition)
        if shard is None or not shard.reaches(position):
            shard = self._begin(topic_partition, self._known(topic_partition, position), position)
        return shard

    def _known(self, topic_partition: TopicPartition, position: int) -> Anchor | None:
        if position == 0:
            return None
        shard, known = self._shards.get(topic_partition), self._anchors.get(topic_partition)
        if shard is not None and shard.start <= position:
            return shard.anchor(position - 1)
        if known is None or known.first >= position:
            raise StateError(f"nobody knows where position {position} is",
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
        until_s = self._clock.monotonic_s() + _FETCH_S
        shard.trim(span.from_position)
        if shard.next < span.to_position and shard.empty_reads:
            shard.empty_reads = 0  # there is something: the plan says so
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
        found = shard.ahead.until(span.to_position)
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
        """Read until every shard shows a record or its end, or patience is over."""
        from_s = self._clock.monotonic_s()
        while True:
            have = sum(
                len(self._shards[topic_partition].ahead) for topic_partition in topic_partitions
            )
            late = any(
                not len(self._shards[topic_partition].ahead)
                and not self._shards[topic_partition].is_at_end
                for topic_partition in topic_partitions
            )
            waited_s = self._clock.monotonic_s() - from_s
            if (have >= most and not late) or (not have and waited_s > _WAIT_S):
                self._read(topic_partitions, 0.0)
                return
            if have and (not late or waited_s > _PATIENCE_S):
                self._read(topic_partitions, 0.0)
                return
            self._read(topic_partitions, _WAIT_S)

    def _read(self, topic_partitions: Sequence[TopicPartition], timeout_s: float) -> None:
        """Begin the reads that are due, and take what has come."""
        now_s = self._clock.monotonic_s()
        for topic_partition in topic_partitions:
            shard = self._shards[topic_partition]
            is_wanted = not shard.is_ended and len(shard.ahead) < _FULL_RECORDS
            if shard.pending is None and is_wanted and now_s >= shard.due_s:
                shard.due_s = now_s + self._pause_s(shard)
                shard.pending = self._pool.submit(self._reads.read, shard.ask)
        pending: list[Future[ShardPage]] = [s.pending for s in self._shards.values() if s.pending]
        if not pending:
            if timeout_s:
                self._clock.sleep(timeout_s)
            return
        wait(pending, timeout=timeout_s, return_when=FIRST_COMPLETED)
        for shard in self._shards.values():
            if shard.pending is not None and shard.pending.done():
                self._take(shard)

    def _take(self, shard: ShardBuffer) -> None:
        assert shard.pending is not None
        done, shard.pending = shard.pending, None
        before_ms = shard.seen_ms
        got = done.result()
        if got.is_throttled:
            shard.empty_reads += 1
            shard.due_s = self._clock.monotonic_s() + self._pause_s(shard)
            return
        size_s = self.readers * sum(map(len, got.values)) / BYTES_A_SECOND
        shard.due_s = max(shard.due_s, self._clock.monotonic_s() + size_s)
        shard.add(got, self._clock.now_ms())
        if got.iterator is None:
            self._families_at_s = -_FAMILIES_EVERY_S  # its children
        if shard.is_gap and before_ms < self._clock.now_ms() - self._retention_ms:
            where = f"shard {shard.topic_partition[1]} of {self._streams[shard.topic_partition[0]]}"
            self._on_lost(f"{where} was last read longer ago than the stream keeps records")

    def _pause_s(self, shard: ShardBuffer) -> float:
        """Between two reads: our share of them, longer where nothing comes."""
        share_s = self.readers / READS_A_SECOND
        return min(share_s * 1.5 ** min(shard.empty_reads, 8), max(share_s, _LONGEST_S))


def _text(anchor: Anchor) -> str:
    return f"{anchor.first}:{anchor.sequence}"


def _anchor(span: Range) -> Anchor:
    first, _, sequence = span.at.partition(":")
    if not (first.isdigit() and sequence.isdigit()):
        raise StateError(
            f"a plan doesn't say where {span.topic}/{span.partition} begins",
            where="journal",
            hint="the journal is not of a Kinesis stream",
        )
    return Anchor(int(first), sequence)
