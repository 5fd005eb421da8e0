"""Several real workers on a real broker: started, killed, stopped, and their results checked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.batches.accepted import Accepted
from claimtrace.decisions import (
    ALERTS_TOPIC,
    DEAD_TOPIC,
    DECISIONS_TOPIC,
    DRIFT_TOPIC,
    JOURNAL_TOPIC,
)
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.settings.loading import load_settings
from claimtrace_examples.auto_claims import DOMAIN
from cli.transports.choice import open_transport
from cli.wiring.assembly import build_engine
from cli.wiring.workspace import Workspace
from stream.journal.plan import in_plan_order
from stream.proofs.verify import check_chains
from tests.oracles.sampled_features import sampled_vectors
from tests.servers.broker import free_ports
from tests.servers.kafka import Cluster
from tests.servers.topics import create_topics, read_topic
from tests.simulation.histories import BAD
from tests.worlds.worker_process import Worker, ends_of, feed, feeding, until

__all__ = ["Fleet", "Worker", "a_feed", "check", "feed", "feeding", "find", "make_topics", "until"]

KINDS = {"claims.filed": "claim", "claims.adjudicated": "label", "policies.changed": "change"}
TOPICS = (*DOMAIN.topics, DECISIONS_TOPIC, DEAD_TOPIC, DRIFT_TOPIC, ALERTS_TOPIC, JOURNAL_TOPIC)


def make_topics(cluster: Cluster, partitions: int, **properties: Any) -> None:
    """Create the domain's topics as `claimtrace topics create` does, but with the producers' times.

    So a simulated year keeps its log times.

    """
    many = dict.fromkeys((*DOMAIN.topics, DECISIONS_TOPIC, DEAD_TOPIC), partitions)
    one = dict.fromkeys((DRIFT_TOPIC, ALERTS_TOPIC, JOURNAL_TOPIC), 1)
    create_topics(cluster.bootstrap, {**many, **one}, **properties)


def a_feed(
    claims: int, partitions: int, *, seed: int = 5, doubles: float = 0.05, poison: float = 0.01
) -> list[Outgoing]:
    """Return about `claims` claims with outcomes and policy changes, in order of arrival.

    Some events come twice, and some records are bytes that are no event.

    """
    from cli.commands.events.simulate import simulation_of
    from producers.simulation.config import SimulationConfig

    rng = np.random.default_rng(seed)
    days = 60
    config = SimulationConfig(seed=seed, days=days, claims_per_day=claims / days,
                              policies=max(200, claims // 5), partitions=partitions)  # fmt: skip
    rows: list[Outgoing] = []
    for chunk in simulation_of(config).chunks():
        for part in chunk.parts:
            keys = part.keys or [None] * len(part.values)
            rows += [
                Outgoing(part.topic, part.partition, key, value, int(at))
                for key, value, at in zip(keys, part.values, part.log_times_ms, strict=True)
            ]
    rows.sort(key=lambda r: r.log_time_ms)
    fed: list[Outgoing] = []
    for row in rows:
        fed.append(row)
        if rng.random() < doubles:
            old = fed[int(rng.integers(max(0, len(fed) - 500), len(fed)))]
            fed.append(old._replace(log_time_ms=row.log_time_ms))
        if rng.random() < poison:
            bad = BAD[2:][int(rng.integers(len(BAD) - 2))]
            fed.append(row._replace(value=bad))
    return fed


@dataclass
class Fleet:
    """Workers that share a registry and an offline store, each with a folder of its own."""

    folder: Path
    cluster: Cluster
    settings: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def worker(self, *, measured: bool = False) -> Worker:
        """Add a worker, not started yet; `measured`: it serves its metrics."""
        name = f"worker-{len(self.workers)}"
        made = Worker(name, self.folder / name, self.environment())
        made.port = free_ports(1)[0] if measured else 0
        self.workers.append(made)
        return made

    def environment(self) -> dict[str, str]:
        """Return the settings of every worker."""
        return {
            "CLAIMTRACE_SOURCE": f"kafka://{self.cluster.bootstrap}",
            "CLAIMTRACE_MODELS": str(self.folder / "models"),
            "CLAIMTRACE_OFFLINE": str(self.folder / "offline"),
            "CLAIMTRACE_KAFKA__SESSION_TIMEOUT": "3s",
            "CLAIMTRACE_STREAM__SNAPSHOT_EVERY_RECORDS": "5000",
            "CLAIMTRACE_STREAM__OFFLINE_EVERY": "2s",
            **self.settings,
        }

    def session(self) -> Workspace:
        """Return a workspace for reading the workers' results."""
        environment = {**self.environment(), "CLAIMTRACE_FOLDER": str(self.folder / "asking")}
        return Workspace(load_settings(None, environment))

    def wait_until_done(self, timeout_s: float = 120.0) -> None:
        """Wait until the group has committed all inputs to their ends, and stored all rows.

        If all workers end during a rebalance, their last rows are left to the next one to start.

        """
        from stream.adapters.kafka.group import KafkaGroup
        from stream.adapters.kafka.output import KafkaOutput
        from stream.adapters.kafka.source import KafkaSource

        session = self.session()
        settings, clock = session.settings, SystemClock()
        source = KafkaSource(settings.kafka_connection, DOMAIN.topics, clock)
        group = KafkaGroup(
            settings.kafka_connection, DOMAIN.topics, clock, KafkaOutput(settings.kafka_connection)
        )
        ends = source.ends()
        until_s = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    done, checkpoints = group.offsets(ends), group.checkpoints(ends)
                except StoreUnavailable:  # the group's coordinator may be on its way
                    done, checkpoints = {}, {}
                left = {p: (done.get(p, 0), e) for p, e in ends.items() if done.get(p, 0) < e}
                if not left and all(m.stored >= m.emitted for m in checkpoints.values()):
                    return
                if time.monotonic() > until_s:
                    raise AssertionError(f"not done: {left}\n{self.said()}")
                for worker in self.workers:
                    ended = worker.running is not None and not worker.alive
                    assert not ended, f"{worker.name} ended\n{self.said()}"
                time.sleep(0.2)
        finally:
            source.close()
            group.leave()

    def wait_until_visible(self, timeout_s: float = 90.0) -> float:
        """Wait until a reader of committed records can read the outputs to their ends.

        Then no transaction of a killed worker is open. Returns the seconds that this took.

        """
        return until(lambda: not self._hidden(), lambda: f"hidden: {self._hidden()}", timeout_s)

    def _hidden(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return outputs that end earlier for a reader of committed records than in fact."""
        visible, real = (
            ends_of(self.cluster.bootstrap, (DECISIONS_TOPIC, DEAD_TOPIC), level)
            for level in ("read_committed", "read_uncommitted")
        )
        return {
            topic_partition: (visible[topic_partition], end)
            for topic_partition, end in real.items()
            if visible[topic_partition] < end
        }

    def said(self, last: int = 3000) -> str:
        """Return the end of each worker's output."""
        return "\n".join(
            f"--- {w.name}\n{w.log.read_text(errors='replace')[-last:]}"
            for w in self.workers
            if w.log.exists()
        )

    def kill(self) -> None:
        """Kill all workers that still run."""
        for worker in self.workers:
            if worker.running is not None:
                worker.kill()


@dataclass
class Found:
    """The records on the topics, and the expected outcome."""

    inputs: dict[tuple[str, int, int], Record]
    decisions: list[Record]
    dead: list[Record]
    facts: list[tuple[str, Any, int, int]]
    claims: dict[str, tuple[int, int]]
    refused: set[tuple[str, int, int]]


def find(fleet: Fleet) -> Found:
    """Return the records on the topics of a cluster."""
    bootstrap = fleet.cluster.bootstrap
    return find_by(fleet.session(), lambda topic: read_topic(bootstrap, topic, committed=True))


def find_by(session: Workspace, read: Callable[[str], Iterable[Record]]) -> Found:
    """Read the topics, and go through the journal with a dictionary of seen ids."""
    inputs = {(r.topic, r.partition, r.position): r for topic in DOMAIN.topics for r in read(topic)}
    wire = build_engine(session).decoder
    facts: list[tuple[str, Any, int, int]] = []
    claims: dict[str, tuple[int, int]] = {}
    refused: set[tuple[str, int, int]] = set()
    seen: dict[tuple[str, str], bytes | None] = {}
    planned = 0
    with open_transport(session) as transport:
        for plan in transport.plans():
            batch = in_plan_order(
                [
                    inputs[span.topic, span.partition, at]
                    for span in plan.ranges
                    for at in range(span.from_position, span.to_position)
                    if (span.topic, span.partition, at) in inputs
                ],
                DOMAIN.tie_order(transport.terms().edition),
            )
            planned += len(batch)
            for record, answer in zip(batch, wire.decode(batch), strict=True):
                topic_partition = record.topic, record.partition, record.position
                if answer is None:
                    continue
                if not isinstance(answer, Accepted):
                    refused.add(topic_partition)
                    continue
                known = record.topic, answer.event_id
                if known in seen:
                    if seen[known] != record.value:
                        refused.add(topic_partition)
                    continue
                seen[known] = record.value
                kind = KINDS[record.topic]
                facts.append((kind, answer.event, answer.event_time_ms, record.log_time_ms))
                if kind == "claim":
                    claims[answer.event_id] = record.partition, record.position
    assert planned == len(inputs), "every record is in exactly one plan"
    decisions, dead = list(read(DECISIONS_TOPIC)), list(read(DEAD_TOPIC))
    return Found(inputs, decisions, dead, facts, claims, refused)


class Asked(Protocol):
    """The part of a fleet that `check` needs."""

    def session(self) -> Workspace:
        """Return a workspace for reading the workers' results."""


def check(fleet: Asked, found: Found, *, sample: int = 300, once: bool = False) -> int:
    """Check everything; returns the number of repeated decisions.

    No decision is missing or in conflict, dead letters are exact, features are those of the oracle,
    chains hold, a replay is identical, and rows are stored once each.

    """
    bodies: dict[str, bytes] = {}
    features: dict[str, list[float | None]] = {}
    for record in found.decisions:
        body = record.value or b""
        said = json.loads(body)
        before = bodies.setdefault(said["decision_id"], body)
        assert before == body, f"conflicting decisions on {said['claim_id']}"
        features[said["claim_id"]] = said["features"]
        assert found.claims[said["claim_id"]] == (said["partition"], said["position"])
    assert features.keys() == found.claims.keys(), "decisions are missing"
    repeated = len(found.decisions) - len(bodies)
    assert not (once and repeated), f"{repeated} decisions came twice"
    check_dead(found, once=once)
    check_features(found, features, sample)
    session = fleet.session()
    from cli.commands.inspect.verify import run_chain, run_verify

    chained = run_chain(session)
    assert chained.broken == []
    proved = run_verify(session, quiet=True)
    assert (proved.differ, proved.decisions) == (0, len(bodies)), proved
    check_rows(session, found)
    return repeated


def check_dead(found: Found, *, once: bool = False) -> None:
    """Check that exactly the refused records are dead letters, with their bytes."""
    topic_partitions = []
    for record in found.dead:
        told = dict(record.headers)
        topic_partition = (told["x-dead-topic"].decode(), int(told["x-dead-partition"]),
                 int(told["x-dead-position"]))  # fmt: skip
        assert record.value == (found.inputs[topic_partition].value or b"")
        topic_partitions.append(topic_partition)
    assert set(topic_partitions) == found.refused
    assert not once or len(topic_partitions) == len(set(topic_partitions))


def check_features(found: Found, features: Mapping[str, Any], sample: int) -> None:
    """Check a sample of the vectors against the slowest version."""
    rng = np.random.default_rng(1)
    ids = sorted(found.claims)
    chosen = {ids[int(i)] for i in rng.integers(0, len(ids), sample)}
    lateness_ms = 30 * 86_400_000
    for claim_id, vector in sampled_vectors(DOMAIN, found.facts, lateness_ms, chosen).items():
        want = [None if value != value else value for value in vector]
        wrong = [
            (name, a, b)
            for name, a, b in zip(DOMAIN.feature_names, want, features[claim_id], strict=True)
            if a != b
        ]
        assert not wrong, f"{claim_id}: the oracle and the worker say {wrong}"


def check_rows(session: Workspace, found: Found) -> None:
    """Check that the offline store has every record and every decision once."""
    counted = {
        table: (session.offline.dataset(table).to_table(columns=["topic", "partition", "position"]))
        for table in ("events", "decisions")
    }
    for table, want in (("events", set(found.inputs)), ("decisions", claim_positions(found))):
        rows = [tuple(row.values()) for row in counted[table].to_pylist()]
        assert len(rows) == len(set(rows)), f"{len(rows) - len(set(rows))} rows of {table} twice"
        missing = sorted(want - set(rows))
        assert not missing, f"{table}: {len(missing)} rows are missing: {missing}"
        assert set(rows) == want, f"{table} has rows of nothing"


def claim_positions(found: Found) -> set[tuple[str, int, int]]:
    """Return the topic-partitions and positions of the accepted claims."""
    return {("claims.filed", *topic_partition) for topic_partition in found.claims.values()}


def chains(records: Iterable[Record]) -> Any:
    """Check the chains of decisions by partition."""
    by_partition: dict[int, list[Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    return check_chains(by_partition, may_repeat=True)
