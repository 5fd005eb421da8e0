"""Workers on Kafka topics inside the test's own process, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from claimtrace.errors import ClaimtraceError
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import KafkaSettings, Settings
from claimtrace_examples.auto_claims import DOMAIN
from producers.adapters.kafka import KafkaSink
from stream.adapters.kafka.group import KafkaGroup
from stream.adapters.kafka.journal import KafkaJournal
from stream.adapters.kafka.output import KafkaOutput
from stream.adapters.kafka.source import KafkaSource
from stream.engine.engine import Engine
from stream.journal.plan import TopicPartition
from stream.offline_rows.rows import build
from stream.proofs.verify import check_chains
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Stores
from tests.servers.topics import read_topic
from tests.simulation.lives import RowsInMemory
from tests.simulation.shared_lives import check_output, check_rows
from tests.worlds.random_events import KEY, a_stream
from tests.worlds.stream_folder import no_models, terms

PARTITIONS = 2
TOPICS = {**dict.fromkeys((*DOMAIN.topics, DECISIONS_TOPIC, DEAD_TOPIC), PARTITIONS),
          **dict.fromkeys((DRIFT_TOPIC, ALERTS_TOPIC, JOURNAL_TOPIC), 1)}  # fmt: skip


class RecordingObserver(WorkerObserver):
    """Records what the observer of a worker is told."""

    def __init__(self) -> None:
        self.commits: list[bool] = []
        self.readiness: list[bool] = []
        self.changes: list[str] = []
        self.pauses: list[str] = []

    def committed(self, ok: bool) -> None:
        """Record whether a commit was accepted."""
        self.commits.append(ok)

    def ready(self, is_ready: bool) -> None:
        """Record whether the worker is ready."""
        self.readiness.append(is_ready)

    def rebalanced(self, kind: str, topic_partitions: object = ()) -> None:
        """Record a rebalance."""
        self.changes.append(kind)

    def paused(self, where: str) -> None:
        """Record which store or broker didn't answer."""
        self.pauses.append(where)


class NoSnapshots:
    """A store that keeps no snapshot: each start begins with the journal."""

    def is_ready(self, arrays: Any) -> bool:
        """Whether a snapshot can begin: always."""
        return True

    def begin(self, plan: int, arrays: Any) -> bool:
        """Drop the state."""
        return False

    def is_written(self, *, wait: bool = False) -> bool:
        """Whether the snapshot is written: at once."""
        return True

    def publish(self) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Do nothing: there is no background work."""

    def newest(self, fits: Any = None) -> None:
        """Return None."""


@dataclass
class Bench:
    """Topics on a cluster, mock or real, and workers over them."""

    bootstrap: str
    rows: RowsInMemory = field(default_factory=RowsInMemory)
    opened: list[Callable[[], Any]] = field(default_factory=list)

    def settings(self, **kafka: Any) -> Settings:
        """Return the settings that reach the cluster."""
        usual = {"session_timeout": "2s", "commit_every": "0ms", "compression": "none"}
        return Settings(
            source=f"kafka://{self.bootstrap}", kafka=KafkaSettings(**{**usual, **kafka})
        )

    def put(self, seed: int, count: int, extra: Sequence[Outgoing] = ()) -> None:
        """Append events, as a producer does."""
        sink = KafkaSink(self.settings().kafka_connection)
        facts = a_stream(seed, count)
        events = [Outgoing(event.topic, i % PARTITIONS, b"k", msgspec.json.encode(event), at)
                  for i, (_, event, _, at) in enumerate(facts)]  # fmt: skip
        sink.send([*events, *extra])
        sink.flush(30)
        sink.close()

    def worker(self, most_poll_ms: int = 300_000, **kafka: Any) -> OneWorker:
        """Start a worker; it has recovered when this returns."""
        settings, clock, heard = self.settings(**kafka), SystemClock(), RecordingObserver()
        member = self.settings(**kafka, properties={"max.poll.interval.ms": most_poll_ms})
        source = KafkaSource(settings.kafka_connection, DOMAIN.topics, clock, heard)
        journal = KafkaJournal(settings.kafka_connection, terms(0), clock)
        exactly_once = settings.kafka.output == "exactly_once"
        output = KafkaOutput(
            settings.kafka_connection, f"bench-{len(self.opened)}" if exactly_once else ""
        )
        group = KafkaGroup(member.kafka_connection, DOMAIN.topics, clock, output)
        group._connection = settings.kafka_connection
        self.opened += [source.close, journal.close, output.close, group.leave]
        engine = Engine(DOMAIN, terms(0), KEY, no_models)
        said: list[str] = []
        heard.notify = said.append
        driver = Driver(
            engine, LogParts(source, journal, output, group), Stores(self.rows, NoSnapshots()),
            Cadence(snapshot=(10**9, 1e9), offline=(50, 0.3)), clock, lambda: None, heard,
        )  # fmt: skip
        driver.recover()
        return OneWorker(driver, source, group, heard, said)

    def check(self, *, once: bool = False) -> int:
        """Check that the topics hold what one undisturbed worker makes of the journal.

        Returns the number of repeated decisions.

        """
        settings, clock = self.settings(), SystemClock()
        source = KafkaSource(settings.kafka_connection, DOMAIN.topics, clock)
        journal = KafkaJournal(settings.kafka_connection, None, clock)
        engine = Engine(DOMAIN, terms(0), KEY, no_models)
        want: dict[TopicPartition, list[Outgoing]] = {}
        rows: dict[str, list[pa.Table]] = {}
        planned = []
        try:
            for plan in journal.read(1):
                source.order_topics(engine.tie_order)
                batch = source.fetch(plan.ranges)
                planned += [(r.topic, r.partition, r.position) for r in batch]
                effects = engine.step(plan, batch)
                for each in effects.outgoing:
                    want.setdefault((each.topic, each.partition), []).append(each)
                for table, made in effects.rows.items():
                    rows.setdefault(table, []).append(build(table, [made]))
        finally:
            source.close()
            journal.close()
        there = [(r.topic, r.partition, r.position) for t in DOMAIN.topics
                 for r in read_topic(self.bootstrap, t)]  # fmt: skip
        assert sorted(planned) == sorted(there)
        found: dict[TopicPartition, list[Record]] = {}
        for topic in (DECISIONS_TOPIC, DEAD_TOPIC):
            for record in read_topic(self.bootstrap, topic):
                found.setdefault((topic, record.partition), []).append(record)
        assert found.keys() == want.keys()
        for topic_partition, records in found.items():
            sent = [
                Outgoing(*topic_partition, r.key, r.value, r.log_time_ms, r.headers)
                for r in records
            ]
            check_output(topic_partition, want[topic_partition], sent, once=once)
        decisions: dict[int, Iterable[Record]] = {
            p: r for (t, p), r in found.items() if t == DECISIONS_TOPIC
        }
        assert check_chains(decisions, may_repeat=True).broken == []
        check_rows(rows, self.rows.tables)
        bodies = [r.value for (t, _), part in found.items() if t == DECISIONS_TOPIC for r in part]
        return len(bodies) - len(set(bodies))

    def close(self) -> None:
        """Close the clients of the cluster."""
        for close in reversed(self.opened):
            close()


@dataclass
class OneWorker:
    """A driver, its observer and its lines."""

    driver: Driver
    source: KafkaSource
    group: KafkaGroup
    heard: RecordingObserver
    said: list[str]

    @property
    def owned(self) -> set[TopicPartition]:
        """The topic-partitions that the worker decides on."""
        return set(self.driver._ownership._owned or ())

    def is_done(self) -> bool:
        """Whether all inputs are decided on, stored and committed."""
        plan, positions = self.driver.engine.plan, self.driver.engine.positions
        try:
            ends = self.source.ends()
        except ClaimtraceError:
            return False  # brokers are down: nobody knows
        if any(positions.get(topic_partition, 0) < end for topic_partition, end in ends.items()
               if not self.source.is_through(topic_partition, end)):  # fmt: skip
            return False
        checkpoints = self.group.checkpoints(self.group.topic_partitions())
        return len(checkpoints) == len(self.group.topic_partitions()) and all(
            mark.emitted == mark.stored == plan for mark in checkpoints.values()
        )


def until(condition: Callable[[], bool], *workers: OneWorker, seconds: float = 30.0) -> None:
    """Step workers in turn until a condition holds."""
    end_s = time.monotonic() + seconds
    while True:
        busy = sum(worker.driver.step(64) for worker in workers)
        if not busy:
            if condition():
                return
            time.sleep(0.01)
        if time.monotonic() > end_s:
            raise AssertionError(f"not in {seconds} s: {[w.said[-3:] for w in workers]}")


@contextmanager
def bench_of(bootstrap: str) -> Iterator[Bench]:
    """Make a bench that is closed afterwards."""
    made = Bench(bootstrap)
    try:
        yield made
    finally:
        made.close()
