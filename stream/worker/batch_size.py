"""The size of the next batch: small while the worker keeps up, large while it is behind."""

from __future__ import annotations

from typing import Final

_SMALLEST: Final = 64


class BatchSize:
    """Doubles when a batch was full, halves when it was less than a quarter full.

    >>> size = BatchSize(2000)
    >>> for taken in (64, 128, 256, 10):
    ...     size.took(taken)
    >>> size.records
    256
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = min(_SMALLEST, most)

    def took(self, records: int) -> None:
        """Adapt to a batch that had this many records."""
        if records >= self.records:
            self.records = min(self.records * 2, self._most)
        elif 0 < records < self.records // 4:
            self.records = max(self.records // 2, min(_SMALLEST, self._most))
