"""Flags of an accepted event that is unusual: bits here, names on its decision."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from .events import time_ms
from .limits import EVENT_TIME_MIN_MS, FUTURE_REFUSED_MS, FUTURE_TOLERANCE_MS

NO_TIME, NO_ZONE, CLAMPED, LATE, PLACEHOLDER, UNSEEN, INCOMPLETE = (1 << i for i in range(7))
FLAG_NAMES: Final = {
    NO_TIME: "no_time",
    NO_ZONE: "no_zone",
    CLAMPED: "future_clamped",
    LATE: "late",
    PLACEHOLDER: "placeholder_id",
    UNSEEN: "unseen_category",
    INCOMPLETE: "incomplete",
}
"""Bit of each flag -> its name on the decision."""


def event_time_ms(written: datetime | None, log_time_ms: int) -> tuple[int, int] | None:
    """Return the event time in ms and flags, or None when the time is out of range.

    A missing time is replaced by the log's time; a time without a zone is taken as UTC. A time
    ahead of the log by more than `FUTURE_TOLERANCE_MS` is clamped to the log's time, so that one
    wrong clock can't move event time forward for all.

    >>> event_time_ms(None, 5_000_000_000_000)
    (5000000000000, 1)
    """
    if written is None:
        return log_time_ms, NO_TIME
    flags = NO_ZONE if written.tzinfo is None else 0
    happened_ms = time_ms(written)
    if happened_ms < EVENT_TIME_MIN_MS or happened_ms > log_time_ms + FUTURE_REFUSED_MS:
        return None
    if happened_ms > log_time_ms + FUTURE_TOLERANCE_MS:
        return log_time_ms, flags | CLAMPED
    return happened_ms, flags


def flag_names(flags: int) -> list[str]:
    """Return the names of the set bits, in order.

    >>> flag_names(LATE | NO_ZONE)
    ['no_zone', 'late']
    """
    return [name for bit, name in FLAG_NAMES.items() if flags & bit]
