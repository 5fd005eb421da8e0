"""The watermark of event time that closes tumbling windows, advanced row by row.

The order of rows alone decides when a window closes. If it were decided once a batch, a late row
would be counted or not depending on where the batch was cut, and a replay would differ from the
original.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

_NEVER: Final = -(2**62)
"""The watermark before the first row: subtracting a lateness from it doesn't overflow int64."""


class Watermark:
    """The greatest event time so far, and the first window that is still open.

    Windows are numbered: window w is `[w * window_ms, (w + 1) * window_ms)` ms since 1970 UTC, and
    closes when the watermark reaches its end plus the lateness. Therefore at most
    `slots = lateness_ms // window_ms + 2` windows are open, and they are neighbours: in a table of
    `slots` rows, a window has the row of its number modulo `slots`.

    >>> watermark = Watermark(window_ms=10, lateness_ms=5)
    >>> for start, end, first in watermark.runs(np.array([7, 12, 25, 9])):
    ...     print(start, end, list(watermark.close_below(first)))
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
        """The greatest event time so far, in ms; None before the first row."""
        return None if self._watermark_ms == _NEVER else self._watermark_ms

    def runs(self, times_ms: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Cut rows into runs where windows close: (start row, end row, first open window).

        Call `close_below(first)` before the rows of a run are counted. Rows of a run whose window
        is below `first` are late.
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

    def close_below(self, first: int) -> range:
        """Close the windows below `first`; returns those that were open, in order of time."""
        before, self._first = self._first, max(first, self._first)
        if before == _NEVER:
            return range(0)
        return range(before, min(self._first, before + self.slots))

    def close_all(self) -> range:
        """Close all windows regardless of the lateness; returns those that were open, in order."""
        if self._watermark_ms == _NEVER:
            return range(0)
        return self.close_below(self._watermark_ms // self.window_ms + 1)

    def state(self) -> tuple[int, int]:
        """Return the whole state for a snapshot: the watermark in ms and the first open window."""
        return self._watermark_ms, self._first

    def restore(self, watermark_ms: int, first: int) -> None:
        """Set the state from `state()` of a watermark with the same window and lateness."""
        self._watermark_ms, self._first = watermark_ms, first
