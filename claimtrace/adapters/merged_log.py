"""Several partitions read as one, by log time: a k-way merge with read-ahead, in columns.

The rule: the head with the least (log_time_ms, order of the partition) goes next. Log times may
run backwards inside a partition; a record behind a later one then goes right after it, which is
what the *running maximum* of log times from the current position says: the merge is a sort by
(running maximum, partition), and cutting it anywhere gives the same sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ..events import Record

Read = Callable[[str, int, int, int], list[Record]]
Version = tuple[int, int]

_AHEAD_RECORDS: Final = 2048
"""Read ahead this many records a partition: a few MB over a dozen partitions."""


def merge_order(keys: Sequence[npt.NDArray[np.int64]], most: int) -> Iterator[tuple[int, int]]:
    """Which column gives its next element, and which that is: the first `most` of a merge.

    Args:
        keys: ascending columns, in order of precedence among equals.

    >>> list(merge_order([np.array([1, 5]), np.array([1, 2])], 3))
    [(0, 0), (1, 0), (1, 1)]
    """
    # Stable, and the columns stand in order of precedence: ties fall as the rule says.
    order = np.argsort(np.concatenate(keys), kind="stable")[:most]
    bounds = np.cumsum([0, *(len(each) for each in keys)])
    owners = np.searchsorted(bounds, order, side="right") - 1
    return zip(owners.tolist(), (order - bounds[owners]).tolist(), strict=True)


class _Ahead:
    """What was read ahead of one partition: records and their log times, from `start` on."""

    __slots__ = ("ended_at", "records", "start", "times")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.times: npt.NDArray[np.int64] = np.zeros(0, np.int64)
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
    ) -> list[Record]:
        """The next `max_records` in merged order; fewer only when the log has no more.

        Args:
            positions: next position to read, by (topic, partition); 0 where it says nothing.
            version: changes when the log has grown, so that ended partitions are looked at again.
        """
        if max_records <= 0:
            return []
        offsets: list[int] = []
        keys: list[npt.NDArray[np.int64]] = []
        for part, ahead in zip(self._parts, self._ahead, strict=True):
            offset = self._fill(part, ahead, positions.get(part, 0), max_records, version)
            offsets.append(offset)
            keys.append(np.maximum.accumulate(ahead.times[offset : offset + max_records]))
        records = [ahead.records for ahead in self._ahead]
        return [
            records[owner][offsets[owner] + within]
            for owner, within in merge_order(keys, max_records)
        ]

    def _fill(
        self, part: tuple[str, int], ahead: _Ahead, position: int, wanted: int, version: Version
    ) -> int:
        """Have `wanted` records from `position` on, or all there are; returns where they start."""
        offset = position - ahead.start
        if not 0 <= offset <= len(ahead.records):  # a seek
            ahead.records, ahead.times = [], np.zeros(0, np.int64)
            ahead.start, ahead.ended_at, offset = position, None, 0
        missing = wanted - (len(ahead.records) - offset)
        if missing <= 0 or ahead.ended_at == version:
            return offset
        asked = max(missing, _AHEAD_RECORDS)
        more = self._read(*part, ahead.start + len(ahead.records), asked)
        ahead.ended_at = version if len(more) < asked else None
        if more or offset:
            ahead.records = ahead.records[offset:] + more
            new_times = np.array([record.log_time_ms for record in more], np.int64)
            ahead.times = np.concatenate((ahead.times[offset:], new_times))
            ahead.start, offset = position, 0
        return offset
