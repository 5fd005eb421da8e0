"""Records of one partition that were read ahead, in the pieces in which they were delivered."""

from __future__ import annotations

from collections import deque

import numpy as np

from .records import Records


class Prefetch:
    """A queue of records by ascending position; no record is copied when the queue is cut.

    >>> from claimtrace.events import Record
    >>> ahead = Prefetch()
    >>> ahead.add(Records.of([Record("t", 0, at, None, b"x", 0) for at in (3, 4, 7)]))
    >>> ahead.drop_before(4)
    >>> len(ahead), [piece.positions.tolist() for piece in ahead.first(1)]
    (2, [[4]])
    """

    __slots__ = ("_count", "_pieces")

    def __init__(self) -> None:
        self._pieces: deque[Records] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, records: Records) -> None:
        """Append records; their positions are above those of all records in the queue."""
        if len(records):
            self._pieces.append(records)
            self._count += len(records)

    def drop_before(self, position: int) -> None:
        """Drop the records before a position."""
        while self._pieces:
            piece = self._pieces[0]
            cut = int(np.searchsorted(piece.positions, position))
            self._count -= cut
            if cut < len(piece):
                self._pieces[0] = piece[cut:]
                return
            self._pieces.popleft()

    def first(self, most: int) -> list[Records]:
        """Return the first `most` records, in pieces."""
        found = []
        for piece in self._pieces:
            if most <= 0:
                break
            found.append(piece[:most])
            most -= len(piece)
        return found

    def until(self, position: int) -> Records:
        """Return the records before a position."""
        ends = [int(np.searchsorted(piece.positions, position)) for piece in self._pieces]
        return Records.joined([p[:end] for p, end in zip(self._pieces, ends, strict=True)])


class PartitionBuffer:
    """The records that a source has read ahead of one partition.

    Records before `start` were dropped; `next` is the position after the last record that was
    added, so the buffer has read everything in `[start, next)`.

    Args:
        start: the position to read from; -1: the beginning of the partition, wherever that is.

    >>> from claimtrace.events import Record
    >>> buffer = PartitionBuffer(3)
    >>> buffer.add(Records.of([Record("t", 0, at, None, b"x", 0) for at in (3, 4, 7)]))
    >>> buffer.trim(4)
    >>> buffer.start, buffer.next, len(buffer)
    (4, 8, 2)
    """

    def __init__(self, start: int) -> None:
        self.records = Prefetch()
        self.start = self.next = start

    def __len__(self) -> int:
        """Return the number of records in the buffer."""
        return len(self.records)

    def add(self, records: Records) -> None:
        """Append records, at least one; positions may have gaps."""
        self.records.add(records)
        self.next = int(records.positions[-1]) + 1

    def trim(self, position: int) -> None:
        """Drop the records before a position."""
        self.records.drop_before(position)
        self.start = max(self.start, position)
