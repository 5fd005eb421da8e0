"""Metrics as CloudWatch takes them: what a registry says that CloudWatch doesn't know yet.

Prometheus asks for totals, CloudWatch adds up what it is sent. So a counter is sent as the
difference to what was sent of it before, a gauge as it is, a histogram as values with counts:

- **A counter** that hasn't changed isn't sent: CloudWatch charges for each metric by the hours in
  which it gets anything. Only its first value is sent even when it is zero, so that alarms and
  graphs find the series before the first dead letter. Alarms take a missing value for a good one.
- **A histogram's** observations stand at the upper bound of their bucket, so a percentile is never
  told as better than it was. Those above the last bound stand there, or higher as far as the sum
  says that they must.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

MOST_METRICS: Final = 1_000
MOST_BYTES: Final = 900_000
"""Of one request; CloudWatch takes 1 MB, and the sizes here are guessed from above."""
MOST_VALUES: Final = 150
"""Different values of one metric in a request."""

_MOST_DIMENSIONS: Final = 30
_MOST_CHARS: Final = 255
_LEAST, _MOST = 2.0**-360, 2.0**360
_UNITS: Final = (("_seconds", "Seconds"), ("_bytes", "Bytes"), ("_records", "Count"))


class Series(NamedTuple):
    """One line of a metric: its name, and its labels in order."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class Total(NamedTuple):
    """A counter: what it counted since the start; that never falls."""

    total: float


class Level(NamedTuple):
    """A gauge: how much it is now."""

    value: float


class Spread(NamedTuple):
    """A histogram: the upper bounds of its buckets, the last one infinite, how many observations
    are in each alone, and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float


Value = Total | Level | Spread
Reading = Mapping[Series, Value]


class Due(NamedTuple):
    """What is to be sent of a series; when it is there, CloudWatch knows the series as of `known`.

    `data` are entries of `MetricData`; all of them go in one request.
    """

    series: Series
    known: Value
    data: list[dict[str, Any]]


def due(known: Reading, now: Reading, worker: str, now_ms: int) -> list[Due]:
    """What CloudWatch is to be told.

    Args:
        known: each series as of when it was last sent.
        now: all series as they are.
        worker: the dimension that tells this worker's numbers from another's.
        now_ms: the time of `now`.

    >>> records = Series("claimtrace_records_total")
    >>> [told] = due({records: Total(5)}, {records: Total(7)}, "w1@host", 0)
    >>> told.data[0]["Value"], told.data[0]["Unit"], told.data[0]["Dimensions"]
    (2, 'Count', [{'Name': 'Worker', 'Value': 'w1@host'}])
    >>> due({records: Total(7)}, {records: Total(7)}, "w1@host", 0)
    []
    """
    found = []
    for series, value in now.items():
        numbers = _numbers(known.get(series), value)
        if numbers:
            plain = _entry(series, worker, now_ms)
            found.append(Due(series, value, [{**plain, **each} for each in numbers]))
    return found


def requests(dues: Iterable[Due]) -> Iterator[list[Due]]:
    """Parts of what is due that CloudWatch takes in one request each."""
    part: list[Due] = []
    metrics = size = 0
    for each in dues:
        its_size = sum(_size(entry) for entry in each.data)
        if part and (metrics + len(each.data) > MOST_METRICS or size + its_size > MOST_BYTES):
            yield part
            part, metrics, size = [], 0, 0
        part.append(each)
        metrics += len(each.data)
        size += its_size
    if part:
        yield part


def unit_of(name: str) -> str:
    """The unit of CloudWatch that a metric's name says.

    >>> [unit_of(n) for n in ("batch_seconds", "records_total", "cpu_seconds_total", "ready")]
    ['Seconds', 'Count', 'Seconds', 'None']
    """
    plain = name.removesuffix("_total")
    for ending, unit in _UNITS:
        if plain.endswith(ending):
            return unit
    return "None" if plain == name else "Count"


def _numbers(known: Value | None, now: Value) -> list[dict[str, Any]]:
    """The numbers of a series' entries; none when there is nothing to say."""
    if isinstance(now, Level):
        return [{"Value": _sendable(now.value)}] if _is_sendable(now.value) else []
    if isinstance(now, Total):
        more = now.total - known.total if isinstance(known, Total) else now.total
        is_news = known is None or more > 0
        return [{"Value": _sendable(more)}] if is_news and _is_sendable(more) else []
    pairs = _observed(known if isinstance(known, Spread) else None, now)
    return [
        {"Values": [value for value, _ in part], "Counts": [count for _, count in part]}
        for part in _parts(pairs, MOST_VALUES)
    ]


def _observed(known: Spread | None, now: Spread) -> list[tuple[float, float]]:
    """Where the observations since the last time stand, and how many stand there."""
    if known is None:
        known = Spread(now.bounds, (0.0,) * len(now.counts), 0.0)
    new = [count - before for count, before in zip(now.counts, known.counts, strict=True)]
    pairs = [(bound, n) for bound, n in zip(now.bounds, new, strict=True) if n > 0]
    if pairs and math.isinf(pairs[-1][0]):
        _, above = pairs.pop()
        last = max((bound for bound in now.bounds if math.isfinite(bound)), default=0.0)
        rest = now.sum - known.sum - sum(bound * count for bound, count in pairs)
        least = rest / above if math.isfinite(rest) else last
        pairs.append((max(last, least), above))
    return [(_sendable(value), count) for value, count in pairs if _is_sendable(value)]


def _entry(series: Series, worker: str, now_ms: int) -> dict[str, Any]:
    pairs = [*series.labels[: _MOST_DIMENSIONS - 1], ("Worker", worker)]
    return {
        "MetricName": _plain(series.name),
        "Dimensions": [
            {"Name": _plain(name), "Value": _plain(value)} for name, value in pairs if value
        ],
        "Timestamp": datetime.fromtimestamp(now_ms / 1000, UTC),
        "Unit": unit_of(series.name),
    }


def _plain(text: str) -> str:
    """As CloudWatch takes names: printable ASCII, and not long."""
    kept = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return kept[:_MOST_CHARS]


def _is_sendable(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= _MOST


def _sendable(value: float) -> float:
    return value if abs(value) >= _LEAST else 0.0


def _parts(pairs: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(pairs), most):
        yield pairs[start : start + most]


def _size(entry: Mapping[str, Any]) -> int:
    texts = [entry["MetricName"], *(t for d in entry["Dimensions"] for t in d.values())]
    return 200 + sum(len(text) + 30 for text in texts) + 40 * len(entry.get("Values", ()))
