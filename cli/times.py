"""Dates and times on the command line."""

from __future__ import annotations

from claimtrace.clock import TIME_HINT, time_ms
from claimtrace.errors import UsageError


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
