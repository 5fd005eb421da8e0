"""Several partitions read as one, by log time: a k-way merge with read-ahead, in columns.

The rule: the head with the least (log_time_ms, order of the partition) goes next. Log times may
run backwards inside a partition; a record behind a later one then goes right after it, which is
what the *running maximum* of log times from the current position says: the merge is a sort by
(running maximum, partition), and cutting it anywhere gives the same sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ..byte_strings import bounds_of
from ..records import Records

Read = Callable[[str, int, int, int], Records]
Version = tuple[int, int]

_AHEAD_RECORDS: Final = 2048
"""Read ahead this many records a partition: a few MB over a dozen partitions."""


def merge_order(
    keys: Sequence[npt.NDArray[np.int64]], most: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which column gives its next element, and which that is: the first `most` of a merge.

    Args:
        keys: ascending columns, in order of precedence among equals.

    >>> [each.tolist() for each in merge_order([np.array([1, 5]), np.array([1, 2])], 3)]
    [[0, 1, 1], [0, 0, 1]]
    """
    # Stable, and the columns stand in order of precedence: ties fall as the rule says.
    order = np.argsort(np.concatenate(keys), kind="stable")[:most]
    bounds = bounds_of([len(each) for each in keys])
    owners = np.searchsorted(bounds, order, side="right") - 1
    return owners, order - bounds[owners]


def merged(columns: Sequence[Records], keys: Sequence[npt.NDArray[np.int64]], most: int) -> Records:
    """The first `most` records of a merge, by ascending keys of each column of records."""
    owners, within = merge_order(keys, most)
    counts = np.bincount(owners, minlength=len(columns))
    parts = [part[:count] for part, count in zip(columns, counts.tolist(), strict=True)]
    starts = np.cumsum(counts) - counts
    return Records.joined(parts).take(starts[owners] + within)


class _Ahead:
    """What was read ahead of one partition, from `start` on."""

    __slots__ = ("ended_at", "records", "start")

    def __init__(self) -> None:
        self.records = Records.of([])
        self.start = 0
        self.ended_at: Version | None = None
        """The log's version at which the partition had no more than this."""


class MergedReader:
    """Keeps its place over the partitions `parts`, in their order of precedence."""

    def __init__(
        self, topics: tuple[str, ...], parts: Sequence[tuple[str, int]], read: Read
    ) -> None:
        self.topics = topics
        self._parts = list(parts)
        self._read = read
        self._ahead = [_Ahead() for _ in parts]

    def take(
        self, positions: Mapping[tuple[str, int], int], max_records: int, version: Version
    ) -> Records:
        """The next `max_records` in merged order; fewer only when the log has no more.

        Args:
            positions: next position to read, by (topic, partition); 0 where it says nothing.
            version: changes when the log has grown, so that ended partitions are looked at again.
        """
        if max_records <= 0:
            return Records.of([])
        heads: list[Records] = []
        keys: list[npt.NDArray[np.int64]] = []
        for part, ahead in zip(self._parts, self._ahead, strict=True):
            offset = self._fill(part, ahead, positions.get(part, 0), max_records, version)
            heads.append(ahead.records[offset : offset + max_records])
            keys.append(np.maximum.accumulate(heads[-1].log_times_ms))
        return merged(heads, keys, max_records)

    def _fill(
        self, part: tuple[str, int], ahead: _Ahead, position: int, wanted: int, version: Version
    ) -> int:
        """Have `wanted` records from `position` on, or all there are; returns where they start."""
        offset = position - ahead.start
        if not 0 <= offset <= len(ahead.records):  # a seek
            ahead.records, ahead.start, ahead.ended_at, offset = Records.of([]), position, None, 0
        missing = wanted - (len(ahead.records) - offset)
        if missing <= 0 or ahead.ended_at == version:
            return offset
        asked = max(missing, _AHEAD_RECORDS)
        more = self._read(*part, ahead.start + len(ahead.records), asked)
        ahead.ended_at = version if len(more) < asked else None
        if len(more) or offset:
            ahead.records = Records.joined([ahead.records[offset:], more])
            ahead.start, offset = position, 0
        return offset
