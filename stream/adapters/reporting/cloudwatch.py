"""The worker's metrics in CloudWatch: pushed at intervals, from a thread of its own.

Values that CloudWatch doesn't accept are sent with the next push: only accepted ones count as sent.
A call whose answer was lost is repeated, so a counter's increase can be added twice then.
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

from .cloudwatch_data import (
    CounterValue,
    GaugeValue,
    HistogramValue,
    Series,
    Update,
    Value,
    requests,
    updates,
)
from .once_until_changed import OnceUntilChanged

_WHERE: Final = "aws.metrics_namespace"
_LAST_PUSH_S: Final = 5.0
"""How long a worker that ends waits for its last push."""


class CloudWatch:
    """Pushes the metrics of a registry.

    Args:
        client: a boto3 client for CloudWatch.
        namespace: the namespace of the metrics.
        registry: read at each push.
        worker: the dimension that tells workers apart: one of few names, no personal data.
        clock: for the time of a value.
        every_s: the time between two pushes.
        notify: called with a line once when CloudWatch doesn't take values, and once when it does
            again.
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
        self._worker, self._clock, self._every_s = worker, clock, every_s
        self._sent: dict[Series, Value] = {}
        self._trouble = OnceUntilChanged(notify)
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to push at intervals."""
        self._thread = threading.Thread(target=self._run, name="to CloudWatch", daemon=True)
        self._thread.start()

    def send(self) -> None:
        """Push the changes since the last push; an error is notified, not raised."""
        now = read(self._registry)
        changed = updates(self._sent, now, self._worker, self._clock.now_ms())
        try:
            for part in requests(changed):
                self._put(part)
        except ClaimtraceError as error:
            self._report(error)
            return
        self._trouble.clear("CloudWatch takes metrics again")

    def close(self) -> None:
        """Push what was counted until now, and end; may be called again."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join(timeout=_LAST_PUSH_S)

    def _run(self) -> None:
        while not self._is_closing.wait(self._every_s):
            self.send()
        self.send()

    def _put(self, part: list[Update]) -> None:
        """Send one request, and note its series as sent."""
        with named_errors("can't send metrics", _WHERE):
            entries = [entry for each in part for entry in each.data]
            self._client.put_metric_data(Namespace=self._namespace, MetricData=entries)
        for each in part:
            self._sent[each.series] = each.value

    def _report(self, error: ClaimtraceError) -> None:
        if error.retryable:
            text = f"CloudWatch doesn't take metrics, they are kept: {error}"
        else:
            text = (
                f"metrics don't get to CloudWatch: {error}; look at cloudwatch:PutMetricData and "
                "at aws.metrics_namespace; the worker goes on"
            )
        self._trouble.report(type(error).__name__, text)


def read(registry: CollectorRegistry) -> dict[Series, Value]:
    """Return all counters, gauges and histograms of a registry as they are now.

    >>> from prometheus_client import Counter
    >>> registry = CollectorRegistry()
    >>> Counter("taken", "Taken.", registry=registry).inc(3)
    >>> read(registry)
    {Series(name='taken_total', labels=()): CounterValue(total=3.0)}
    """
    found: dict[Series, Value] = {}
    for family in registry.collect():
        if family.type == "histogram":
            found.update(_histograms(family))
        for sample in family.samples:
            series = Series(sample.name, tuple(sorted(sample.labels.items())))
            if family.type == "counter" and sample.name.endswith("_total"):
                found[series] = CounterValue(sample.value)
            elif family.type == "gauge":
                found[series] = GaugeValue(sample.value)
    return found


def _histograms(family: Metric) -> dict[Series, Value]:
    """Return the histograms of a family; Prometheus' buckets are cumulative, ours are not."""
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
        bounds = tuple(bound for bound, _ in pairs)
        found[series] = HistogramValue(bounds, counts, sums.get(series, 0.0))
    return found
