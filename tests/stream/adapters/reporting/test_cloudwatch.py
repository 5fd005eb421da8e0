"""CloudWatch adds up the values that Prometheus would read: none twice, none left out."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from claimtrace.clock import ManualClock
from claimtrace.settings.schema import AwsSettings, MetricsSettings, Settings
from cli.stream_run import run_stream
from cli.wiring.observing import observe
from cli.wiring.workspace import Workspace
from stream.adapters.reporting.cloudwatch import CloudWatch, read
from stream.adapters.reporting.cloudwatch_data import (
    MOST_METRICS,
    CounterValue,
    GaugeValue,
    HistogramValue,
    Series,
    Update,
    requests,
    unit_of,
    updates,
)
from stream.adapters.reporting.prometheus import METRICS, WorkerMetrics
from stream.worker.observer import Observers, WorkerObserver
from stream.worker.step_time import StepTimeGuard
from tests.servers.aws_local import REGION
from tests.servers.ministack import Ministack
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.stream_folder import World

_numbers = itertools.count()
BOUNDS = (0.5, 1.0, 4.0)
NOW_MS = 1_800_000_000_000


class Registry:
    """Three metrics, and the changes made to them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counter = Counter("taken", ".", ["topic"], registry=self.registry)
        self.gauge = Gauge("lag_records", ".", registry=self.registry)
        self.histogram = Histogram("batch_seconds", ".", registry=self.registry, buckets=BOUNDS)


class FakeCloudWatch:
    """A client that keeps what it is sent; `refuses` tells for each call whether it fails."""

    def __init__(self, refuses: Callable[[], bool] = lambda: False) -> None:
        self.entries: list[dict[str, Any]] = []
        self.calls = 0
        self._refuses = refuses

    def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
        self.calls += 1
        if self._refuses():
            raise EndpointConnectionError(endpoint_url="http://nowhere")
        self.entries += MetricData

    def of(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.entries if each["MetricName"] == name]


def sender(registry: CollectorRegistry, client: Any, said: Any = None) -> CloudWatch:
    return CloudWatch(client, f"ns{next(_numbers)}", registry, "w1@host", ManualClock(NOW_MS),
                      3600.0, said if said is not None else lambda _: None)  # fmt: skip


def bound_of(value: float) -> float:
    """Return the bound at which an observation is sent, the slow way; at most the last bound."""
    return min((bound for bound in BOUNDS if value <= bound), default=BOUNDS[-1])


TURN = st.fixed_dictionaries(
    {
        "counts": st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=4),
        "observed": st.lists(st.floats(0, 4), max_size=6),
        "level": st.integers(-10, 10) | st.sampled_from([math.nan, math.inf]),
        "fails": st.booleans(),
    }
)


@given(st.lists(TURN, max_size=8))
def test_what_was_sent_adds_up_to_what_was_counted(turns: list[dict[str, Any]]) -> None:
    made, counted, observed, levels = Registry(), Tally[str](), Tally[float](), []
    fails = False
    client = FakeCloudWatch(lambda: fails)
    cloud = sender(made.registry, client)
    for turn in [*turns, {"counts": [], "observed": [], "level": 0.0, "fails": False}]:
        for topic, count in turn["counts"]:
            made.counter.labels(topic).inc(count)
            counted[topic] += count
        for value in turn["observed"]:
            made.histogram.observe(value)
            observed[bound_of(value)] += 1
        made.gauge.set(turn["level"])
        fails = turn["fails"]
        if not fails and math.isfinite(turn["level"]):
            levels.append(turn["level"])
        cloud.send()
    sent, spread = Tally[str](), Tally[float]()
    for each in client.of("taken_total"):
        sent[each["Dimensions"][0]["Value"]] += each["Value"]
    for each in client.of("batch_seconds"):
        spread.update(dict(zip(each["Values"], each["Counts"], strict=True)))
    assert sent == counted
    assert set(sent) == set(counted)
    assert spread == observed
    assert [each["Value"] for each in client.of("lag_records")] == levels


def test_the_first_zero_is_sent_and_no_other() -> None:
    made = Registry()
    made.counter.labels("a")
    client = FakeCloudWatch()
    cloud = sender(made.registry, client)
    for count in (0, 0, 3, 0, 0, 1):
        made.counter.labels("a").inc(count)
        cloud.send()
    assert [each["Value"] for each in client.of("taken_total")] == [0, 3, 1]


def test_an_entry_says_what_where_and_when() -> None:
    worker = {"Name": "Worker", "Value": "w1@host"}
    found = updates(
        {},
        {Series("c_batch_seconds_total", (("topic", "naïve\n"), ("empty", ""))): CounterValue(2.5)},
        "w1@host", NOW_MS,
    )  # fmt: skip
    assert found[0].data == [{
        "MetricName": "c_batch_seconds_total",
        "Dimensions": [{"Name": "topic", "Value": "na?ve?"}, worker],
        "Timestamp": datetime.fromtimestamp(NOW_MS / 1000, UTC),
        "Unit": "Seconds",
        "Value": 2.5,
    }]  # fmt: skip


def test_observations_above_the_last_bound_stand_as_high_as_they_must() -> None:
    made = Registry()
    for value in (0.1, 0.2, 50.0, 70.0):
        made.histogram.observe(value)
    (found,) = [
        each for each in updates({}, read(made.registry), "w", 0) if each.data[0].get("Values")
    ]
    values, counts = found.data[0]["Values"], found.data[0]["Counts"]
    assert (values[0], counts) == (0.5, [2, 2])
    assert 4.0 < values[1] <= 60.0
    assert values[1] == pytest.approx((0.1 + 0.2 + 50 + 70 - 2 * 0.5) / 2)


def test_numbers_that_cloudwatch_refuses_are_not_sent() -> None:
    values = {
        Series(str(n)): GaugeValue(v) for n, v in enumerate((math.nan, -math.inf, 2.0**361, 1e-200))
    }
    assert [each.data[0]["Value"] for each in updates({}, values, "w", 0)] == [0.0]
    assert updates({}, {Series("t_total"): CounterValue(math.inf)}, "w", 0) == []


def test_a_spread_of_many_values_is_several_entries_of_one_request() -> None:
    bounds = (*map(float, range(1, 400)), math.inf)
    spread = HistogramValue(bounds, (1.0,) * 400, 1e6)
    (found,) = updates({}, {Series("h"): spread}, "w", 0)
    assert [len(entry["Values"]) for entry in found.data] == [150, 150, 100]
    assert sum(sum(entry["Counts"]) for entry in found.data) == 400


@given(st.lists(st.integers(1, 5), max_size=40))
def test_requests_keep_all_in_order_and_each_series_whole(sizes: list[int]) -> None:
    entry = {"MetricName": "m" * 200, "Dimensions": [], "Values": [0.5] * 150}
    dues = [
        Update(Series(str(n)), GaugeValue(0), [entry] * 40 * size) for n, size in enumerate(sizes)
    ]
    parts = list(requests(dues))
    assert [each for part in parts for each in part] == dues
    assert all(part for part in parts)
    for part in parts:
        assert len(part) == 1 or sum(len(each.data) for each in part) <= MOST_METRICS


def test_a_request_is_as_small_as_cloudwatch_wants_it(ministack: Ministack) -> None:
    client = ministack.client("cloudwatch", disable_request_compression=True)
    registry = CollectorRegistry()
    wide = Histogram("wide", ".", ["a", "b"], registry=registry, buckets=range(1, 200))
    for n in range(600):
        for value in range(150):
            wide.labels("x" * 200, f"{n:0200}").observe(value + 0.5)
    plain = Counter("plain", ".", ["a"], registry=registry)
    for n in range(1_500):
        plain.labels(f"{n:0200}").inc()
    seen: list[tuple[int, int]] = []

    def look(request: Any, **_: Any) -> AWSResponse:
        seen.append((len(request.body), request.body.count(b'"MetricName"')))
        return AWSResponse(request.url, 200, JSON, _Raw(b"{}"))

    client.meta.events.register("before-send.cloudwatch.PutMetricData", look)
    words: list[str] = []
    cloud = sender(registry, client, words.append)
    cloud.send()
    assert words == []
    assert sum(count for _, count in seen) == 2_100
    assert all(size < 1_000_000 and count <= 1_000 for size, count in seen), seen
    sent = len(seen)
    cloud.send()
    assert len(seen) == sent, "nothing has changed"


JSON = {"Content-Type": "application/x-amz-json-1.0"}


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._body


def refusal(request: Any, status: int, code: str) -> AWSResponse:
    """Return an error response in the service's form."""
    body = json.dumps({"__type": code, "message": "injected"}).encode()
    return AWSResponse(request.url, status, JSON, _Raw(body))


def inject(client: Any, answers: Sequence[tuple[int, str] | None]) -> None:
    left = iter(answers)

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        answer = next(left, None)
        return refusal(request, *answer) if answer else None

    client.meta.events.register("before-send.cloudwatch.PutMetricData", before_send)


def sum_of(aws: Ministack, namespace: str, name: str, **labels: str) -> float:
    """Return the sum of a metric in CloudWatch."""
    now = datetime.now(UTC)
    points = aws.client("cloudwatch").get_metric_statistics(
        Namespace=namespace, MetricName=name, Period=60, Statistics=["Sum"],
        Dimensions=[{"Name": name, "Value": value} for name, value in labels.items()],
        StartTime=now - timedelta(hours=2), EndTime=now + timedelta(hours=2),
    )["Datapoints"]  # fmt: skip
    assert points, (name, labels)
    return sum(float(point["Sum"]) for point in points)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(400, "Throttling", "kept"), (400, "ThrottlingException", "kept"),
     (503, "ServiceUnavailable", "kept"), (403, "AccessDenied", "cloudwatch:PutMetricData"),
     (403, "AccessDeniedException", "cloudwatch:PutMetricData"),
     (400, "InvalidParameterValue", "aws.metrics_namespace")],
)  # fmt: skip
def test_an_outage_is_said_once_and_loses_nothing(
    ministack: Ministack, status: int, code: str, words: str
) -> None:
    made, client = Registry(), ministack.client("cloudwatch")
    inject(client, [None, (status, code), (status, code), (status, code), None, (status, code)])
    said: list[str] = []
    namespace = f"outage{next(_numbers)}"
    cloud = CloudWatch(client, namespace, made.registry, "w",
                       ManualClock(round(1000 * datetime.now(UTC).timestamp())), 3600.0,
                       said.append)  # fmt: skip
    for _ in range(6):
        made.counter.labels("a").inc(2)
        cloud.send()
        if len(said) == 1:
            assert words in said[0]
    assert said[1] == "CloudWatch takes metrics again"
    assert len(said) == 3
    assert sum_of(ministack, namespace, "taken_total", topic="a", Worker="w") == 10
    cloud.close()
    cloud.send()
    assert sum_of(ministack, namespace, "taken_total", topic="a", Worker="w") == 12


def test_of_a_turn_that_fails_in_the_middle_only_the_rest_goes_again() -> None:
    registry = CollectorRegistry()
    counter = Counter("taken", ".", ["topic"], registry=registry)
    for n in range(MOST_METRICS + 5):
        counter.labels(str(n)).inc()
    answers = iter([False, True])
    client = FakeCloudWatch(lambda: next(answers, False))
    cloud = sender(registry, client)
    cloud.send()
    cloud.send()
    sent = Tally(each["Dimensions"][0]["Value"] for each in client.entries)
    assert (len(sent), set(sent.values())) == (MOST_METRICS + 5, {1})


def test_a_worker_that_ends_sends_its_last_numbers() -> None:
    made, client = Registry(), FakeCloudWatch()
    cloud = sender(made.registry, client)
    cloud.start()
    made.counter.labels("a").inc(4)
    cloud.close()
    cloud.close()
    assert [each["Value"] for each in client.of("taken_total")] == [4]


def test_every_metric_of_a_worker_has_its_unit() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry, ["claims.filed"]).topic_partition("claims.filed", 0, 1, 2)
    names = {series.name for series in read(registry)}
    assert names > {row.name for row in METRICS} - {"claimtrace_model_info"}
    units = {name: unit_of(name) for name in names}
    assert units["claimtrace_lag_records"] == units["claimtrace_records_total"] == "Count"
    assert units["claimtrace_batch_seconds"] == "Seconds"
    assert units["process_resident_memory_bytes"] == "Bytes"
    assert units["claimtrace_ready"] == "None"


@pytest.fixture
def at_ministack(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> Ministack:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", ministack.endpoint)
    for name, value in (("ACCESS_KEY_ID", "local"), ("SECRET_ACCESS_KEY", "local"),
                        ("REGION", REGION), ("DEFAULT_REGION", REGION)):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    return ministack


def test_a_run_is_in_cloudwatch(at_ministack: Ministack, tmp_path: Any) -> None:
    records = as_records(a_stream(3, 120))
    World(tmp_path).put(records)
    aws = AwsSettings(metrics_namespace=f"run{next(_numbers)}")
    workspace = Workspace(Settings(folder=str(tmp_path), partitions=2, aws=aws))
    ran = run_stream(workspace, until_end=True, quiet=True)
    listed = at_ministack.client("cloudwatch").list_metrics(
        Namespace=aws.metrics_namespace, MetricName="claimtrace_records_total"
    )["Metrics"]
    ((dimension,),) = [each["Dimensions"] for each in listed]
    assert dimension["Name"] == "Worker"
    assert dimension["Value"].startswith(f"{tmp_path.name}@")
    worker = {"Worker": dimension["Value"]}
    assert ran.counts.records == len(records)
    for name, count in (("records", ran.counts.records), ("dead_letters", ran.counts.dead)):
        found = sum_of(at_ministack, aws.metrics_namespace, f"claimtrace_{name}_total", **worker)
        assert found == count


def each_of(observer: WorkerObserver) -> list[WorkerObserver]:
    """Return the observers that an observer passes its calls on to, or itself."""
    if not isinstance(observer, Observers):
        return [observer]
    return [found for each in observer._all for found in each_of(each)]


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0"])
@pytest.mark.parametrize("namespace", ["", "watched"])
def test_metrics_are_kept_for_whoever_asks(
    at_ministack: Ministack, tmp_path: Any, listen: str, namespace: str
) -> None:
    before = threading.active_count()
    with ExitStack() as opened:
        settings = Settings(folder=str(tmp_path), metrics=MetricsSettings(listen=listen),
                            aws=AwsSettings(metrics_namespace=namespace))  # fmt: skip
        closed = threading.Event()
        observer = observe(Workspace(settings), opened)
        opened.callback(closed.set)
        heard = [type(each) for each in each_of(observer)]
        assert (WorkerMetrics in heard) == bool(listen or namespace)
        assert StepTimeGuard in heard
        assert threading.active_count() == before + bool(listen) + bool(namespace)
        assert not closed.is_set()
    assert closed.is_set(), "what was opened later ends with the run"
    assert threading.active_count() == before
