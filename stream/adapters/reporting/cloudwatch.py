"""The worker's metrics in CloudWatch: sent now and then, from a thread of its own.

What CloudWatch doesn't take is kept and goes with the next turn: only what is there counts as sent.
A call whose answer was lost is made again, so a counter can then be told twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric

from claimtrace.adapters.aws.errors import named_errors
from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError

from .cloudwatch_data import Due, Level, Series, Spread, Total, Value, due, requests

_WHERE: Final = "aws.metrics_namespace"
_LAST_S: Final = 5.0
"""A worker that ends waits so long for its last numbers to go."""


class CloudWatch:
    """Sends the metrics of a registry.

    Args:
        client: of boto3, for CloudWatch.
        namespace: where the metrics are kept.
        registry: asked for all metrics at each turn.
        worker: tells this worker's numbers from another's: one of few names, no personal data.
        clock: for the time of a number.
        every_s: time between two turns.
        notify: told once when numbers don't get there, and once when they do again.
    """

    def __init__(
        self,
        client: Any,
        namespace: str,
        registry: CollectorRegistry,
        worker: str,
        clock: Clock,
        every_s: float,
        notify: Callable[[str], None],
    ) -> None:
        self._client, self._namespace, self._registry = client, namespace, registry
        self._worker, self._clock, self._notify = worker, clock, notify
        self._every_s = every_s
        self._known: dict[Series, Value] = {}
        self._trouble = ""
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name="to CloudWatch", daemon=True)
        self._thread.start()

    def send(self) -> None:
        """One turn: send what CloudWatch doesn't know yet; trouble is said, not raised."""
        dues = due(self._known, read(self._registry), self._worker, self._clock.now_ms())
        try:
            for part in requests(dues):
                self._put(part)
        except ClaimtraceError as error:
            self._note(error)
            return
        if self._trouble:
            self._trouble = ""
            self._notify("CloudWatch takes metrics again")

    def close(self) -> None:
        """Send what was counted until now, and end; harmless when called again."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(timeout=_LAST_S)

    def _run(self) -> None:
        while not self._ends.wait(self._every_s):
            self.send()
        self.send()

    def _put(self, part: list[Due]) -> None:
        with named_errors("can't send metrics", _WHERE):
            entries = [entry for each in part for entry in each.data]
            self._client.put_metric_data(Namespace=self._namespace, MetricData=entries)
        for each in part:
            self._known[each.series] = each.known

    def _note(self, error: ClaimtraceError) -> None:
        """Say a trouble once, until it is over or another one."""
        kind = type(error).__name__
        if kind == self._trouble:
            return
        self._trouble = kind
        if error.retryable:
            self._notify(f"CloudWatch doesn't take metrics, they are kept: {error}")
        else:
            self._notify(
                f"metrics don't get to CloudWatch: {error}; look at cloudwatch:PutMetricData and "
                "at aws.metrics_namespace; the worker goes on"
            )


def read(registry: CollectorRegistry) -> dict[Series, Value]:
    """All counters, gauges and histograms of a registry as they are now.

    >>> from prometheus_client import Counter
    >>> registry = CollectorRegistry()
    >>> Counter("taken", "Taken.", registry=registry).inc(3)
    >>> read(registry)
    {Series(name='taken_total', labels=()): Total(total=3.0)}
    """
    found: dict[Series, Value] = {}
    for family in registry.collect():
        if family.type == "histogram":
            found.update(_spreads(family))
        for sample in family.samples:
            series = Series(sample.name, tuple(sorted(sample.labels.items())))
            if family.type == "counter" and sample.name.endswith("_total"):
                found[series] = Total(sample.value)
            elif family.type == "gauge":
                found[series] = Level(sample.value)
    return found


def _spreads(family: Metric) -> dict[Series, Value]:
    buckets: dict[Series, list[tuple[float, float]]] = {}
    sums: dict[Series, float] = {}
    for sample in family.samples:
        labels = tuple(sorted(pair for pair in sample.labels.items() if pair[0] != "le"))
        series = Series(family.name, labels)
        if sample.name.endswith("_bucket"):
            buckets.setdefault(series, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[series] = sample.value
    found: dict[Series, Value] = {}
    for series, pairs in buckets.items():
        up_to = [0.0, *(count for _, count in pairs)]
        counts = tuple(after - before for before, after in pairwise(up_to))
        found[series] = Spread(tuple(bound for bound, _ in pairs), counts, sums.get(series, 0.0))
    return found
