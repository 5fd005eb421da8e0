"""Metrics in CloudWatch's form: the changes of a registry since the values that were sent last.

Prometheus reads totals, CloudWatch adds up what it receives. So a counter is sent as the difference
to the total that was sent before, a gauge as its value, a histogram as values with counts:

- **A counter** that hasn't changed isn't sent: CloudWatch charges for each metric by the hours in
  which it receives a value. Only the first value is sent even when it is zero, so that alarms and
  graphs find the series before the first dead letter. Alarms treat a missing value as good.
- **A histogram's** observations are sent at the upper bound of their bucket, so that a percentile
  is never reported better than it was. Those above the last bound are sent at that bound, or at
  their mean as far as the sum shows that it must be higher.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

MOST_METRICS: Final = 1_000
MOST_BYTES: Final = 900_000
"""The limit of one request: CloudWatch takes 1 MB, and sizes here are upper estimates."""
MOST_VALUES: Final = 150
"""The most different values of one metric in a request."""

_MOST_DIMENSIONS: Final = 30
_MOST_CHARS: Final = 255
_LEAST, _MOST = 2.0**-360, 2.0**360
_UNITS: Final = (("_seconds", "Seconds"), ("_bytes", "Bytes"), ("_records", "Count"))


class Series(NamedTuple):
    """One series of a metric: the metric's name, and its labels in order."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class CounterValue(NamedTuple):
    """A counter: its total since the start, which never falls."""

    total: float


class GaugeValue(NamedTuple):
    """A gauge: its value now."""

    value: float


class HistogramValue(NamedTuple):
    """A histogram.

    Attributes:
        bounds: the upper bounds of its buckets, the last one infinite.
        counts: the number of observations in each bucket alone.
        sum: the sum of all observations.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float


Value = CounterValue | GaugeValue | HistogramValue
Reading = Mapping[Series, Value]


class Update(NamedTuple):
    """The change of a series; once it is sent, CloudWatch has the series as of `value`.

    `data` are entries of `MetricData`; all of them go in one request.
    """

    series: Series
    value: Value
    data: list[dict[str, Any]]


def updates(sent: Reading, now: Reading, worker: str, now_ms: int) -> list[Update]:
    """Return the changes that CloudWatch doesn't have yet.

    Args:
        sent: each series as of when it was last sent.
        now: all series as they are now.
        worker: the dimension that tells workers apart.
        now_ms: the time of `now`.

    >>> records = Series("claimtrace_records_total")
    >>> [update] = updates({records: CounterValue(5)}, {records: CounterValue(7)}, "w1@host", 0)
    >>> update.data[0]["Value"], update.data[0]["Unit"], update.data[0]["Dimensions"]
    (2, 'Count', [{'Name': 'Worker', 'Value': 'w1@host'}])
    >>> updates({records: CounterValue(7)}, {records: CounterValue(7)}, "w1@host", 0)
    []
    """
    found = []
    for series, value in now.items():
        numbers = _numbers(sent.get(series), value)
        if numbers:
            plain = _entry(series, worker, now_ms)
            found.append(Update(series, value, [{**plain, **each} for each in numbers]))
    return found


def requests(found: Iterable[Update]) -> Iterator[list[Update]]:
    """Yield updates in parts that CloudWatch takes in one request each."""
    part: list[Update] = []
    metrics = size = 0
    for each in found:
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
    """Return CloudWatch's unit for a metric, by the end of its name.

    >>> [unit_of(n) for n in ("batch_seconds", "records_total", "cpu_seconds_total", "ready")]
    ['Seconds', 'Count', 'Seconds', 'None']
    """
    plain = name.removesuffix("_total")
    for ending, unit in _UNITS:
        if plain.endswith(ending):
            return unit
    return "None" if plain == name else "Count"


def _numbers(sent: Value | None, now: Value) -> list[dict[str, Any]]:
    """Return the numbers for a series' entries; empty when there is no change to send."""
    if isinstance(now, GaugeValue):
        return [{"Value": _sendable(now.value)}] if _is_sendable(now.value) else []
    if isinstance(now, CounterValue):
        more = now.total - sent.total if isinstance(sent, CounterValue) else now.total
        is_news = sent is None or more > 0
        return [{"Value": _sendable(more)}] if is_news and _is_sendable(more) else []
    pairs = _observed(sent if isinstance(sent, HistogramValue) else None, now)
    return [
        {"Values": [value for value, _ in part], "Counts": [count for _, count in part]}
        for part in _parts(pairs, MOST_VALUES)
    ]


def _observed(sent: HistogramValue | None, now: HistogramValue) -> list[tuple[float, float]]:
    """Return the observations since the last push as (value, count): each at its upper bound."""
    if sent is None:
        sent = HistogramValue(now.bounds, (0.0,) * len(now.counts), 0.0)
    new = [count - before for count, before in zip(now.counts, sent.counts, strict=True)]
    pairs = [(bound, n) for bound, n in zip(now.bounds, new, strict=True) if n > 0]
    if pairs and math.isinf(pairs[-1][0]):
        # observations above the last finite bound: the sum, less the most that all others can have
        # added to it, is the least that these have added
        _, above = pairs.pop()
        last = max((bound for bound in now.bounds if math.isfinite(bound)), default=0.0)
        rest = now.sum - sent.sum - sum(bound * count for bound, count in pairs)
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
    """Return a text in the form of CloudWatch's names: printable ASCII of bounded length."""
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
