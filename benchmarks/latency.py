"""How long a decision takes under load: injector, worker and log apart, on both kinds of log.

    python -m benchmarks.latency                     a table
    python -m benchmarks.latency --settings local    the embedded log only
    python -m benchmarks.latency --json              the same for a program

First the worker works through what lies there: its rate at full load. Then an injector in a process
of its own sends as many a second: what the worker holds beside it, for they share the cores. Then
it sends 50 % and 90 % of what was held, each claim at a planned moment. The latency of a claim is
from that moment, not from when it was sent, until its decision is acknowledged: a stall is
charged to every claim that came due meanwhile. On Kafka the broker's stamp on the decision counts,
on the embedded log the look that first sees it; both are late by up to a millisecond, never early.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.canonical import DOMAIN, PARTITIONS
from benchmarks.command import command, say
from benchmarks.injector import Done, Order, Setting
from benchmarks.outputs import KafkaOutputs, LocalOutputs, Outputs
from benchmarks.processes import Watched, peak_of, stretch, wait
from benchmarks.worker import ROOT, end, make_champion_current, worker
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from claimtrace.errors import StateError
from tests.servers.kafka import Cluster
from tests.servers.topics import create_topics

SHARES: Final = (0.5, 0.9)
BESIDE_S: Final = 8.0
"""So long the injector sends more than the worker holds beside it."""

SETTLE_S: Final = 2.0
"""Claims due this soon after a change of load are left out: batches find their size."""

LIMIT_S: Final = 180.0
LABELS_RATIO: Final = 1.06
"""Events to make for each claim that is wanted, a little more than come."""


class Injector:
    """The program that sends, and what it has been told so far."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        path = folder / "injector.json"
        path.write_bytes(msgspec.json.encode(setting))
        self._folder = folder
        self._running = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.injector", str(path)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.claims = 0

    def make(self, events: int) -> None:
        """Have so many events ready."""
        self._order(Order("make", events))

    def send(self, per_s: float = 0.0) -> tuple[Done, NDArray[np.float64]]:
        """Have them sent; times planned and sent of each claim among them, float64[claims, 2].

        Raises:
            StateError: it ended.
        """
        path = self._folder / "sent.npy"
        done = self._order(Order("send", per_s=per_s, into=str(path)))
        self.claims += done.claims
        return done, np.load(path)

    def seen(self) -> NDArray[np.float64]:
        """What its watch saw since the last time: time and end of each partition, by change."""
        path = self._folder / "seen.npy"
        self._order(Order("seen", into=str(path)))
        found: NDArray[np.float64] = np.load(path)
        return found

    def close(self) -> None:
        """End it."""
        end(self._running)

    def _order(self, order: Order) -> Done:
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._running.stdin.flush()
        answer = self._running.stdout.readline()
        if not answer:
            raise StateError("the injector ended", where="benchmark")
        return msgspec.json.decode(answer, type=Done)


class Bench(msgspec.Struct):
    """A log with its worker and injector."""

    outputs: Outputs
    injector: Injector
    worker: Watched
    stamped: bool


@contextmanager
def on_local(folder: Path, models: Path, policies: int, most: int) -> Iterator[Bench]:
    """The embedded log: three processes on one file."""
    own = folder / "local"
    own.mkdir()
    path = own / "log.db"
    with ExitStack() as opened:
        with EmbeddedLog(path) as log:
            for topic in DOMAIN.topics:
                log.create_topic(topic, PARTITIONS)
        outputs = LocalOutputs(path)
        opened.callback(outputs.close)
        injector = Injector(Setting(policies, most, log=str(path)), own)
        opened.callback(injector.close)
        yield Bench(outputs, injector, opened.enter_context(worker(own, models, policies)), False)


@contextmanager
def on_kafka(folder: Path, models: Path, policies: int, most: int) -> Iterator[Bench]:
    """A real broker, one node."""
    with ExitStack() as opened:
        own = folder / "kafka"
        cluster = opened.enter_context(Cluster(own / "broker"))
        create_topics(cluster.bootstrap, dict.fromkeys(DOMAIN.topics, PARTITIONS))
        make_outputs(cluster.bootstrap)
        outputs = KafkaOutputs(cluster.bootstrap)
        opened.callback(outputs.close)
        injector = Injector(Setting(policies, most, bootstrap=cluster.bootstrap), own)
        opened.callback(injector.close)
        source = f"kafka://{cluster.bootstrap}"
        running = opened.enter_context(
            worker(own, models, policies, source=source, broker=cluster.brokers[0].pid)
        )
        yield Bench(outputs, injector, running, True)


SETTINGS: Final = {"local": on_local, "kafka": on_kafka}


def make_outputs(bootstrap: str) -> None:
    """Output topics that the broker stamps."""
    stamps = {"message.timestamp.type": "LogAppendTime"}
    many = dict.fromkeys((DECISIONS_TOPIC, DEAD_TOPIC), PARTITIONS)
    one = dict.fromkeys((DRIFT_TOPIC, ALERTS_TOPIC), 1)
    create_topics(bootstrap, {**many, **one}, config=stamps)
    create_topics(bootstrap, {JOURNAL_TOPIC: 1})


def measure(bench: Bench, warm: int, backlog: int, seconds: float) -> dict[str, Any]:
    """Full load, then the shares of it."""
    say("  full load ...")
    bench.injector.make(warm + backlog)
    bench.injector.send()
    claims = bench.injector.claims
    ratio = (warm + backlog) / claims  # events a claim
    full = stretch(bench.worker, bench.outputs.count, int(warm / ratio), claims, LIMIT_S)
    rate = full.done * ratio / full.wall_s
    if len(_arrivals(bench)) < claims:
        raise StateError(f"not all is decided after {LIMIT_S:.0f} s", where="worker")
    held = _beside(bench, rate, BESIDE_S)
    return {
        "events_per_s": rate,
        "beside_injector_per_s": held,
        "cpu_us_per_event": 1e6 * full.cpu_s / (full.done * ratio),
        "broker_us_per_event": 1e6 * full.broker_s / (full.done * ratio),
        "loads": [_load(bench, share, held * share, seconds) for share in SHARES],
        "peak_mb": peak_of(bench.worker.running.pid),
    }


class _Sent(NamedTuple):
    """What was sent at a rate and decided."""

    planned_s: NDArray[np.float64]
    late_ms: NDArray[np.float64]
    """Of each claim: from when it was due until it was sent."""
    there_s: NDArray[np.float64]
    cpu_s: float
    broker_s: float
    injector_s: float


def _send(bench: Bench, per_s: float, events: int) -> _Sent:
    """Send events at a rate and wait until all claims among them are decided."""
    base = bench.injector.claims
    bench.injector.make(events)
    first = wait(bench.worker, bench.outputs.count, 0, 0.0)
    done, times = bench.injector.send(per_s)
    last = wait(bench.worker, bench.outputs.count, bench.injector.claims, LIMIT_S)
    there = np.full(done.claims, np.nan)
    for number, at_s in _arrivals(bench):
        there[number - base] = at_s
    if np.isnan(there).any():
        raise StateError(f"{np.isnan(there).sum()} claims have no decision", where="benchmark")
    return _Sent(
        times[:, 0],
        1e3 * (times[:, 1] - times[:, 0]),
        there,
        last.cpu_s - first.cpu_s,
        last.broker_s - first.broker_s,
        done.cpu_s,
    )


def _beside(bench: Bench, per_s: float, seconds: float) -> float:
    """Events a second that are decided while more than that come."""
    say(f"  {per_s:,.0f} events a second for {seconds:.0f} s, beside the injector ...")
    events = int(per_s * seconds)
    sent = _send(bench, per_s, events)
    start, end = sent.planned_s[0] + min(SETTLE_S, seconds / 2), sent.planned_s[-1]
    decided = int(((sent.there_s >= start) & (sent.there_s < end)).sum())
    return min(per_s, decided * events / len(sent.there_s) / float(end - start))


def _load(bench: Bench, share: float, per_s: float, seconds: float) -> dict[str, float]:
    """One load: percentiles of what was due after the first moments."""
    say(f"  {share:.0%} of it, {per_s:,.0f} events a second for {seconds:.0f} s ...")
    events = int(per_s * seconds)
    sent = _send(bench, per_s, events)
    counted = sent.planned_s >= sent.planned_s[0] + SETTLE_S
    ways_ms = 1e3 * (sent.there_s - sent.planned_s)[counted]
    p50, p99, p999 = np.percentile(ways_ms, [50, 99, 99.9]).tolist()
    return {
        "share": share,
        "planned_per_s": per_s,
        "claims": int(counted.sum()),
        "p50_ms": p50,
        "p99_ms": p99,
        "p999_ms": p999,
        "max_ms": float(ways_ms.max()),
        "injector_late_p99_ms": float(np.percentile(sent.late_ms[counted], 99)),
        "behind_s": float(sent.there_s.max() - sent.planned_s[-1]),
        "cpu_us_per_event": 1e6 * sent.cpu_s / events,
        "broker_us_per_event": 1e6 * sent.broker_s / events,
        "injector_us_per_event": 1e6 * sent.injector_s / events,
    }


def _arrivals(bench: Bench) -> list[tuple[int, float]]:
    time.sleep(0.1)  # the watch looks once more
    return list(bench.outputs.arrivals(None if bench.stamped else bench.injector.seen()))


def run(
    models: Path, *, policies: int, warm: int, backlog: int, seconds: float, settings: list[str]
) -> dict[str, Any]:
    """Both settings, one after the other."""
    make_champion_current(models)
    found: dict[str, Any] = {"policies": policies, "cores": os.cpu_count()}
    most = int(
        warm + backlog + (BESIDE_S + seconds) * 200_000
    )  # more than any of the rates will ask for
    for name in settings:
        say(f"{name} ...")
        with TemporaryDirectory() as folder, ExitStack() as opened:
            bench = opened.enter_context(SETTINGS[name](Path(folder), models, policies, most))
            found[name] = measure(bench, warm, backlog, seconds)
    return found


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""
    print("log     load    events/s   p50 ms   p99 ms   p99.9 ms   max ms   CPU us   broker us"
          "   injector us   late ms")  # fmt: skip
    for name in SETTINGS:
        if name not in found:
            continue
        each = found[name]
        print(f"{name:6s}  full {each['events_per_s']:10,.0f} {'':39s}"
              f" {each['cpu_us_per_event']:8.1f} {each['broker_us_per_event']:11.1f}")  # fmt: skip
        print(f"{'':6s} held {each['beside_injector_per_s']:11,.0f}")
        for load in each["loads"]:
            print(f"{'':6s} {load['share']:5.0%} {load['planned_per_s']:10,.0f}"
                  f" {load['p50_ms']:8.1f} {load['p99_ms']:8.1f} {load['p999_ms']:10.1f}"
                  f" {load['max_ms']:8.1f} {load['cpu_us_per_event']:8.1f}"
                  f" {load['broker_us_per_event']:11.1f} {load['injector_us_per_event']:13.1f}"
                  f" {load['injector_late_p99_ms']:9.1f}"
                  f"{'   fell behind' if load['behind_s'] > 1 else ''}")  # fmt: skip


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "that claim once a year"),
        warm=(60_000, "events before the full load is measured"),
        backlog=(200_000, "events of the full load"),
        seconds=(20.0, "of each load"),
        settings=(list(SETTINGS), "which logs"),
    )  # fmt: skip
