"""What is in hand of one shard, and which of Kinesis' records each position is of.

Kinesis numbers its records with integers of 186 bits that tell nothing but the order, and a record
may hold several (`claimtrace.adapters.kinesis.kpl_aggregation`). A position here counts the parts
of a shard from the first one that ever was in a plan. Plans say which of Kinesis' records a range
begins with (`Anchor`), so every worker counts alike, and a shard can be read again from there.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.prefetch import Prefetch
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
    """Kinesis' records of one read: the position of the first part of each, and its number."""

    firsts: NDArray[np.int64]
    sequences: tuple[str, ...]


class ShardBuffer:
    """One shard: what was read ahead, where the next read begins, and whether it has ended.

    Args:
        place: its topic and number.
        name: of the stream that it belongs to.
        start: where to begin; None: with the first record that the stream has, as position 0.
        position: the first that is wanted; what stands before it in the same record is dropped.
    """

    def __init__(
        self,
        topic_partition: TopicPartition,
        name: str,
        start: Anchor | None = None,
        position: int = 0,
    ) -> None:
        self.topic_partition, self._stream = topic_partition, name
        self.ahead = Prefetch()
        self.next = start.first if start is not None else 0
        self.start = position
        self.ask = ReadRequest(
            name, topic_partition[1], sequence=start.sequence if start is not None else ""
        )
        self._wanted = int(start.sequence) if start is not None else None
        self._runs: deque[_Run] = deque()
        self.is_ended = False
        self.behind_ms: int | None = None
        """As of the last read; None before the first."""
        self.seen_ms = start.seen_ms if start is not None else 0
        self.is_gap = False
        """Whether the record to begin with was not there any more."""
        self.empty_reads = 0
        self.due_s = 0.0
        self.pending: Future[ShardPage] | None = None

    @property
    def is_at_end(self) -> bool:
        """Whether all that the shard had at the last read is in hand."""
        return self.is_ended or self.behind_ms == 0

    def reaches(self, position: int) -> bool:
        """Whether reading on gives the records from a position on, and none of them was dropped."""
        return self.start <= position <= max(self.next, self.start)

    def add(self, got: ShardPage, now_ms: int) -> None:
        """Take what a read gave.

        Raises:
            StateError: records came out of order.
        """
        if got.is_throttled:
            return
        self.behind_ms = got.behind_ms
        self.seen_ms = max(self.seen_ms, now_ms - got.behind_ms)
        self.is_ended = got.iterator is None
        self.empty_reads = 0 if got.sequences else self.empty_reads + 1
        if got.sequences:
            self._take(got)
        last = got.sequences[-1] if got.sequences else self.ask.sequence
        is_after = bool(got.sequences) or self.ask.is_after
        self.ask = self.ask._replace(iterator=got.iterator, sequence=last, is_after=is_after)

    def _take(self, got: ShardPage) -> None:
        numbers = [int(sequence) for sequence in got.sequences]  # as text they differ in length
        before = int(self.ask.sequence) if self.ask.is_after else -1
        if any(a >= b for a, b in zip([before, *numbers], numbers, strict=False)):
            raise StateError("the stream delivers records out of order",
                             where=f"{self._stream}/{self.topic_partition[1]}")  # fmt: skip
        if self._wanted is not None:
            if numbers[0] != self._wanted:
                self.is_gap, self.next = True, self.start
            self._wanted = None
        counts = np.array(got.counts, np.int64)
        ends = self.next + np.cumsum(counts)
        total = int(counts.sum())
        self._runs.append(_Run(ends - counts, got.sequences))
        self.ahead.add(
            Records(
                [self.topic_partition],
                np.zeros(total, np.int64),
                np.arange(self.next, self.next + total, dtype=np.int64),
                ByteStrings.of(got.keys),
                ByteStrings.of(got.values),
                np.array(got.log_times_ms, np.int64),
            )
        )
        self.next += total
        self.ahead.drop_before(self.start)

    def trim(self, position: int) -> None:
        """Forget the records before a position; which of Kinesis' records was the last stays."""
        self.ahead.drop_before(position)
        self.start = max(self.start, position)
        while len(self._runs) > 1 and self._runs[1].firsts[0] < position:
            self._runs.popleft()

    def anchor(self, position: int) -> Anchor:
        """The record that a position in hand, or the last one before those, is of.

        Raises:
            StateError: it isn't in hand.
        """
        for run in reversed(self._runs):
            if run.firsts[0] <= position:
                at = int(np.searchsorted(run.firsts, position, side="right")) - 1
                return Anchor(int(run.firsts[at]), run.sequences[at], self.seen_ms)
        raise StateError(
            f"position {position} isn't in hand", where=f"{self._stream}/{self.topic_partition[1]}"
        )
