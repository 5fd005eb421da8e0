"""The worker's Prometheus metrics: one table of all of them, and the observer that updates them.

The observer is called once a batch or more rarely, never once an event. A label's value is a topic
or partition of the domain, a word of the lists below, or a model of the registry, never a value
from an event: so metrics hold no personal data, and a sender can't make new series.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from claimtrace.decisions import JOURNAL_TOPIC, ModelRef

from ...decisions.outcomes import OUTCOMES
from ...engine.effects import Counts
from ...journal.plan import TopicPartition
from ...worker.observer import WorkerObserver
from ...worker.store_names import OTHER as OTHER
from ...worker.store_names import STORES as STORES
from ...worker.store_names import StoreNames
from .sns_message import RESULTS

REBALANCES: Final = ("gained", "revoked", "lost")
_PREFIX: Final = "claimtrace_"
_BATCH_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STORE_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class Metric(NamedTuple):
    """One row of the table: the name without its prefix, and the `buckets` of a histogram."""

    suffix: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The full name, with the prefix."""
        return _PREFIX + self.suffix

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the metric's series in a query: a histogram has three."""
        parts = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return tuple(self.name + part for part in parts)


METRICS: Final = (
    # Records, and what became of them
    Metric("records_total", "counter", "Records decided on, of the owned partitions."),
    Metric("topic_records_total", "counter", "Records applied on all partitions, by topic: the "
           "same on each worker.", ("topic",)),
    Metric("decisions_total", "counter", "Decisions, by outcome.", ("outcome",)),
    Metric("scored_total", "counter", "Decisions with the score of a model."),
    Metric("dead_letters_total", "counter", "Records refused; their bytes are on claims.dead."),
    Metric("duplicates_total", "counter", "Records of events that were applied before; ignored."),
    Metric("tombstones_total", "counter", "Records without a value; ignored."),
    Metric("late_claims_total", "counter", "Claims later than stream.allowed_lateness."),
    Metric("profile_changes_total", "counter", "Changes of profiles, such as of a policy."),
    Metric("outcomes_total", "counter", "Outcomes of investigations."),
    Metric("unmatched_outcomes_total", "counter", "Outcomes of claims that aren't known."),
    Metric("unseen_categories_total", "counter", "Claims with a category not in definitions."),
    # Batches
    Metric("plan_number", "gauge", "Number of the last plan applied."),
    Metric("batch_seconds", "histogram", "Time of a batch, from its records to the emitted "
           "decisions.", (), _BATCH_S),
    Metric("batch_records", "histogram", "Records of a batch that were decided on here.", (),
           _BATCH_RECORDS),
    Metric("journal_round_trip_seconds", "histogram", "Time of appending a plan to the journal "
           "and reading it back.", (), _BATCH_S),
    Metric("replayed_records_total", "counter", "Records applied again from the journal, after a "
           "start."),
    Metric("retained_plans", "gauge", "Applied plans kept in memory for a take-over of "
           "partitions."),
    # The log and the group
    Metric("position_records", "gauge", "Next position to read.", ("topic", "partition")),
    Metric("lag_records", "gauge", "Records on the log after that position.",
           ("topic", "partition")),
    Metric("owned_partitions", "gauge", "Partitions that this worker decides on."),
    Metric("rebalances_total", "counter", "Changes of ownership, by kind.", ("kind",)),
    Metric("commits_total", "counter", "Commits of positions that the log accepted."),
    Metric("commit_failures_total", "counter", "Commits that were refused; they are retried."),
    Metric("lost_records_total", "counter", "Records that retention removed before they were "
           "read."),
    # The worker
    Metric("ready", "gauge", "1 when /ready answers ready, else 0."),
    Metric("pauses_total", "counter", "Pauses before a retry, by the store that didn't answer.",
           ("store",)),
    Metric("snapshot_seconds", "histogram", "Time of writing a snapshot.", (), _STORE_S),
    Metric("snapshot_plan_number", "gauge", "Plan of the last snapshot of this run; 0: none yet."),
    Metric("snapshot_timestamp_seconds", "gauge", "When the last snapshot was written, in seconds "
           "since 1970; the start of the worker until then."),
    Metric("offline_append_seconds", "histogram", "Time of an append to the offline store.", (),
           _STORE_S),
    # The model
    Metric("model_info", "gauge", "1 for the model in charge; no series: the rules decide alone.",
           ("model", "version", "kernel")),
    Metric("kernel_fallbacks_total", "counter", "Models put in charge that run on XGBoost itself, "
           "slowly."),
    Metric("slow_rollouts_total", "counter", "Roll-outs under which batches take longer than "
           "guard.step_ratio allows."),
    Metric("drift_alerts_total", "counter", "Drift alerts raised or cleared; see claims.alerts."),
    Metric("alert_notices_total", "counter", "Alerts sent to SNS, or lost on the way; lost ones "
           "are on claims.alerts too.", ("result",)),
)  # fmt: skip
"""Every metric of a worker, in the order of docs/metrics.md."""

_COUNTED: Final = {
    "records_total": "records",
    "scored_total": "scored",
    "dead_letters_total": "dead",
    "duplicates_total": "duplicates",
    "tombstones_total": "tombstones",
    "late_claims_total": "late",
    "profile_changes_total": "changes",
    "outcomes_total": "labels",
    "unmatched_outcomes_total": "unmatched_labels",
    "unseen_categories_total": "unseen_categories",
    "drift_alerts_total": "alerts",
}
"""The field of `Counts` that each of these counters adds up."""


@dataclass
class _PartitionMetrics:
    """The series of one topic-partition, and its position at the last call."""

    position: int
    records: Counter
    next_position: Gauge
    lag: Gauge


class WorkerMetrics(WorkerObserver):
    """The metrics of one worker, in a registry of its own.

    Args:
        registry: the registry of the metrics; those of the process (memory, CPU, open files) are
            added to it as well.
        topics: the domain's topics; any other topic is counted as `other`.
        now_s: returns the wall time in seconds since 1970, for the age of snapshots.
        notify: see `WorkerObserver`.

    >>> registry = CollectorRegistry()
    >>> metrics = WorkerMetrics(registry, ["claims.filed"], lambda: 1.8e9)
    >>> metrics.applied(7, Counts(records=3, claims=2, dead=1, referred=1), 0.004)
    >>> registry.get_sample_value("claimtrace_decisions_total", {"outcome": "approve"})
    1.0
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        topics: Iterable[str],
        now_s: Callable[[], float] = time.time,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(notify)
        # without this each counter has a second series, the time of its creation
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        self._now_s = now_s
        self._topics = frozenset([*topics, JOURNAL_TOPIC])
        self.stores = StoreNames(self._topics)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for row in METRICS:
            if row.kind == "counter":
                self._counters[row.suffix] = Counter(
                    row.name, row.help, row.labels, registry=registry
                )
            elif row.kind == "gauge":
                self._gauges[row.suffix] = Gauge(row.name, row.help, row.labels, registry=registry)
            else:
                self._histograms[row.suffix] = Histogram(
                    row.name, row.help, row.labels, registry=registry, buckets=row.buckets
                )
        self._counted = [(self._counters[name], field) for name, field in _COUNTED.items()]
        self._outcomes = self._children("decisions_total", OUTCOMES)
        self._rebalances = self._children("rebalances_total", (*REBALANCES, OTHER))
        self._pauses = self._children("pauses_total", (*STORES, OTHER))
        self._alerts = self._children("alert_notices_total", RESULTS)
        self._children("topic_records_total", sorted(self._topics - {JOURNAL_TOPIC}))
        self._partitions: dict[tuple[str, int], _PartitionMetrics] = {}
        self._model: tuple[str, str, str] | None = None
        self._is_ready, self._why = False, "starting"
        self._gauges["snapshot_timestamp_seconds"].set(now_s())

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:
        """Count an applied plan: the counts of this plan alone, and its time."""
        self._gauges["plan_number"].set(plan_number)
        self._histograms["batch_seconds"].observe(seconds)
        self._histograms["batch_records"].observe(counts.records)
        for counter, field in self._counted:
            count = getattr(counts, field)
            if count:
                counter.inc(count)
        approved = counts.claims - counts.reviewed - counts.referred
        for outcome, count in zip(
            OUTCOMES, (approved, counts.reviewed, counts.referred), strict=True
        ):
            if count:
                self._outcomes[outcome].inc(count)

    def topic_partition(self, topic: str, partition: int, position: int, end: int | None) -> None:
        """Set the next position to read, and the lag when the end of the partition is known.

        Records between two calls' positions are counted as records of the topic; the first call
        only sets where this run began.
        """
        name = topic if topic in self._topics else OTHER
        found = self._partitions.get((name, partition))
        if found is None:
            labels = name, str(int(partition))
            found = self._partitions[name, partition] = _PartitionMetrics(
                position,
                self._counters["topic_records_total"].labels(name),
                self._gauges["position_records"].labels(*labels),
                self._gauges["lag_records"].labels(*labels),
            )
        if position > found.position:
            found.records.inc(position - found.position)
        found.position = position
        found.next_position.set(position)
        if end is not None:
            found.lag.set(max(0, end - position))

    def owned(self, count: int) -> None:
        """Set the number of partitions that this worker decides on."""
        self._gauges["owned_partitions"].set(count)

    def rebalanced(
        self,
        kind: str,
        topic_partitions: Set[TopicPartition] = frozenset(),  # noqa: ARG002
    ) -> None:
        """Count a change of ownership: one of `REBALANCES`."""
        self._rebalances.get(kind, self._rebalances[OTHER]).inc()

    def ready(self, is_ready: bool) -> None:
        """Set whether the worker is ready, as `/ready` answers."""
        self._gauges["ready"].set(int(is_ready))
        self._is_ready = is_ready
        if is_ready:
            self._why = ""

    def answered(self) -> None:
        """Say `starting` again, once a store that was waited for at the start answers."""
        self._why = "starting"

    def reason(self) -> str:
        """Return the answer of `/ready`: "" when ready, else why not, without foreign text."""
        return "" if self._is_ready else self._why or "not ready"

    def paused(self, where: str) -> None:
        """Count a pause before a retry, because a store or broker didn't answer.

        `where` is one of `STORES`, or the `where` of an error: a path, a topic, a URL. The label is
        only the store that it belongs to.
        """
        store = self.stores.of(where)
        self._pauses[store].inc()
        self._why = f"waiting for: {store}"

    def snapshot(self, plan: int, seconds: float) -> None:
        """Record that a snapshot was written."""
        self._histograms["snapshot_seconds"].observe(seconds)
        self._gauges["snapshot_plan_number"].set(plan)
        self._gauges["snapshot_timestamp_seconds"].set(self._now_s())

    def offline(self, seconds: float) -> None:
        """Record the time of an append to the offline store."""
        self._histograms["offline_append_seconds"].observe(seconds)

    def journal(self, seconds: float) -> None:
        """Record the time in which a plan was appended to the journal and read back."""
        self._histograms["journal_round_trip_seconds"].observe(seconds)

    def model(self, ref: ModelRef | None, kernel: str) -> None:
        """Set the model in charge and the kernel that computes its margins; often called."""
        labels = None if ref is None else (ref.name, str(ref.version), kernel)
        if labels == self._model:
            return
        info = self._gauges["model_info"]
        if labels is not None:
            info.labels(*labels).set(1)
            if kernel != "numba":
                self._counters["kernel_fallbacks_total"].inc()
        if self._model is not None:
            info.remove(*self._model)
        self._model = labels

    def retained(self, count: int) -> None:
        """Set the number of applied plans that are kept in memory."""
        self._gauges["retained_plans"].set(count)

    def notified(self, result: str, count: int) -> None:
        """Count alerts that were `sent` to SNS, or `lost`; called from another thread."""
        self._alerts[result].inc(count)

    def slowed(self, ratio: float) -> None:  # noqa: ARG002
        """Count a roll-out that slows decisions down."""
        self._counters["slow_rollouts_total"].inc()

    def lost(self, count: int) -> None:
        """Count records that retention removed before they were read."""
        self._counters["lost_records_total"].inc(count)

    def committed(self, ok: bool) -> None:
        """Count a commit that was accepted, or refused."""
        self._counters["commits_total" if ok else "commit_failures_total"].inc()

    def replayed(self, count: int) -> None:
        """Count records that were applied again from the journal."""
        self._counters["replayed_records_total"].inc(count)

    def _children(self, name: str, values: Iterable[str]) -> dict[str, Counter]:
        """Make one series for each label value, all from the start: a rate needs its zero."""
        return {value: self._counters[name].labels(value) for value in values}
