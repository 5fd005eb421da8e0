"""Intervals of periodic work: a number of records, or a time."""

from __future__ import annotations

from claimtrace.clock import Clock


class Interval:
    """Has elapsed after `records` records, or after `seconds` if there was at least one record.

    >>> from claimtrace.clock import ManualClock
    >>> clock = ManualClock()
    >>> interval = Interval(100, 60.0, clock)
    >>> interval.count(99); interval.due
    False
    >>> clock.sleep(60); interval.due
    True
    """

    def __init__(self, records: int, seconds: float, clock: Clock) -> None:
        self._records, self._seconds, self._clock = records, seconds, clock
        self.reset()

    def count(self, records: int) -> None:
        """Add records to those since the last reset."""
        self.since += records

    def reset(self) -> None:
        """Restart the interval."""
        self.since, self._at_s = 0, self._clock.monotonic_s()

    @property
    def due(self) -> bool:
        """Whether the interval has elapsed."""
        return self.since >= self._records or (
            self.since > 0 and self._clock.monotonic_s() - self._at_s >= self._seconds
        )
