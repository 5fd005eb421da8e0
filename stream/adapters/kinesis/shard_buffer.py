"""The records read ahead of one shard, and the map from positions to Kinesis' records.

Kinesis numbers its records with integers of 186 bits that give the order and nothing else, and a
record may be an aggregate of several parts (`claimtrace.adapters.kinesis.kpl_aggregation`). A
position here counts the parts of a shard from the first one that ever was in a plan. Plans name the
record of Kinesis that a range begins with (`Anchor`), so every worker counts alike, and a shard can
be read again from there.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.prefetch import PartitionBuffer
from claimtrace.batches.records import Records, TopicPartition
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.errors import StateError

from .polling import ReadRequest, ShardPage


class Anchor(msgspec.Struct, frozen=True, array_like=True):
    """One of Kinesis' records, and the position of its first part.

    `seen_ms` is the time up to which everything on the shard has been read.
    """

    first: int
    sequence: str
    seen_ms: int = 0


class _Run(NamedTuple):
    """Kinesis' records of one page: position of the first part, and sequence number, of each."""

    firsts: NDArray[np.int64]
    sequences: tuple[str, ...]


class ShardBuffer(PartitionBuffer):
    """One shard: its records read ahead, the next read request, and whether the shard has ended.

    Args:
        topic_partition: the topic, and the shard's number.
        name: the stream of the shard.
        anchor: the record to begin with; None: the first record of the stream, as position 0.
        position: the first position wanted; earlier parts of the anchor's record are dropped.
    """

    def __init__(
        self,
        topic_partition: TopicPartition,
        name: str,
        anchor: Anchor | None = None,
        position: int = 0,
    ) -> None:
        super().__init__(position)
        self.topic_partition, self._stream = topic_partition, name
        # counted from the anchor's first part, which may lie before the first position wanted
        self.next = anchor.first if anchor is not None else 0
        self.request = ReadRequest(
            name, topic_partition[1], sequence=anchor.sequence if anchor is not None else ""
        )
        self._anchor = anchor
        self._expected = int(anchor.sequence) if anchor is not None else None
        """The sequence number that the first page must begin with."""
        self._runs: deque[_Run] = deque()
        self.is_ended = False
        """Whether the shard has ended and was read to its end."""
        self.behind_ms: int | None = None
        """How far the last read was behind the shard's end; None before the first read."""
        self.seen_ms = anchor.seen_ms if anchor is not None else 0
        """The time up to which everything on the shard has been read."""
        self.is_gap = False
        """Whether the stream no longer had the anchor's record."""
        self.empty_reads = 0
        """The number of reads in a row without a record."""
        self.due_s = 0.0
        """When the next read may start, by the monotonic clock."""
        self.pending: Future[ShardPage] | None = None
        """The read under way."""

    @property
    def is_at_end(self) -> bool:
        """Whether the buffer has everything that the shard had at the last read."""
        return self.is_ended or self.behind_ms == 0

    def reaches(self, position: int) -> bool:
        """Whether the buffer, with further reads, gives all records from a position on."""
        return self.start <= position <= max(self.next, self.start)

    def add_page(self, page: ShardPage, now_ms: int) -> None:
        """Add the result of a read, and prepare the next request.

        Raises:
            StateError: records came out of order.
        """
        if page.is_throttled:
            return
        self.behind_ms = page.behind_ms
        self.seen_ms = max(self.seen_ms, now_ms - page.behind_ms)
        self.is_ended = page.iterator is None
        self.empty_reads = 0 if page.sequences else self.empty_reads + 1
        if page.sequences:
            self._add_records(page)
        last = page.sequences[-1] if page.sequences else self.request.sequence
        is_after = bool(page.sequences) or self.request.is_after
        self.request = self.request._replace(
            iterator=page.iterator, sequence=last, is_after=is_after
        )

    def _add_records(self, page: ShardPage) -> None:
        # compared as integers: as texts the numbers differ in length, and "9" is above "10"
        numbers = [int(sequence) for sequence in page.sequences]
        before = int(self.request.sequence) if self.request.is_after else -1
        if any(a >= b for a, b in zip([before, *numbers], numbers, strict=False)):
            raise StateError("the stream delivers records out of order",
                             where=f"{self._stream}/{self.topic_partition[1]}")  # fmt: skip
        if self._expected is not None:
            if numbers[0] != self._expected:
                # retention removed the anchor's record: counting goes on at the wanted position,
                # and the source decides whether that is an error
                self.is_gap, self.next = True, self.start
            self._expected = None
        counts = np.array(page.counts, np.int64)
        ends = self.next + np.cumsum(counts)
        total = int(counts.sum())
        self._runs.append(_Run(ends - counts, page.sequences))
        self.add(
            Records(
                [self.topic_partition],
                np.zeros(total, np.int64),
                np.arange(self.next, self.next + total, dtype=np.int64),
                ByteStrings.of(page.keys),
                ByteStrings.of(page.values),
                np.array(page.log_times_ms, np.int64),
            )
        )
        self.records.drop_before(self.start)  # earlier parts of the anchor's record

    def trim(self, position: int) -> None:
        """Drop the records before a position; keeps the anchor of the last of them."""
        super().trim(position)
        while len(self._runs) > 1 and self._runs[1].firsts[0] < position:
            self._runs.popleft()

    def anchor(self, position: int) -> Anchor:
        """Return the record of Kinesis that a buffered position, or the last one before, is in.

        Raises:
            StateError: the position was dropped, or not read yet.
        """
        for run in reversed(self._runs):
            if run.firsts[0] <= position:
                at = int(np.searchsorted(run.firsts, position, side="right")) - 1
                return Anchor(int(run.firsts[at]), run.sequences[at], self.seen_ms)
        # nothing was read yet: a worker that ends so soon leaves the bookmark that it started from
        if not self._runs and self._anchor is not None and self._anchor.first <= position:
            return self._anchor
        raise StateError(
            f"position {position} isn't in the buffer",
            where=f"{self._stream}/{self.topic_partition[1]}",
        )
