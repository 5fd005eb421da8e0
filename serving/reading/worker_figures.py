"""A worker's metrics as figures for people: rates, lag, and the quantiles of its batches."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

_LINE: Final = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]{0,200})(?:\{([^{}]{0,2000})\})? ([^ ]{1,40})(?: [0-9]{1,20})?"
)
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]{0,100})="((?:[^"\\]|\\.){0,500})"')
_PREFIX: Final = "claimtrace_"
_MOST_LINES: Final = 50_000

Labels = tuple[tuple[str, str], ...]
Samples = dict[str, dict[Labels, float]]
"""Metric -> labels in their order -> value."""


def samples_of(text: str) -> Samples:
    """Read Prometheus' text format; total: what isn't a sample is left out.

    >>> samples_of('# HELP x\\nx_total{topic="a"} 2.0\\nnonsense')
    {'x_total': {(('topic', 'a'),): 2.0}}
    """
    found: Samples = {}
    for line in text.splitlines()[:_MOST_LINES]:
        match = None if line.startswith("#") else _LINE.fullmatch(line)
        if match is None:
            continue
        name, labels, value = match.groups()
        try:
            number = float(value)
        except ValueError:
            continue
        found.setdefault(name, {})[tuple(_LABEL.findall(labels or ""))] = number
    return found


class Buckets(msgspec.Struct, frozen=True):
    """A histogram: upper bounds in seconds, ascending, and how many were at most each."""

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()

    def since(self, before: Buckets) -> Buckets:
        """Return what was counted since; all, when the worker has started again since."""
        if self.bounds != before.bounds or any(
            now < then for now, then in zip(self.counts, before.counts, strict=True)
        ):
            return self
        counts = (now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Buckets(self.bounds, tuple(counts))

    def quantile(self, share: float) -> float | None:
        """Return a quantile in seconds, linear within its bucket; None when nothing was counted.

        Prometheus' `histogram_quantile` gives the same; of the last bucket its lower bound.

        >>> Buckets((0.01, 0.1, math.inf), (10.0, 20.0, 20.0)).quantile(0.5)
        0.01
        """
        total = self.counts[-1] if self.counts else 0.0
        if total <= 0:
            return None
        rank, below, lower = share * total, 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank:
                if math.isinf(bound):
                    return lower
                inside = count - below
                return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
            below, lower = count, bound
        return lower


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's own account of itself at one moment; counts are since its start.

    Attributes:
        is_ready: whether it decides.
        records, decisions: decided on by this worker.
        outcomes: decisions by outcome.
        lag: records behind the position, of all partitions.
        owned: partitions that it decides on.
        pauses: pauses before a retry.
        plan: number of the last plan applied.
        model: the model in charge; empty: the rules decide alone.
        batches: time of its batches.
    """

    is_ready: bool = False
    records: float = 0.0
    decisions: float = 0.0
    outcomes: dict[str, float] = {}
    lag: float = 0.0
    owned: float = 0.0
    pauses: float = 0.0
    plan: float = 0.0
    model: str = ""
    batches: Buckets = Buckets()


def figures_of(text: str) -> WorkerFigures:
    """Return the figures in a worker's `/metrics`; zero where one is missing."""
    samples = samples_of(text)
    outcomes = {
        dict(labels).get("outcome", "?"): value
        for labels, value in samples.get(f"{_PREFIX}decisions_total", {}).items()
    }
    models = samples.get(f"{_PREFIX}model_info", {})
    named = [dict(labels) for labels, value in models.items() if value == 1]
    return WorkerFigures(
        is_ready=_sum(samples, "ready") == 1,
        records=_sum(samples, "records_total"),
        decisions=sum(outcomes.values()),
        outcomes=outcomes,
        lag=_sum(samples, "lag_records"),
        owned=_sum(samples, "owned_partitions"),
        pauses=_sum(samples, "pauses_total"),
        plan=_sum(samples, "plan_number"),
        model="/".join(filter(None, [named[0].get("model"), named[0].get("version")]))
        if named
        else "",
        batches=_buckets(samples.get(f"{_PREFIX}batch_seconds_bucket", {})),
    )


def rate(now: float, before: float, seconds: float) -> float | None:
    """Return a counter's rate a second; None when time stands still or the counter began anew.

    >>> rate(30.0, 10.0, 2.0), rate(3.0, 10.0, 2.0)
    (10.0, None)
    """
    return (now - before) / seconds if seconds > 0 and now >= before else None


def nearest_rank(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank quantile of values; None without any.

    >>> nearest_rank([4, 1, 3, 2], 0.5), nearest_rank([], 0.5)
    (2, None)
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _sum(samples: Mapping[str, Mapping[Labels, float]], name: str) -> float:
    values = samples.get(_PREFIX + name, {}).values()
    return sum(value for value in values if math.isfinite(value))


def _buckets(found: Mapping[Labels, float]) -> Buckets:
    pairs = []
    for labels, count in found.items():
        try:
            bound = float(dict(labels).get("le", ""))
        except ValueError:
            continue
        if not math.isnan(bound) and math.isfinite(count):
            pairs.append((bound, count))
    pairs.sort()
    return Buckets(tuple(bound for bound, _ in pairs), tuple(count for _, count in pairs))
