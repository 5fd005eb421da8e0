"""Every metric is in the table, counts the right thing, and holds no value from an event."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from claimtrace.decisions import JOURNAL_TOPIC, ModelRef
from claimtrace.events import Record
from claimtrace_examples.auto_claims import DOMAIN
from stream.adapters.reporting.prometheus import METRICS, OTHER, REBALANCES, STORES, WorkerMetrics
from stream.decisions.outcomes import OUTCOMES
from stream.engine.effects import Counts
from stream.journal.plan import plan_of
from stream.worker.observer import WorkerObserver
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World

COUNTS = Counts(
    records=20, claims=10, changes=2, labels=3, duplicates=1, dead=3, tombstones=1, late=4,
    unmatched_labels=1, unseen_categories=5, referred=2, reviewed=3, scored=9, alerts=2,
)  # fmt: skip


class Watched:
    """Metrics in a registry of their own, and their values."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now_s = 1_000.0
        self.metrics = WorkerMetrics(self.registry, DOMAIN.topics, lambda: self.now_s)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"claimtrace_{name}", labels)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
def watched():
    return Watched()


def test_names_follow_the_conventions():
    names = [row.name for row in METRICS]
    assert len(set(names)) == len(names)
    for row in METRICS:
        assert re.fullmatch(r"claimtrace_[a-z]+(_[a-z]+)*", row.name), row.name
        assert (row.kind == "counter") == row.name.endswith("_total"), row.name
        assert bool(row.buckets) == (row.kind == "histogram"), row.name
        assert list(row.buckets) == sorted(set(row.buckets)), row.name
        assert row.help.endswith("."), row.name
        assert "|" not in row.help, "it stands in a table of docs/metrics.md"


def test_what_is_told_is_what_the_table_says(watched):
    watched.metrics.topic_partition("claims.filed", 0, 1, 1)
    watched.metrics.model(ModelRef("auto_claims", 3, "d"), "numba")
    found = {
        sample.name: set(sample.labels) - {"le"}
        for family in watched.registry.collect()
        for sample in family.samples
        if sample.name.startswith("claimtrace_")
    }
    assert found == {series: set(row.labels) for row in METRICS for series in row.series}


def test_every_word_of_the_driver_is_heard():
    # for tests that end the driver; for the guard of the step time; `journal` counts plans
    others = ("passed", "planned", "rollout")
    for name in vars(WorkerObserver):
        if not name.startswith("_") and name not in others:
            assert name in vars(WorkerMetrics), name


def test_a_batch_is_counted(watched):
    watched.metrics.applied(7, COUNTS, 0.03)
    expected = {
        "records_total": 20, "scored_total": 9, "dead_letters_total": 3, "duplicates_total": 1,
        "tombstones_total": 1, "late_claims_total": 4, "profile_changes_total": 2,
        "outcomes_total": 3, "unmatched_outcomes_total": 1, "unseen_categories_total": 5,
        "drift_alerts_total": 2, "plan_number": 7, "batch_seconds_count": 1,
        "batch_seconds_sum": 0.03, "batch_records_sum": 20,
    }  # fmt: skip
    assert {name: watched.value(name) for name in expected} == expected
    outcomes = {each: watched.value("decisions_total", outcome=each) for each in OUTCOMES}
    assert outcomes == {"approve": 5, "review": 3, "refer": 2}
    watched.metrics.applied(8, COUNTS, 0.03)
    assert watched.value("records_total") == 40
    assert watched.value("decisions_total", outcome="approve") == 10


def test_every_field_of_the_counts_is_told():
    """A field that is added to `Counts` must get its metric."""

    def told(counts: Counts) -> list[str]:
        watched = Watched()
        watched.metrics.applied(1, counts, 0.0)
        untold = ("#", "process_", "claimtrace_batch_")
        return [line for line in watched.text().splitlines() if not line.startswith(untold)]

    for name in Counts.__dataclass_fields__:
        more = Counts(claims=1)
        more.add(Counts(**{name: 1}))
        assert told(more) != told(Counts(claims=1)), name


def test_places_give_position_lag_and_records(watched):
    watched.metrics.topic_partition("claims.filed", 2, 100, 150)
    assert watched.value("topic_records_total", topic="claims.filed") == 0
    watched.metrics.topic_partition("claims.filed", 2, 130, 150)
    watched.metrics.topic_partition("claims.filed", 2, 130, None)
    watched.metrics.topic_partition("claims.filed", 0, 5, 3)
    watched.metrics.topic_partition(JOURNAL_TOPIC, 0, 9, 9)
    at = {"topic": "claims.filed", "partition": "2"}
    assert watched.value("position_records", **at) == 130
    assert watched.value("lag_records", **at) == 20
    assert watched.value("topic_records_total", topic="claims.filed") == 30
    assert watched.value("lag_records", topic="claims.filed", partition="0") == 0
    assert watched.value("position_records", topic=JOURNAL_TOPIC, partition="0") == 9


def test_the_model_in_charge_is_one(watched):
    watched.metrics.model(ModelRef("auto_claims", 3, "d"), "numba")
    watched.metrics.model(ModelRef("auto_claims", 3, "d"), "numba")
    assert watched.value("kernel_fallbacks_total") == 0
    watched.metrics.model(ModelRef("auto_claims", 4, "e"), "xgboost")
    watched.metrics.model(ModelRef("auto_claims", 4, "e"), "xgboost")
    assert re.findall(r"claimtrace_model_info\{(.*)\} (.*)", watched.text()) == [
        ('kernel="xgboost",model="auto_claims",version="4"', "1.0")
    ]
    assert watched.value("kernel_fallbacks_total") == 1
    watched.metrics.model(None, "")
    assert "claimtrace_model_info{" not in watched.text()


def test_a_snapshot_has_an_age_from_the_start(watched):
    assert watched.value("snapshot_timestamp_seconds") == 1_000
    watched.now_s = 1_500.0
    watched.metrics.snapshot(12, 0.2)
    assert watched.value("snapshot_timestamp_seconds") == 1_500
    assert watched.value("snapshot_plan_number") == 12
    assert watched.value("snapshot_seconds_count") == 1


def test_the_rest_is_told(watched):
    metrics = watched.metrics
    metrics.owned(3)
    metrics.ready(True)
    metrics.offline(0.5)
    metrics.journal(0.002)
    metrics.retained(4)
    metrics.lost(6)
    metrics.replayed(11)
    metrics.committed(True)
    metrics.committed(False)
    for kind in REBALANCES:
        metrics.rebalanced(kind)
    expected = {
        "owned_partitions": 3, "ready": 1, "offline_append_seconds_sum": 0.5,
        "journal_round_trip_seconds_count": 1, "retained_plans": 4, "lost_records_total": 6,
        "replayed_records_total": 11, "commits_total": 1, "commit_failures_total": 1,
    }  # fmt: skip
    assert {name: watched.value(name) for name in expected} == expected
    assert [watched.value("rebalances_total", kind=kind) for kind in REBALANCES] == [1, 1, 1]
    metrics.ready(False)
    assert watched.value("ready") == 0


@pytest.mark.parametrize(
    ("where", "store"),
    [
        ("journal", "journal"),
        (JOURNAL_TOPIC, "journal"),
        ("/srv/offline/state/journal", "journal"),
        ("/srv/claims/offline/decisions", "offline"),
        ("/srv/claims/state/snapshots", "snapshots"),
        ("/srv/claims/log.db", "log"),
        ("source", "log"),
        ("claims.filed", "log"),
        ("claims.filed/3", "log"),
        ("claims.decisions", "log"),
        ("127.0.0.1:9092,broker-2.example:9092", "log"),
        ("kafka://broker:9092", "log"),
        ("http://registry:8081", "schemas"),
        ("mock://registry", "schemas"),
        ("models", "models"),
        ("", OTHER),
        ("Alice Canary, 555-0199", OTHER),
    ],
)
def test_a_pause_says_which_store(watched, where, store):
    watched.metrics.paused(where)
    told = {name: watched.value("pauses_total", store=name) for name in (*STORES, OTHER)}
    assert told == {name: float(name == store) for name in (*STORES, OTHER)}


def test_the_reason_is_what_it_waits_for(watched):
    metrics = watched.metrics
    assert metrics.reason() == "starting"
    metrics.ready(True)
    assert metrics.reason() == ""
    metrics.ready(False)
    assert metrics.reason() == "not ready"
    metrics.paused("127.0.0.1:9092")
    assert metrics.reason() == "waiting for: log"
    metrics.ready(True)
    assert metrics.reason() == ""


CANARY = "CANARY-4711"


def test_no_label_comes_from_an_event(watched, tmp_path):
    """Events with a canary in every text, good ones and bad ones, through the whole engine."""
    good = as_records(a_stream(5, 120))
    marked = [
        record._replace(
            key=CANARY.encode(),
            value=re.sub(rb'"(P|shop-|DE|road |clinic )', rb'"' + CANARY.encode() + rb"-\1",
                         record.value or b""),
            headers=((CANARY, CANARY.encode()),),
        )
        for record in good
    ]  # fmt: skip
    last = {record.topic: record.position + 1 for record in good}
    bad = [
        Record(topic, 0, at + i, CANARY.encode(), value, good[-1].log_time_ms)
        for topic, at in last.items()
        for i, value in enumerate(
            (CANARY.encode(), f'{{"{CANARY}": "{CANARY}", "claim_id": "{CANARY}\\n}}"}}'.encode())
        )
    ]
    records = [*marked, *bad]
    engine = World(tmp_path).engine()
    effects = engine.step(plan_of(1, records, None, 0), records)
    assert effects.counts.dead >= len(bad)
    assert effects.counts.claims > 20
    assert any(CANARY.encode() in (each.value or b"") for each in effects.outgoing)
    metrics = watched.metrics
    metrics.applied(1, effects.counts, 0.1)
    for (topic, partition), position in engine.positions.items():
        metrics.topic_partition(topic, partition, position, position)
    metrics.topic_partition(CANARY, 0, 1, 2)
    metrics.paused(CANARY)
    metrics.paused(f"/srv/{CANARY}/offline/{CANARY}")
    metrics.rebalanced(CANARY)
    assert CANARY not in watched.text()
    assert CANARY not in metrics.reason()
    assert watched.value("lag_records", topic=OTHER, partition="0") == 1
    assert watched.value("rebalances_total", kind=OTHER) == 1


def test_series_are_bounded(watched):
    """Neither a sender nor a bug of ours can make new series without end."""
    watched.metrics.topic_partition(OTHER, 0, 0, 0)
    before = watched.text().count("\n")
    for i in range(200):
        watched.metrics.paused(f"/srv/{i}")
        watched.metrics.rebalanced(f"kind {i}")
        watched.metrics.topic_partition(f"topic-{i}", 0, i, i)
        watched.metrics.model(ModelRef("auto_claims", i, "d"), "numba")
    assert watched.text().count("\n") <= before + 1


def test_the_reference_lists_every_metric():
    page = (Path(__file__).resolve().parents[4] / "docs" / "metrics.md").read_text()
    for row in METRICS:
        assert f"| `{row.name}` | {row.kind} |" in page
