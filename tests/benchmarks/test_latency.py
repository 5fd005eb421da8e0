"""Latency under load: sent when due, timed from the plan, joined with what came out."""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
import pytest

from benchmarks import latency
from benchmarks.canonical import DOMAIN, PARTITIONS, events
from benchmarks.injector import EmbeddedSender, Ready, inject, ready
from benchmarks.outputs import LocalOutputs
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.events import Outgoing


class SlowLog:
    """A log that takes a while for each call."""

    tick_s = 0.001

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.got: list[int] = []

    def send(self, due: list[Ready]) -> None:
        time.sleep(self.takes_s)
        self.got += [each.log_time_ms for each in due]

    def flush(self) -> None:
        pass


def made(count: int) -> list[Ready]:
    return [Ready("claims", 0, b"", b"", n) for n in range(count)]


def test_all_is_sent_in_order_and_never_before_it_is_due():
    log = SlowLog(0.0)
    times, cpu_s = inject(log, made(200), per_s=2_000)
    assert log.got == list(range(200))
    np.testing.assert_allclose(np.diff(times[:, 0]), 1 / 2_000, atol=1e-6)
    assert (times[:, 1] >= times[:, 0]).all()
    assert cpu_s >= 0


def test_a_log_that_stalls_is_charged_with_all_that_came_due_meanwhile():
    log = SlowLog(0.05)
    times, _ = inject(log, made(100), per_s=1_000)
    late_s = times[:, 1] - times[:, 0]
    assert late_s[50:].mean() > 0.02  # each of them waited, not only the one that was sent
    np.testing.assert_allclose(times[-1, 0] - times[0, 0], 0.099, atol=1e-6)


def test_without_a_rate_all_goes_at_once():
    log = SlowLog(0.0)
    times, _ = inject(log, made(50_000), per_s=0)
    assert log.got == list(range(50_000))
    assert len(set(times[:, 0])) == 1


def test_events_go_where_their_key_says(tmp_path):
    sent = ready(islice(events(50, 300), 300))
    with EmbeddedLog(tmp_path / "log.db") as log:
        for topic in DOMAIN.topics:
            log.create_topic(topic, PARTITIONS)
        EmbeddedSender(str(tmp_path / "log.db")).send(sent)
        assert sum(sum(log.ends(topic)) for topic in DOMAIN.topics) == 300
        found = log.read(DOMAIN.claim.topic, 2, 0, 300)
    wanted = [each.value for each in sent if each[:2] == (DOMAIN.claim.topic, 2)]
    assert [record.value for record in found] == wanted


def test_a_decision_is_there_at_the_first_look_that_saw_it(tmp_path):
    outputs = LocalOutputs(tmp_path / "log.db")

    def decide(partition: int, *numbers: int) -> None:
        with EmbeddedLog(tmp_path / "log.db") as log:
            log.append([Outgoing(DECISIONS_TOPIC, partition, f"claim-{n:010d}".encode(), b"{}", 0)
                        for n in numbers])  # fmt: skip

    decide(0, 4)
    decide(1, 0, 2)
    assert outputs.count() == 3
    first = np.array([[10.0, 0, 1, 0, 0], [11.0, 1, 2, 0, 0]])
    assert dict(outputs.arrivals(first)) == {4: 11.0, 0: 10.0, 2: 11.0}
    decide(1, 7)
    assert dict(outputs.arrivals(np.array([[12.0, 1, 3, 0, 0]]))) == {7: 12.0}
    outputs.close()


@pytest.mark.slow
def test_a_worker_a_log_and_an_injector_in_three_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "SETTLE_S", 0.2)
    monkeypatch.setattr(latency, "BESIDE_S", 0.5)
    with latency.on_local(tmp_path, tmp_path / "models", 1_000, 1_000_000) as bench:
        found = latency.measure(bench, warm=1_000, backlog=20_000, seconds=1.0)
    held = found["beside_injector_per_s"]
    assert 0 < held <= found["events_per_s"]
    assert [load["share"] for load in found["loads"]] == [0.5, 0.9]
    for load in found["loads"]:
        assert load["claims"] > 100
        assert 0 < load["p50_ms"] <= load["p99_ms"] <= load["p999_ms"] <= load["max_ms"]
        assert load["planned_per_s"] == pytest.approx(load["share"] * held)
    latency.show({"local": found})
