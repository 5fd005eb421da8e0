"""Live times: move the times of recorded events to the moment when they are sent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from claimtrace.events import EPOCH, Outgoing

REMEMBERED_EVENTS: Final = 200_000
"""Number of past events among which a repeated one is recognised and moved by the same time."""

_TIME: Final = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?)(Z?)"')
_ID: Final = re.compile(rb'"(clm|chg|adj)-(\d{9,})"')


class LiveTimes:
    """Moves the log time of events to now, and all times inside of an event by the same distance.

    Times within an event keep their distances: a claim reported three days after the incident stays
    so, and a late event stays late. The distances between events are those of sending. A repeated
    event is moved by the same distance as its first copy, so that both have the same bytes.

    Args:
        now_ms: returns the current time.
        run: put into the ids that the simulator gave; empty: ids stay. The same simulation sent at
            another time would otherwise use the same ids for different events.

    >>> live = LiveTimes(lambda: 1_704_153_601_000)
    >>> old = Outgoing("t", 0, None, b'{"at":"2024-01-01T00:00:00.000Z"}', 1_704_067_201_000)
    >>> live([old])[0].value
    b'{"at":"2024-01-02T00:00:00.000Z"}'
    """

    def __init__(self, now_ms: Callable[[], int], run: str = "") -> None:
        self._now_ms = now_ms
        self._run = run
        self._shifts_ms: dict[bytes, int] = {}

    def __call__(self, records: Iterable[Outgoing]) -> list[Outgoing]:
        """Return the events moved to now; values are JSON with times as ISO 8601 in UTC."""
        return [self._moved(record) for record in records]

    def _moved(self, record: Outgoing) -> Outgoing:
        now_ms = self._now_ms()
        if record.value is None:
            return record._replace(log_time_ms=now_ms)
        shifts_ms = self._shifts_ms
        name = hashlib.blake2b(record.value, digest_size=8).digest()
        shift_ms = shifts_ms.setdefault(name, now_ms - record.log_time_ms)
        if len(shifts_ms) > REMEMBERED_EVENTS:
            del shifts_ms[next(iter(shifts_ms))]  # the oldest: a dict keeps its order
        value = moved_by(record.value, shift_ms)
        if self._run:
            value = with_run(value, self._run)
        return record._replace(value=value, log_time_ms=now_ms)


def moved_by(value: bytes, by_ms: int) -> bytes:
    """Move every time in the bytes of an event; all other bytes stay, malformed ones included.

    >>> moved_by(b'{"a":"2024-01-01T00:00:00.000Z","b":"2024-13-01T00:00:00Z"', 1500)
    b'{"a":"2024-01-01T00:00:01.500Z","b":"2024-13-01T00:00:00Z"'
    """
    by = timedelta(milliseconds=by_ms)

    def later(found: re.Match[bytes]) -> bytes:
        text, zone = found.groups()
        try:
            time = datetime.fromisoformat(text.decode()).replace(tzinfo=UTC) + by
        except (ValueError, OverflowError):  # not a calendar date: a fault that is kept
            return found.group()
        since_ms = (time - EPOCH) // timedelta(milliseconds=1)
        return f'"{_iso(since_ms)}'.encode() + zone + b'"'

    return _TIME.sub(later, value)


def with_run(value: bytes, run: str) -> bytes:
    """Put the run into the ids of claims, changes and outcomes in the bytes of a simulated event.

    >>> with_run(b'{"claim_id":"clm-000000004","policy_id":"pol-0000044"}', "r1")
    b'{"claim_id":"clm-r1-000000004","policy_id":"pol-0000044"}'
    """
    return _ID.sub(rb'"\1-' + run.encode() + rb'-\2"', value)


def _iso(time_ms: int) -> str:
    time = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}"
