"""Compare a worker on a real Kafka broker with the same engine on the embedded log.

    python -m benchmarks.kafka_rate            a table
    python -m benchmarks.kafka_rate --json     the same for a program

Both logs hold the same canonical events and are measured in turns. On Kafka the worker reads,
writes its journal, emits with acknowledgement by the broker, and commits. On the embedded log it
syncs the journal and the log. The broker runs on the same machine; its CPU is shown apart. The
round trip of the journal is measured as well.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import msgspec
import numpy as np

from benchmarks.canonical import DOMAIN, PARTITIONS, Sent, events
from benchmarks.champion import load_champion, open_line
from benchmarks.command import command, say
from benchmarks.line import Line, peak_mb
from benchmarks.processes import cpu_of
from benchmarks.throughput import fill_log
from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from claimtrace.events import Outgoing
from claimtrace.ids import partition_of
from claimtrace.settings.schema import Settings
from producers.adapters.kafka import KafkaSink
from stream.adapters.kafka.group import KafkaGroup
from stream.adapters.kafka.journal import KafkaJournal
from stream.adapters.kafka.output import KafkaOutput
from stream.adapters.kafka.source import KafkaSource
from stream.adapters.process.garbage import rare_collections
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import LogParts
from tests.servers.kafka import Cluster
from tests.servers.topics import create_topics

BATCHES = (2000, 500, 64)


class RoundTrips(WorkerObserver):
    """Times of the journal's round trips."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def journal(self, seconds: float) -> None:
        """Keep the time from writing a plan until it is read back."""
        self.seconds.append(seconds)


def fill_topics(settings: Settings, sent: list[Sent]) -> float:
    """Produce the events; returns the rate, in acknowledged records a second."""
    sink = KafkaSink(settings.kafka_connection)
    began = perf_counter()
    for start in range(0, len(sent), 20_000):
        sink.send(
            [
                Outgoing(topic, partition_of(key, PARTITIONS), key.encode(), value, log_time_ms)
                for topic, key, value, log_time_ms in sent[start : start + 20_000]
            ]
        )
    sink.flush(120)
    took = perf_counter() - began
    sink.close()
    return len(sent) / took


def make_topics(cluster: Cluster) -> None:
    """Create the input and output topics of the canonical domain."""
    many = dict.fromkeys((*DOMAIN.topics, DECISIONS_TOPIC, DEAD_TOPIC), PARTITIONS)
    one = dict.fromkeys((DRIFT_TOPIC, ALERTS_TOPIC, JOURNAL_TOPIC), 1)
    create_topics(cluster.bootstrap, {**many, **one})


def kafka_driver(line: Line, settings: Settings, observer: WorkerObserver) -> Driver:
    """Assemble a worker on Kafka from the parts that `claimtrace stream` uses."""
    clock, connection = SystemClock(), settings.kafka_connection
    terms = msgspec.structs.replace(line.terms, partitions=0)
    output = KafkaOutput(connection)
    log = LogParts(
        KafkaSource(connection, DOMAIN.topics, clock),
        KafkaJournal(connection, terms, clock),
        output,
        KafkaGroup(connection, DOMAIN.topics, clock, output),
    )
    return line.driver_of(log, line.folder / "kafka", clock, commit_s=0.5, observer=observer)


def measure(driver: Driver, records: int, batch: int, broker: int = 0) -> dict[str, float]:
    """Drive a number of records: rate on the clock, CPU of this process and of the broker.

    Args:
        driver: a worker, or the driver of the embedded log.
        records: number of events, at least; the last batch may exceed it.
        batch: the most records of a step.
        broker: process id of the broker, 0 for none.
    """
    began, cpu_s, broker_s = perf_counter(), process_time(), cpu_of(broker)
    times: list[float] = []
    done = 0
    while done < records:
        step_began = perf_counter()
        took = driver.step(batch)
        if took:
            times.append(perf_counter() - step_began)
        done += took
    seconds, cpu_s = perf_counter() - began, process_time() - cpu_s
    p50, p99 = np.percentile(times, [50, 99]).tolist()
    return {
        "batch": batch,
        "events_per_s": done / seconds,
        "cpu_us_per_event": 1e6 * cpu_s / done,
        "broker_us_per_event": 1e6 * (cpu_of(broker) - broker_s) / done,
        "p50_ms": 1e3 * p50,
        "p99_ms": 1e3 * p99,
    }


def run(models: Path, *, policies: int, warm: int, events_each: int) -> dict[str, Any]:
    """Measure both logs, in turns."""
    with TemporaryDirectory() as name:
        folder, scorer = Path(name), load_champion(models)
        sent = list(events(policies, warm + events_each * len(BATCHES)))
        line = open_line(folder, policies, scorer, durable=True)
        say("filling both logs ...")
        fill_log(line, iter(sent))
        with Cluster(folder / "broker") as cluster, rare_collections():
            settings = Settings(source=f"kafka://{cluster.bootstrap}")
            make_topics(cluster)
            produced = fill_topics(settings, sent)
            trips = RoundTrips()
            local, worker = line.driver(), kafka_driver(line, settings, trips)
            pid = cluster.brokers[0].pid
            say("warming up ...")
            measure(local, warm, BATCHES[0])
            measure(worker, warm, BATCHES[0], pid)
            pairs = []
            for batch in BATCHES:  # in turns, so that other load disturbs both alike
                say(f"batches of {batch} ...")
                trips.seconds.clear()
                pair = {"local": measure(local, events_each, batch),
                        "kafka": measure(worker, events_each, batch, pid)}  # fmt: skip
                p50, p99 = np.percentile(trips.seconds, [50, 99]).tolist()
                pairs.append(pair | {"journal_ms": {"p50": 1e3 * p50, "p99": 1e3 * p99}})
            worker.finish()
        line.close()
    return {"policies": policies, "produced_per_s": produced, "pairs": pairs, "peak_mb": peak_mb()}


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(
        f"{found['policies']:,} policies; produced {found['produced_per_s']:,.0f} records a second"
    )
    print(
        "\nbatch  log     events/s  ratio  CPU us  broker us   p50 ms   p99 ms  journal p50  p99 ms"
    )
    for pair in found["pairs"]:
        for name in ("local", "kafka"):
            each = pair[name]
            ratio = each["events_per_s"] / pair["local"]["events_per_s"]
            trips = pair["journal_ms"]
            journal = f"{trips['p50']:12.2f} {trips['p99']:7.2f}" if name == "kafka" else ""
            print(f"{each['batch']:5.0f}  {name:6s} {each['events_per_s']:9,.0f} {ratio:6.2f}"
                  f" {each['cpu_us_per_event']:7.1f} {each['broker_us_per_event']:10.1f}"
                  f" {each['p50_ms']:8.2f} {each['p99_ms']:8.2f} {journal}")  # fmt: skip


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        warm=(60_000, "events before measuring"),
        events_each=(40_000, "events for each batch size"),
    )  # fmt: skip
