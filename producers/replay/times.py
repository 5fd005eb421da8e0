"""Read times exactly: ISO 8601, patterns, or numbers since an origin, in a zone that is named.

The machine's own zone never matters. Zone names in texts are read only where they are exact: UTC
and GMT; EST or CST mean different offsets in different places.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from claimtrace.clock import DAY_MS, MINUTE_MS, SECOND_MS, duration_ms
from claimtrace.encoding.missing_values import is_missing
from claimtrace.errors import ConfigError
from claimtrace.events import EPOCH
from claimtrace.limits import EVENT_TIME_MIN_MS

from .cells import BadCell, Numbers, Unreadable, text_of, type_name
from .mapping import TimeColumn
from .nearest import nearest

UNIT_MS: Final = {
    "ns": Decimal("1e-6"), "us": Decimal("1e-3"), "ms": Decimal(1), "s": Decimal(SECOND_MS),
    "days": Decimal(DAY_MS),
}  # fmt: skip
FIRST_MS: Final = -62_135_596_800_000
LAST_MS: Final = 253_402_300_799_999
"""0001-01-01 and the end of the year 9999: the times that ISO 8601 and Python can hold."""

_PLAUSIBLE_UNTIL_MS: Final = 4_102_444_800_000  # 2100: for hints about the unit only
_DAY_DIGITS: Final = 8  # 20250301
_EXACT_ZONES: Final = re.compile(r"(?<![A-Za-z])(?:UTC|GMT|UT|Z)(?![A-Za-z])")
_WHOLE: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_LEAP_SECOND: Final = re.compile(r"(:\d\d):60")


def time_reader(
    when: TimeColumn, numbers: Numbers, zone: str = "", where: str = ""
) -> Callable[[Any], int | None]:
    """Return a reader that gives milliseconds since 1970 UTC, within the years 1 to 9999.

    Args:
        when: unit, pattern and zone of the column.
        numbers: the table's notation of numbers.
        zone: of times without one, if the column doesn't say it; empty: UTC.
        where: the mapping's file, for errors.

    Raises:
        ConfigError: an origin, a zone, a pattern or a duration is invalid.
    """
    home = zone_of(when.zone or zone, where)
    origin_ms = _origin_ms(when, home, where)
    if when.unit == "row":
        every_ms = _every_ms(when, where)
        return lambda row: _within(origin_ms + row * every_ms)
    if when.unit == "iso":
        if when.format:
            check_pattern(when.format, where)
        return lambda value: _written_ms(value, when.format, home)
    unit = UNIT_MS[when.unit]

    def read(value: object) -> int | None:
        if isinstance(value, date):
            return _written_ms(value, "", home)
        exact = numbers.exact(value)
        if exact is None:
            return None
        if exact.adjusted() > 30:
            raise Unreadable("bad_time", "is too large for a time")
        since_ms = origin_ms + round(exact * unit)
        if not FIRST_MS <= since_ms <= LAST_MS:
            why = f"is not within the years 1 to 9999 as {when.unit}"
            raise Unreadable("bad_time", why, unit_hint(value, when))
        return since_ms

    return read


def unit_hint(value: object, when: TimeColumn) -> str:
    """Return a hint that names the unit in which a number is a plausible time, or an empty text.

    >>> unit_hint("1740820500000000", TimeColumn(column="T", unit="ms"))
    "it is a time in us: say unit = 'us' in the mapping"
    """
    text = str(value).strip()
    if when.format or not re.fullmatch(r"\d{8,20}(\.0*)?", text):
        return ""
    for unit, factor in UNIT_MS.items():
        if unit != when.unit and EVENT_TIME_MIN_MS <= Decimal(text) * factor < _PLAUSIBLE_UNTIL_MS:
            return f"it is a time in {unit}: say unit = '{unit}' in the mapping"
    return ""


def zone_of(name: str, where: str) -> tzinfo:
    """Return the zone of a name of the IANA data base; UTC for an empty name."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        hint = nearest(name, available_timezones()) or "such as America/New_York"
        raise ConfigError(f"there is no zone {name!r}", where=where, hint=hint) from error


def check_pattern(pattern: str, where: str) -> None:
    """Check that a pattern is one of strptime's.

    Raises:
        ConfigError: a letter after % has no meaning.
    """
    try:
        datetime.strptime("", pattern)
    except ValueError as error:
        if "does not match format" not in str(error) and "unconverted" not in str(error):
            raise ConfigError(f"format {pattern!r}: {error}", where=where,
                              hint="write it as for Python's strptime, such as '%d/%m/%Y'"
                              ) from error  # fmt: skip


def iso(time_ms: int) -> str:
    """Format a time as in events: ISO 8601 in UTC with milliseconds.

    >>> iso(1_522_540_831_000)
    '2018-04-01T00:00:31.000Z'
    """
    day, rest_ms = divmod(time_ms, DAY_MS)
    minutes, rest_ms = divmod(rest_ms, MINUTE_MS)
    return f"{_day(day)}T{_minute(minutes)}:{rest_ms // 1000:02d}.{rest_ms % 1000:03d}Z"


def spelled(value: object, time_ms: int) -> str:
    """Return the text of an event's field for a time that was read from a cell.

    A whole ISO 8601 time with its offset stays as it is written: the event has the same bytes, and
    so is known as a duplicate, whichever version replays the table.

    >>> spelled("2018-04-01T00:00:31+00:00", 1_522_540_831_000)
    '2018-04-01T00:00:31+00:00'
    >>> spelled("2018-04-01", 1_522_540_800_000)
    '2018-04-01T00:00:00.000Z'
    """
    return value if isinstance(value, str) and _WHOLE.fullmatch(value) else iso(time_ms)


@lru_cache(maxsize=4096)
def _day(days: int) -> str:
    return (EPOCH + timedelta(days=days)).date().isoformat()


@lru_cache(maxsize=1440)
def _minute(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _origin_ms(when: TimeColumn, home: tzinfo, where: str) -> int:
    try:
        return _localized_ms(datetime.fromisoformat(when.origin), home)
    except (Unreadable, ValueError) as error:
        raise ConfigError(f"origin {when.origin!r} is not a date", where=where) from error


def _every_ms(when: TimeColumn, where: str) -> int:
    try:
        return duration_ms(when.every)
    except ValueError as error:
        raise ConfigError(str(error), where=where) from error


def _written_ms(value: object, pattern: str, home: tzinfo) -> int | None:
    """Read a date, a timestamp, or a text in ISO 8601 or in a pattern."""
    if isinstance(value, datetime):
        return _localized_ms(value, home)
    if isinstance(value, date):
        return _localized_ms(datetime(value.year, value.month, value.day), home)
    if isinstance(value, BadCell):
        raise Unreadable("bad_time", "is not within the years 1 to 9999")
    try:
        text = text_of(value)
    except Unreadable:
        raise Unreadable("bad_type", f"is a {type_name(value)}, not a time") from None
    if text is None:
        return None
    text = text.strip()
    try:
        return _localized_ms(_parsed(text, pattern), home)
    except Unreadable:
        raise
    except (ValueError, ArithmeticError):
        pass
    if is_missing(text):
        return None
    repaired = _LEAP_SECOND.sub(r"\1:59", text, count=1)
    if repaired != text:  # a valid time that Python's datetime can't hold: one second less
        return _written_ms(repaired, pattern, home)
    raise _not_a_time(text, pattern)


def _parsed(text: str, pattern: str) -> datetime:
    if not pattern:
        if text.isdigit() and len(text) != _DAY_DIGITS:
            raise ValueError("a number, not a date")
        return datetime.fromisoformat(text)
    if "%Z" in pattern:
        # strptime's own %Z takes the names of the machine's zone, at an offset that it then drops
        text, pattern = _EXACT_ZONES.sub("+0000", text), pattern.replace("%Z", "%z")
    return datetime.strptime(text, pattern)


def _not_a_time(text: str, pattern: str) -> Unreadable:
    if "%Z" in pattern:
        return Unreadable(
            "bad_time",
            f"is not {pattern!r} with an exact zone",
            "write UTC, GMT or an offset such as -05:00; or leave zone names out of the file, and "
            "say zone = 'America/New_York' in the mapping",
        )
    if pattern:
        return Unreadable("bad_time", f"is not {pattern!r}")
    hint = unit_hint(text, TimeColumn(unit="iso"))
    return Unreadable("bad_time", "is not a time in ISO 8601", hint or "say format in the mapping")


def _localized_ms(when: datetime, home: tzinfo) -> int:
    """Return the time in ms; one without a zone is of `home`, the earlier of two in autumn."""
    if when.tzinfo is None:
        if home is UTC:
            when = when.replace(tzinfo=UTC)
        else:
            local = when.replace(tzinfo=home)
            when = local.astimezone(UTC)
            if when.astimezone(home).replace(tzinfo=None) != local.replace(tzinfo=None, fold=0):
                why = f"doesn't exist in {home}: the clocks were put forward"
                raise Unreadable("bad_time", why, "is it another zone?")
    since = when - EPOCH
    return _within((since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000)


def _within(since_ms: int) -> int:
    if not FIRST_MS <= since_ms <= LAST_MS:
        raise Unreadable("bad_time", "is not within the years 1 to 9999")
    return since_ms
