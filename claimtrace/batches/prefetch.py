"""Records of one partition that were read ahead, in the pieces in which they arrived."""

from __future__ import annotations

from collections import deque

import numpy as np

from .records import Records


class Prefetch:
    """A queue of records by ascending position; pieces are sliced, never copied.

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
        """Append records; their positions are above all that are queued."""
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
        """Return the first `most` records, in pieces; they stay queued."""
        found = []
        for piece in self._pieces:
            if most <= 0:
                break
            found.append(piece[:most])
            most -= len(piece)
        return found

    def until(self, position: int) -> Records:
        """Return the records before a position; they stay queued."""
        ends = [int(np.searchsorted(piece.positions, position)) for piece in self._pieces]
        return Records.joined([p[:end] for p, end in zip(self._pieces, ends, strict=True)])
