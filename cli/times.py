"""Dates and times on the command line."""

from __future__ import annotations

from datetime import timedelta

from claimtrace.clock import TIME_HINT, time_ms
from claimtrace.errors import UsageError
from claimtrace.events import EPOCH


def time_of(text: str, where: str) -> int:
    """Read a date or time that a person has written, in ms since 1970 UTC.

    Raises:
        UsageError: it is none.

    >>> time_of("1970-01-02", "--as-of")
    86400000
    """
    try:
        return time_ms(text)
    except ValueError as error:
        raise UsageError(str(error), where=where, hint=TIME_HINT) from None


def when(at_ms: int) -> str:
    """Return a time for a screen, in UTC to the second; its ms where Python's dates end.

    >>> when(86_400_000), when(10**18)
    ('1970-01-02 00:00:00', '1000000000000000000 ms')
    """
    try:
        return (EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return f"{at_ms} ms"
