"""What is done now and then: after so many records, or after a time."""

from __future__ import annotations

from claimtrace.clock import Clock


class Interval:
    """Due after so many records, or after a time if there were any.

    >>> from claimtrace.clock import ManualClock
    >>> clock = ManualClock()
    >>> every = Interval(100, 60.0, clock)
    >>> every.count(99); every.due
    False
    >>> clock.sleep(60); every.due
    True
    """

    def __init__(self, records: int, seconds: float, clock: Clock) -> None:
        self._records, self._seconds, self._clock = records, seconds, clock
        self.reset()

    def count(self, records: int) -> None:
        """So many more."""
        self.since += records

    def reset(self) -> None:
        """It was done."""
        self.since, self._at_s = 0, self._clock.monotonic_s()

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self.since >= self._records or (
            self.since > 0 and self._clock.monotonic_s() - self._at_s >= self._seconds
        )
