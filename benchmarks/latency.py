"""Measure the latency of decisions under load, on the embedded log and on Kafka.

    python -m benchmarks.latency                     a table
    python -m benchmarks.latency --settings local    the embedded log only
    python -m benchmarks.latency --json              the same for a program

Worker and injector are processes of their own and share the cores. The load has three steps:

1. The worker works off a backlog, which gives its rate at full load.
2. The injector sends claims at that rate. The rate that the worker then reaches is the rate it
   holds beside the injector.
3. The injector sends 50 % and 90 % of the rate held, each claim at a planned moment.

The latency of a claim is from its planned moment, not from when it was sent, until its decision is
acknowledged. A stall is therefore charged to every claim that falls due meanwhile. On Kafka the
decision has a timestamp by the broker; on the embedded log the first look that finds the decision
counts. Both are up to a millisecond late, and never early.
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
"""Seconds of the second step, in which the injector sends more than the worker can hold."""

SETTLE_S: Final = 2.0
"""Claims due within these seconds after a change of load aren't counted, as the worker adapts the
size of its batches."""

LIMIT_S: Final = 180.0
LABELS_RATIO: Final = 1.06
"""Events to make for each wanted claim, slightly more than needed."""


class Injector:
    """The process of `benchmarks.injector`, and the number of claims it has sent."""

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
        """Order the bytes of a number of events to be built."""
        self._order(Order("make", events))

    def send(self, per_s: float = 0.0) -> tuple[Done, NDArray[np.float64]]:
        """Order the events that were made to be sent, and wait until they are.

        Args:
            per_s: events a second; 0: all at once.

        Returns:
            The answer; and the planned and the actual time of each claim, float64[claims, 2].

        Raises:
            StateError: the injector ended.
        """
        path = self._folder / "sent.npy"
        done = self._order(Order("send", per_s=per_s, into=str(path)))
        self.claims += done.claims
        return done, np.load(path)

    def seen(self) -> NDArray[np.float64]:
        """Read the observations of `injector.Watch` since the last call, a row for each change:
        the time, and the end of each partition."""
        path = self._folder / "seen.npy"
        self._order(Order("seen", into=str(path)))
        found: NDArray[np.float64] = np.load(path)
        return found

    def close(self) -> None:
        """End the process."""
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
    """A log with its worker and injector; `stamped`: the log sets timestamps."""

    outputs: Outputs
    injector: Injector
    worker: Watched
    stamped: bool


@contextmanager
def on_local(folder: Path, models: Path, policies: int, most: int) -> Iterator[Bench]:
    """Start worker and injector on an embedded log, which they share as one file."""
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
    """Start a Kafka broker of one node, with worker and injector."""
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
    """Create output topics with timestamps from the broker."""
    stamps = {"message.timestamp.type": "LogAppendTime"}
    many = dict.fromkeys((DECISIONS_TOPIC, DEAD_TOPIC), PARTITIONS)
    one = dict.fromkeys((DRIFT_TOPIC, ALERTS_TOPIC), 1)
    create_topics(bootstrap, {**many, **one}, config=stamps)
    create_topics(bootstrap, {JOURNAL_TOPIC: 1})


def measure(bench: Bench, warm: int, backlog: int, seconds: float) -> dict[str, Any]:
    """Measure full load, the rate held beside the injector, and the shares of that rate."""
    say("  full load ...")
    bench.injector.make(warm + backlog)
    bench.injector.send()
    claims = bench.injector.claims
    ratio = (warm + backlog) / claims  # events a claim
    full = stretch(bench.worker, bench.outputs.count, int(warm / ratio), claims, LIMIT_S)
    rate = full.done * ratio / full.wall_s
    if len(arrivals(bench)) < claims:
        raise StateError(f"not all is decided after {LIMIT_S:.0f} s", where="worker")
    held = _beside(bench, rate, BESIDE_S)
    return {
        "events_per_s": rate,
        "beside_injector_per_s": held,
        "cpu_us_per_event": 1e6 * full.cpu_s / (full.done * ratio),
        "broker_us_per_event": 1e6 * full.broker_s / (full.done * ratio),
        "loads": [
            {"share": share} | load(bench, f"{share:.0%} of it", held * share, seconds)
            for share in SHARES
        ],
        "peak_mb": peak_of(bench.worker.running.pid),
    }


class _Sent(NamedTuple):
    """The claims sent in one step, with their times and the CPU of all processes."""

    planned_s: NDArray[np.float64]
    late_ms: NDArray[np.float64]
    """Of each claim: from its planned moment until it was sent."""
    there_s: NDArray[np.float64]
    cpu_s: float
    broker_s: float
    injector_s: float


def _send(bench: Bench, per_s: float, events: int) -> _Sent:
    """Send events at a rate, and wait until all claims among them are decided."""
    base = bench.injector.claims
    bench.injector.make(events)
    first = wait(bench.worker, bench.outputs.count, 0, 0.0)
    done, times = bench.injector.send(per_s)
    last = wait(bench.worker, bench.outputs.count, bench.injector.claims, LIMIT_S)
    there = np.full(done.claims, np.nan)
    for number, at_s in arrivals(bench):
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
    """Measure the events a second that are decided while events come at a higher rate."""
    say(f"  {per_s:,.0f} events a second for {seconds:.0f} s, beside the injector ...")
    events = int(per_s * seconds)
    sent = _send(bench, per_s, events)
    start, end = sent.planned_s[0] + min(SETTLE_S, seconds / 2), sent.planned_s[-1]
    decided = int(((sent.there_s >= start) & (sent.there_s < end)).sum())
    return min(per_s, decided * events / len(sent.there_s) / float(end - start))


def load(bench: Bench, words: str, per_s: float, seconds: float) -> dict[str, float]:
    """Measure one load: percentiles of the claims due after `SETTLE_S`; `words` tell its size."""
    say(f"  {words}, {per_s:,.0f} events a second for {seconds:.0f} s ...")
    events = int(per_s * seconds)
    sent = _send(bench, per_s, events)
    counted = sent.planned_s >= sent.planned_s[0] + SETTLE_S
    ways_ms = 1e3 * (sent.there_s - sent.planned_s)[counted]
    p50, p99, p999 = np.percentile(ways_ms, [50, 99, 99.9]).tolist()
    return {
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


def arrivals(bench: Bench) -> list[tuple[int, float]]:
    """Return number and time of each claim whose decision came since the last call."""
    time.sleep(0.1)  # the watch looks once more
    return list(bench.outputs.arrivals(None if bench.stamped else bench.injector.seen()))


def run(
    models: Path, *, policies: int, warm: int, backlog: int, seconds: float, settings: list[str]
) -> dict[str, Any]:
    """Measure the chosen settings, one after the other."""
    make_champion_current(models)
    found: dict[str, Any] = {"policies": policies, "cores": os.cpu_count()}
    most = int(warm + backlog + (BESIDE_S + seconds) * 200_000)  # more than any rate needs
    for name in settings:
        say(f"{name} ...")
        with TemporaryDirectory() as folder, ExitStack() as opened:
            bench = opened.enter_context(SETTINGS[name](Path(folder), models, policies, most))
            found[name] = measure(bench, warm, backlog, seconds)
    return found


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
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
        policies=(100_000, "policies, each with one claim a year"),
        warm=(60_000, "events before the full load is measured"),
        backlog=(200_000, "events of the full load"),
        seconds=(20.0, "seconds of each load"),
        settings=(list(SETTINGS), "logs to measure"),
    )  # fmt: skip
