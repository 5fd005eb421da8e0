"""A worker's figures are those of its own metrics, and any text gives some."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from serving.reading.worker_figures import Buckets, figures_of, nearest_rank, rate, samples_of
from stream.adapters.reporting.prometheus import METRICS


def text() -> str:
    """The exposition of the real client, under the names of the product's table."""
    registry = CollectorRegistry()
    kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
    made = {}
    for row in METRICS:
        more = {"buckets": row.buckets} if row.kind == "histogram" else {}
        made[row.suffix] = kinds[row.kind](
            row.name, row.help, row.labels, registry=registry, **more
        )
    made["records_total"].inc(70)
    made["decisions_total"].labels("approve").inc(60)
    made["decisions_total"].labels("refer").inc(5)
    made["ready"].set(1)
    made["owned_partitions"].set(3)
    made["lag_records"].labels("claims.filed", "0").set(4)
    made["lag_records"].labels("claims.filed", "1").set(5)
    made["model_info"].labels('a"u\\t\no', "7", "numba").set(1)
    for _ in range(99):
        made["batch_seconds"].observe(0.0015)
    made["batch_seconds"].observe(0.4)
    return generate_latest(registry).decode()


def test_the_figures_of_a_worker() -> None:
    found = figures_of(text())
    assert (found.is_ready, found.records, found.decisions) == (True, 70, 65)
    assert found.outcomes == {"approve": 60, "refer": 5}
    assert (found.lag, found.owned, found.pauses) == (9, 3, 0)
    assert found.model.endswith("/7")
    assert found.batches.counts[-1] == 100
    half, most = found.batches.quantile(0.5), found.batches.quantile(0.995)
    assert half is not None
    assert 0.001 <= half <= 0.002
    assert most is not None
    assert 0.25 <= most <= 0.5


@given(st.text(max_size=300))
def test_any_text_gives_figures(said: str) -> None:
    figures_of(said)
    figures_of(f'claimtrace_ready {said}\nclaimtrace_batch_seconds_bucket{{le="{said}"}} 1')
    samples_of(f"x{{{said}}} 1")


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_value(values: list[float], share: float) -> None:
    bounds = (0.5, 1.0, 5.0, 10.0, math.inf)
    counts = tuple(float(sum(v <= bound for v in values)) for bound in bounds)
    found = Buckets(bounds, counts).quantile(share)
    true = nearest_rank(values, share)
    assert found is not None
    assert true is not None
    if true <= 10:
        upper = next(bound for bound in bounds if true <= bound)
        lower = max([0.0, *(bound for bound in bounds if bound < true)])
        assert lower <= found <= upper


def test_a_worker_that_started_again_is_counted_from_its_start() -> None:
    before, now = Buckets((1.0, math.inf), (5.0, 9.0)), Buckets((1.0, math.inf), (2.0, 3.0))
    assert now.since(before) == now
    assert Buckets((1.0, math.inf), (6.0, 11.0)).since(before).counts == (1.0, 2.0)
    assert rate(1, 5, 1) is None


def test_without_batches_there_is_no_quantile() -> None:
    assert Buckets().quantile(0.5) is None
    assert figures_of("").batches.quantile(0.99) is None
    assert nearest_rank([], 0.5) is None
