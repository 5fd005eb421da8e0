"""Read several partitions as one, by log time: a k-way merge with read-ahead, in columns.

The rule: the head with the least (log_time_ms, order of the partition) is next. Log times may run
backwards inside a partition; a record behind one with a later time then comes right after it. So
the merge is a sort by (running maximum of log times from the current position on, partition), and
the sequence is the same wherever it is cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ...batches.prefetch import Prefetch
from ...batches.records import Records
from ...buffers.byte_strings import bounds_of

Read = Callable[[str, int, int, int], Sequence[Records]]
"""A function (topic, partition, position, most) that returns up to `most` records in pieces."""
Version = tuple[int, int]

_AHEAD_RECORDS: Final = 2048
"""Records to read ahead for each partition: a few MB over a dozen partitions."""


def merge_order(
    keys: Sequence[npt.NDArray[np.int64]], most: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first `most` steps of a merge of columns.

    Args:
        keys: ascending columns, in order of precedence among equals.
        most: number of steps.

    Returns:
        For each step the index of the column and the index within it, both int64[most].

    >>> [each.tolist() for each in merge_order([np.array([1, 5]), np.array([1, 2])], 3)]
    [[0, 1, 1], [0, 0, 1]]
    """
    # A stable sort over columns in order of precedence breaks ties as the rule demands.
    order = np.argsort(np.concatenate(keys), kind="stable")[:most]
    bounds = bounds_of([len(each) for each in keys])
    owners = np.searchsorted(bounds, order, side="right") - 1
    return owners, order - bounds[owners]


def merged(heads: Sequence[Sequence[Records]], most: int, limit_ms: int | None = None) -> Records:
    """Return the first `most` records of a merge of partitions.

    Args:
        heads: the next records of each partition in pieces, in order of precedence among equals.
        most: maximum number of records.
        limit_ms: records whose (running maximum of) log times are later are left out; None: no
            limit.
    """
    pieces: list[Records] = []
    keys: list[npt.NDArray[np.int64]] = []
    for head in heads:
        highest = np.iinfo(np.int64).min
        for piece in head:
            key = np.maximum.accumulate(np.maximum(piece.log_times_ms, highest))
            highest = key[-1]
            pieces.append(piece)
            keys.append(key if limit_ms is None else key[: np.searchsorted(key, limit_ms, "right")])
    if not pieces:
        return Records.of([])
    owners, within = merge_order(keys, most)
    counts = np.bincount(owners, minlength=len(pieces))
    parts = [piece[:count] for piece, count in zip(pieces, counts.tolist(), strict=True)]
    starts = np.cumsum(counts) - counts
    return Records.joined(parts).take(starts[owners] + within)


class _Ahead:
    """Records of one partition that were read ahead; `next` is the position after them."""

    __slots__ = ("ended_at", "next", "records")

    def __init__(self, position: int) -> None:
        self.records = Prefetch()
        self.next = position
        self.ended_at: Version | None = None
        """The log's version at which the partition ended at `next`; None: it may have more."""


class MergedReader:
    """Reads merged records and reads ahead.

    Args:
        topics: kept for the caller, which makes another reader for other topics.
        parts: (topic, partition) of each partition, in order of precedence among equal log times.
        read: reads one partition.
    """

    def __init__(
        self, topics: tuple[str, ...], parts: Sequence[tuple[str, int]], read: Read
    ) -> None:
        self.topics = topics
        self._read = read
        self._ahead = {part: _Ahead(0) for part in parts}

    def take(
        self, positions: Mapping[tuple[str, int], int], max_records: int, version: Version
    ) -> Records:
        """Return the next `max_records` in merged order; fewer only when the log has no more.

        Args:
            positions: next position to read, by (topic, partition); 0 for those missing.
            max_records: maximum number of records.
            version: changes when the log has grown, so that ended partitions are read again.
        """
        if max_records <= 0:
            return Records.of([])
        heads = [
            self._head(part, positions.get(part, 0), max_records, version) for part in self._ahead
        ]
        return merged(heads, max_records)

    def _head(
        self, part: tuple[str, int], position: int, wanted: int, version: Version
    ) -> list[Records]:
        """Return `wanted` records from `position` on, or all to the partition's end, in pieces."""
        ahead = self._ahead[part]
        # a seek outside of the records read ahead drops them
        if not ahead.next - len(ahead.records) <= position <= ahead.next:
            ahead = self._ahead[part] = _Ahead(position)
        ahead.records.drop_before(position)
        missing = wanted - len(ahead.records)
        if missing > 0 and ahead.ended_at != version:
            asked = max(missing, _AHEAD_RECORDS)
            before = ahead.next
            for piece in self._read(*part, before, asked):
                ahead.records.add(piece)
                ahead.next += len(piece)
            ahead.ended_at = version if ahead.next - before < asked else None
        return ahead.records.first(wanted)
