"""When tumbling windows close: a watermark of event time, moved row by row.

Closing is decided by the order of rows alone. If it were decided once a batch, a late row would be
counted or not depending on where the batch was cut, and a replay would differ from the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

_NEVER: Final = -(2**62)
"""The watermark before the first row: far from overflow when a lateness is subtracted."""


class WindowClock:
    """The greatest event time so far, and the first window that is still open.

    Windows are numbered: window w is `[w * window_ms, (w + 1) * window_ms)` ms since 1970 UTC. It
    closes when its end plus the lateness is not after the watermark. So at most
    `lateness_ms // window_ms + 2` windows are open, and they are neighbours: a window's place in a
    table of that many rows is its number modulo their count.

    >>> clock = WindowClock(window_ms=10, lateness_ms=5)
    >>> for start, end, first in clock.stretches(np.array([7, 12, 25, 9])):
    ...     print(start, end, list(clock.closing(first)))
    0 2 []
    2 4 [0, 1]
    """

    def __init__(self, window_ms: int, lateness_ms: int) -> None:
        self.window_ms = window_ms
        self.lateness_ms = lateness_ms
        self.slots = lateness_ms // window_ms + 2
        self._watermark_ms = _NEVER
        self._first = _NEVER

    @property
    def watermark_ms(self) -> int | None:
        """The greatest event time so far; None before the first row."""
        return None if self._watermark_ms == _NEVER else self._watermark_ms

    def stretches(self, times_ms: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Cut rows where windows close: (start row, end row, first open window of these rows).

        Before the rows of a stretch are counted, `closing(first)` names the windows to close.
        Rows of a stretch whose window is below `first` are late.
        """
        if not len(times_ms):
            return
        running = np.maximum.accumulate(times_ms)
        running = np.maximum(running, self._watermark_ms)
        firsts = np.maximum((running - self.lateness_ms) // self.window_ms, self._first)
        self._watermark_ms = int(running[-1])
        cuts = [0, *(np.flatnonzero(np.diff(firsts)) + 1).tolist(), len(times_ms)]
        for start, end in pairwise(cuts):
            yield start, end, int(firsts[start])

    def closing(self, first: int) -> range:
        """The open windows below `first`, in order of time: they are closed from now on."""
        before, self._first = self._first, max(first, self._first)
        if before == _NEVER:
            return range(0)
        return range(before, min(self._first, before + self.slots))

    def close_all(self) -> range:
        """The windows still open, in order of time: closed from now on, whatever the lateness."""
        if self._watermark_ms == _NEVER:
            return range(0)
        return self.closing(self._watermark_ms // self.window_ms + 1)

    def numbers(self) -> tuple[int, int]:
        """The whole state, for a snapshot."""
        return self._watermark_ms, self._first

    def set(self, watermark_ms: int, first: int) -> None:
        """Go on from `numbers()` of another clock of the same window and lateness."""
        self._watermark_ms, self._first = watermark_ms, first
