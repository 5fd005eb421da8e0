"""Time as an argument: the `Clock` that is handed in, and its twin for tests.

Milliseconds since 1970-01-01 UTC everywhere. The real clock lives in
`claimtrace.adapters.process.system_clock`.
"""

from __future__ import annotations

from typing import Protocol

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_UNITS_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


class Clock(Protocol):
    """What tells the time: wall time for records, monotonic time for deadlines."""

    def now_ms(self) -> int:
        """Wall time in ms since 1970 UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never run backwards; only differences mean something."""

    def sleep(self, seconds: float) -> None:
        """Wait; the manual twin only moves its hands."""


class ManualClock:
    """A clock that moves when told to.

    >>> clock = ManualClock(1_000)
    >>> clock.sleep(0.5)
    >>> clock.now_ms()
    1500
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Wall time in ms."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """The same hands, in seconds."""
        return self._now_ms / 1000

    def sleep(self, seconds: float) -> None:
        """Move the hands forward."""
        self._now_ms += round(seconds * 1000)


def duration_ms(text: str) -> int:
    """Read a duration such as `30d`, `12h`, `15m`, `10s` or `250ms`.

    Raises:
        ValueError: for anything else.

    >>> duration_ms("7d"), duration_ms("250ms")
    (604800000, 250)
    """
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _UNITS_MS.get(text[len(digits) :])
    if unit is None or not digits.isdecimal():
        raise ValueError(f"not a duration: {text!r} (write 30d, 12h, 15m, 10s or 250ms)")
    return int(digits) * unit
