"""A history as if it happened now: every event's times move to when it is sent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from claimtrace.events import EPOCH, Outgoing

REMEMBERED: Final = 200_000
"""How many events back a repetition is known, so that it stays the same event, byte for byte."""

_TIME: Final = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?)(Z?)"')
_ID: Final = re.compile(rb'"(clm|chg|adj)-(\d{9,})"')


class Live:
    """Moves the times in events, and their log times, by what lies between log time and now.

    Within an event all times keep their distances: what was reported three days after it happened
    still is, and what was late still is. Between events the distances are those of the sending.
    An event that comes twice is moved once: both copies have the same bytes.

    Args:
        now_ms: tells the time.
        run: goes into the ids that the simulator gives, since the same simulation at another time
            is another story: under the same ids its events would contradict the first.

    >>> live = Live(lambda: 1_704_153_601_000)
    >>> old = Outgoing("t", 0, None, b'{"at":"2024-01-01T00:00:00.000Z"}', 1_704_067_201_000)
    >>> live([old])[0].value
    b'{"at":"2024-01-02T00:00:00.000Z"}'
    """

    def __init__(self, now_ms: Callable[[], int], run: str = "") -> None:
        self._now_ms = now_ms
        self._run = run
        self._shifts_ms: dict[bytes, int] = {}

    def __call__(self, records: Iterable[Outgoing]) -> list[Outgoing]:
        """JSON events with times as ISO 8601 in UTC, moved to now."""
        return [self._moved(record) for record in records]

    def _moved(self, record: Outgoing) -> Outgoing:
        now_ms = self._now_ms()
        if record.value is None:
            return record._replace(log_time_ms=now_ms)
        shifts_ms = self._shifts_ms
        name = hashlib.blake2b(record.value, digest_size=8).digest()
        shift_ms = shifts_ms.setdefault(name, now_ms - record.log_time_ms)
        if len(shifts_ms) > REMEMBERED:
            del shifts_ms[next(iter(shifts_ms))]  # the oldest: a dict keeps its order
        value = moved(record.value, shift_ms)
        if self._run:
            value = renamed(value, self._run)
        return record._replace(value=value, log_time_ms=now_ms)


def moved(value: bytes, by_ms: int) -> bytes:
    """The bytes of an event with every time in it moved; all else as it was, faults included.

    >>> moved(b'{"a":"2024-01-01T00:00:00.000Z","b":"2024-13-01T00:00:00Z"', 1500)
    b'{"a":"2024-01-01T00:00:01.500Z","b":"2024-13-01T00:00:00Z"'
    """
    by = timedelta(milliseconds=by_ms)

    def later(found: re.Match[bytes]) -> bytes:
        text, zone = found.groups()
        try:
            time = datetime.fromisoformat(text.decode()).replace(tzinfo=UTC) + by
        except (ValueError, OverflowError):  # not a day of the calendar: a fault that stays
            return found.group()
        since_ms = (time - EPOCH) // timedelta(milliseconds=1)
        return f'"{_iso(since_ms)}'.encode() + zone + b'"'

    return _TIME.sub(later, value)


def renamed(value: bytes, run: str) -> bytes:
    """The bytes of a simulated event with the run in the ids of claims, changes and outcomes.

    >>> renamed(b'{"claim_id":"clm-000000004","policy_id":"pol-0000044"}', "r1")
    b'{"claim_id":"clm-r1-000000004","policy_id":"pol-0000044"}'
    """
    return _ID.sub(rb'"\1-' + run.encode() + rb'-\2"', value)


def _iso(time_ms: int) -> str:
    time = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}"
