"""Compare a Faust worker with `claimtrace stream`: the same events on the same Kafka broker.

    python -m benchmarks.faust_rate            a table
    python -m benchmarks.faust_rate --json     the same for a program

The workers run one after the other, each in a process of its own, with the canonical domain and its
model. First a worker works off a backlog. Then claims come at a steady rate, and the latency of
each is measured, from the call that sends the claim to the broker's timestamp of the decision.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from confluent_kafka.admin import AdminClient

from benchmarks.canonical import DOMAIN, PARTITIONS, Sent, events
from benchmarks.command import command, say
from benchmarks.kafka_rate import fill_topics
from benchmarks.processes import cpu_of, peak_of
from benchmarks.worker import PLAIN, make_champion_current, worker
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
from tests.servers.kafka import Cluster
from tests.servers.topics import client, create_topics, read_topic

WORKERS = {
    "plain": PLAIN,
    "faust": (
        "faust",
        "-A",
        "stream.adapters.faust.app:app",
        "worker",
        "-l",
        "warn",
        "--without-web",
    ),
}
OUTPUTS = (DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC, JOURNAL_TOPIC)
WARM_RATIO = 0.25
LINGER_S = 0.1


class _Planned(msgspec.Struct):
    ranges: list[tuple[str, int, int, int]]
    now_ms: int


class _Decided(msgspec.Struct):
    claim_id: str


def make_outputs(cluster: Cluster) -> None:
    """Create empty output topics with timestamps from the broker."""
    counts = {t: PARTITIONS if t in (DECISIONS_TOPIC, DEAD_TOPIC) else 1 for t in OUTPUTS}
    admin = AdminClient(client(cluster.bootstrap))
    if DECISIONS_TOPIC in admin.list_topics(timeout=10).topics:
        for done in admin.delete_topics(list(OUTPUTS)).values():
            done.result()
        time.sleep(2.0)
    create_topics(cluster.bootstrap, counts, config={"message.timestamp.type": "LogAppendTime"})


def plans(cluster: Cluster) -> list[_Planned]:
    """Read the plans in the journal."""
    records = read_topic(cluster.bootstrap, JOURNAL_TOPIC)
    return [msgspec.json.decode(r.value or b"", type=_Planned) for r in records if r.key == b"plan"]


def counted(found: list[_Planned]) -> list[int]:
    """Count the records of each plan."""
    return [sum(span[3] - span[2] for span in plan.ranges) for plan in found]


def work_off(cluster: Cluster, pid: int, began_ms: int, total: int) -> dict[str, float]:
    """Wait until all records are planned: start-up time, rate, CPU and memory of the worker.

    The rate leaves out the first quarter of the records.
    """
    while not (found := plans(cluster)):
        time.sleep(LINGER_S)
    cpu_s, seen = cpu_of(pid), sum(counted(found))
    while sum(counted(found)) < total:
        time.sleep(LINGER_S * 5)
        found = plans(cluster)
    sizes = counted(found)
    at = int(np.searchsorted(np.cumsum(sizes), total * WARM_RATIO))
    seconds = (found[-1].now_ms - found[at].now_ms) / 1000
    return {
        "start_s": (found[0].now_ms - began_ms) / 1000,
        "events_per_s": sum(sizes[at:-1]) / seconds,
        "cpu_us_per_event": 1e6 * (cpu_of(pid) - cpu_s) / (total - seen),
        "records_per_plan": float(np.median(sizes)),
        "peak_mb": peak_of(pid),
    }


def time_ways(
    cluster: Cluster, settings: Settings, sent: list[Sent], per_s: int
) -> dict[str, float]:
    """Send claims at a steady rate, and measure the latency of each decision."""
    sink = KafkaSink(settings.kafka_connection)
    sent_ms: dict[str, float] = {}
    from_s = time.monotonic()
    for i, (topic, key, value, log_time_ms) in enumerate(sent):
        time.sleep(max(0.0, from_s + i / per_s - time.monotonic()))
        sent_ms[msgspec.json.decode(value, type=_Decided).claim_id] = time.time() * 1000
        sink.send(
            [Outgoing(topic, partition_of(key, PARTITIONS), key.encode(), value, log_time_ms)]
        )
    sink.flush(60)
    sink.close()
    time.sleep(3.0)
    ways = []
    for record in read_topic(cluster.bootstrap, DECISIONS_TOPIC):
        claim_id = msgspec.json.decode(record.value or b"", type=_Decided).claim_id
        if claim_id in sent_ms:
            ways.append(record.log_time_ms - sent_ms[claim_id])
    p50, p99 = np.percentile(ways, [50, 99]).tolist()
    return {"p50_ms": p50, "p99_ms": p99}


def run(models: Path, *, policies: int, backlog: int, trickle: int, per_s: int) -> dict[str, Any]:
    """Measure both workers, one after the other."""
    make_champion_current(models)
    found: dict[str, Any] = {"backlog": backlog, "per_s": per_s}
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = events(policies, backlog + trickle * len(WORKERS))
        sent = list(islice(source, backlog))
        with Cluster(folder / "broker") as cluster:
            settings = Settings(source=f"kafka://{cluster.bootstrap}")
            create_topics(cluster.bootstrap, dict.fromkeys(DOMAIN.topics, PARTITIONS))
            fill_topics(settings, sent)
            total = backlog
            for kind, module in WORKERS.items():
                say(f"{kind} ...")
                make_outputs(cluster)
                began_ms = time.time_ns() // 1_000_000
                with worker(folder / kind, models, policies, source=settings.source, module=module,
                            group=kind) as running:  # fmt: skip
                    found[kind] = work_off(cluster, running.running.pid, began_ms, total)
                    more = only_claims(list(islice(source, trickle)))
                    found[kind] |= time_ways(cluster, settings, more, per_s)
                total += len(more)
    return found


def only_claims(sent: list[Sent]) -> list[Sent]:
    """Select the claims among events."""
    return [each for each in sent if each[0] == DOMAIN.claim.topic]


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"a backlog of {found['backlog']:,} events, then {found['per_s']} claims a second\n")
    print("worker   start s   events/s   CPU us/event   records/plan   p50 ms   p99 ms   peak MB")
    for kind in WORKERS:
        each = found[kind]
        print(f"{kind:7s} {each['start_s']:8.1f} {each['events_per_s']:10,.0f}"
              f" {each['cpu_us_per_event']:14.1f} {each['records_per_plan']:14.0f}"
              f" {each['p50_ms']:8.1f} {each['p99_ms']:8.1f} {each['peak_mb']:9.0f}")  # fmt: skip
    ratio = found["faust"]["events_per_s"] / found["plain"]["events_per_s"]
    print(f"\nFaust has {ratio:.2f} of the plain worker's rate")


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(100_000, "policies, each with one claim a year"),
        backlog=(120_000, "events before the start"),
        trickle=(6_000, "events that come steadily"),
        per_s=(300, "how many of these a second"),
    )  # fmt: skip
