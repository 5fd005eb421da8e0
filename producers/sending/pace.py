"""Send records at a steady rate, whatever the sink does.

The schedule is fixed when it begins: record n is due at n / rate. After a stall of the sink the
overdue records are sent at once, so that the mean rate holds and the stall shows in their delay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from claimtrace.clock import Clock
from claimtrace.errors import UsageError
from claimtrace.events import Outgoing

from .chunks import Chunk

BATCH_RECORDS: Final = 1000
_MIN_SLEEP_S: Final = 0.02
_MAX_SLEEP_S: Final = 0.2
"""Bounds of one sleep: not for each record at high rates, and a request to stop is seen soon."""


def never() -> bool:
    """Return False: the default of `stopping`, without a way to ask for a stop."""
    return False


def evenly(
    records: Iterable[Outgoing],
    clock: Clock,
    rate: float,
    for_s: float | None = None,
    *,
    at_once_until_ms: int | None = None,
    stopping: Callable[[], bool] = never,
) -> Iterator[list[Outgoing]]:
    """Yield records in batches of up to `BATCH_RECORDS`, `rate` records a second.

    Args:
        records: in the order of sending.
        clock: for the time and for waiting.
        rate: records a second; 0: without waiting.
        for_s: stop after this many seconds; None: when the records end.
        at_once_until_ms: records with a log time before this are yielded without waiting, before
            the schedule begins: the opening portfolio of a simulation.
        stopping: called several times a second; returns True to stop.

    Raises:
        UsageError: the rate or the time is negative.

    >>> from claimtrace.clock import ManualClock
    >>> clock = ManualClock()
    >>> five = [Outgoing("t", 0, None, b"", 0)] * 5
    >>> [(len(batch), clock.now_ms()) for batch in evenly(five, clock, rate=2)]
    [(1, 0), (1, 500), (1, 1000), (1, 1500), (1, 2000)]
    >>> sum(len(batch) for batch in evenly(five, ManualClock(), rate=2, for_s=1.0))
    2
    """
    if rate < 0 or (for_s is not None and for_s < 0):
        raise UsageError("a rate and a time can't be negative", where="--rate, --for",
                         hint="--rate 0 is as fast as it goes")  # fmt: skip
    batch: list[Outgoing] = []
    schedule: _Schedule | None = None
    for record in records:
        if schedule is None and not (at_once_until_ms and record.log_time_ms < at_once_until_ms):
            if batch:
                yield batch
                batch = []
            schedule = _Schedule(clock, rate, for_s)
        if schedule is not None and not schedule.is_due():
            if batch:  # these are due: yield them before waiting for the next one
                yield batch
                batch = []
            if not schedule.wait(stopping):
                return
        batch.append(record)
        if len(batch) >= BATCH_RECORDS:
            yield batch
            batch = []
            if stopping() or (schedule is not None and schedule.is_over()):
                return
    if batch:
        yield batch


class _Schedule:
    """The due times of records; reads the clock only when the known due records are used up."""

    def __init__(self, clock: Clock, rate: float, for_s: float | None) -> None:
        self._clock = clock
        self._rate = rate
        self._began_s = clock.monotonic_s()
        self._for_s = for_s
        self._count = 0
        self._due_count = 0  # records due by the last look at the clock

    def is_due(self) -> bool:
        """Whether the next record is due; if so it counts as sent."""
        if self._rate == 0:
            return True
        if self._count >= self._due_count:
            self._look()
        if self._count >= self._due_count:
            return False
        self._count += 1
        return True

    def wait(self, stopping: Callable[[], bool]) -> bool:
        """Wait until the next record is due and count it; False at the end or on a stop."""
        due_s = self._began_s + self._count / self._rate
        while not self.is_due():
            if stopping() or self.is_over():
                return False
            left_s = due_s - self._clock.monotonic_s()
            self._clock.sleep(min(_MAX_SLEEP_S, max(_MIN_SLEEP_S, left_s)))
        return not self.is_over()

    def is_over(self) -> bool:
        """Whether `for_s` has elapsed."""
        elapsed_s = self._clock.monotonic_s() - self._began_s
        return self._for_s is not None and elapsed_s >= self._for_s

    def _look(self) -> None:
        elapsed_s = self._clock.monotonic_s() - self._began_s
        self._due_count = 1 + int(elapsed_s * self._rate)


def records_of(chunk: Chunk, *, by_key: bool) -> list[Outgoing]:
    """Make the records of a simulation's chunk, in order of arrival.

    Args:
        chunk: of `Simulation.chunks`.
        by_key: set partition -1, so that the sink chooses by the key.
    """
    merged = [
        Outgoing(part.topic, -1 if by_key else part.partition, key, value, log_time_ms)
        for part in chunk.parts
        for key, value, log_time_ms in zip(
            part.keys, part.values, part.log_times_ms.tolist(), strict=True
        )
    ]
    merged.sort(key=lambda record: record.log_time_ms)  # stable: each partition keeps its order
    return merged
