"""Time as an argument: the `Clock` that code is given, and a manual one for tests.

Milliseconds since 1970-01-01 UTC everywhere. The real clock is
`claimtrace.adapters.process.system_clock`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

TIME_HINT = "write 2026-03-01 or 2026-03-01T12:00:00Z"
"""How a person writes what `time_ms` reads."""

_UNITS_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


class Clock(Protocol):
    """A source of time: wall time for records, monotonic time for deadlines."""

    def now_ms(self) -> int:
        """Return the wall time in ms since 1970 UTC."""

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards; only differences have a meaning."""

    def sleep(self, seconds: float) -> None:
        """Wait; a manual clock advances instead."""


class ManualClock:
    """A clock that advances only when `sleep` is called.

    >>> clock = ManualClock(1_000)
    >>> clock.sleep(0.5)
    >>> clock.now_ms()
    1500
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the wall time in ms."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Return the same time in seconds."""
        return self._now_ms / 1000

    def sleep(self, seconds: float) -> None:
        """Advance the clock at once."""
        self._now_ms += round(seconds * 1000)


def duration_ms(text: str) -> int:
    """Parse a duration such as `30d`, `12h`, `15m`, `10s` or `250ms`; returns milliseconds.

    Raises:
        ValueError: the text is anything else.

    >>> duration_ms("7d"), duration_ms("250ms")
    (604800000, 250)
    """
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _UNITS_MS.get(text[len(digits) :])
    if unit is None or not digits.isdecimal():
        raise ValueError(f"not a duration: {text!r} (write 30d, 12h, 15m, 10s or 250ms)")
    return int(digits) * unit


def time_ms(text: str) -> int:
    """Parse an ISO 8601 date or time, in UTC where it names no zone; returns ms since 1970 UTC.

    A date is its first moment.

    Raises:
        ValueError: the text is anything else.

    >>> time_ms("1970-01-02"), time_ms("1970-01-01T00:00:01.5+00:00")
    (86400000, 1500)
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
