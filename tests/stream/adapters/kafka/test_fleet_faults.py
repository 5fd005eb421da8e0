"""Real workers during faults of a real broker: nothing is lost or differs, each fault is reported.

`FLEET_FULL=1` runs the long forms: 30 s without a broker, five leaders killed, more of everything.

"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from claimtrace.adapters.kafka.topics_admin import KafkaTopics
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC, JOURNAL_TOPIC
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import Settings
from tests.conftest import require_kafka
from tests.servers.kafka import Cluster
from tests.servers.topics import create_topics, delete_before, read_topic
from tests.worlds.kafka_fleet import (
    TOPICS,
    Fleet,
    Worker,
    a_feed,
    check,
    feed,
    feeding,
    find,
    make_topics,
    until,
)

PARTITIONS = 3
GROUP_PARTITIONS = 3 * PARTITIONS + 1
FULL = bool(os.environ.get("FLEET_FULL"))
TIMES = 4 if FULL else 1
"""Sizes and counts of kills are multiplied by this."""

_groups = count()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker for all tests here, which stop and restart it in turn."""
    require_kafka()
    with Cluster(tmp_path_factory.mktemp("broker")) as cluster:
        yield cluster


@pytest.fixture
def fleet(broker: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without workers; fresh topics and a group of its own."""
    broker.start()
    make_anew(broker)
    made = Fleet(tmp_path, broker, {"CLAIMTRACE_KAFKA__GROUP": f"group-{next(_groups)}"})
    yield made
    made.kill()


def make_anew(cluster: Cluster, *topics: str) -> None:
    """Delete the domain's topics and create them again."""
    admin = cluster.admin()
    there = admin.list_topics(timeout=30).topics
    gone = [topic for topic in topics or TOPICS if topic in there]
    for deleted in admin.delete_topics(gone).values() if gone else ():
        deleted.result(30)
    if not topics:
        make_topics(cluster, PARTITIONS)
        return
    one = {topic: 1 if topic == JOURNAL_TOPIC else PARTITIONS for topic in topics}
    create_topics(cluster.bootstrap, one)


@cache
def some_rows(claims: int) -> tuple[Outgoing, ...]:
    """Return rows of about `claims` claims, with duplicates and bad bytes; always the same ones."""
    return tuple(a_feed(claims, PARTITIONS))


def halves(claims: int) -> tuple[list[Outgoing], list[Outgoing]]:
    """Split the rows in two parts of about the same size."""
    rows = some_rows(claims)
    return list(rows[: len(rows) // 2]), list(rows[len(rows) // 2 :])


def decisions(fleet: Fleet) -> list[Record]:
    """Return the decisions that a reader of committed records sees now."""
    return read_topic(fleet.cluster.bootstrap, DECISIONS_TOPIC, committed=True)


def end_all(fleet: Fleet) -> None:
    """Stop all workers in an orderly way."""
    for worker in fleet.workers:
        if worker.running is not None:
            assert worker.end() == 0, fleet.said()


def owns(worker: Worker, topic_partitions: int) -> Callable[[], bool]:
    """Return a condition: the worker owns at least so many topic-partitions."""
    return lambda: worker.metric("owned_partitions") >= topic_partitions


def decided(worker: Worker, claims: int) -> Callable[[], bool]:
    """Return a condition: the worker has decided on so many claims since its start."""
    return lambda: worker.metric("decisions_total") >= claims


def losses(worker: Worker) -> float:
    """Return how often the worker lost partitions, by an event or by a refused commit."""
    refused_commits = worker.metric("commit_failures_total")
    return refused_commits + worker.metric("rebalances_total", kind="lost")


def refused(worker: Worker, words: str, *, code: int = 70, timeout_s: float = 30.0) -> float:
    """Check that the worker ends by itself, with its reason; returns the seconds it took."""
    from_s = time.monotonic()
    assert worker.wait(timeout_s) == code, worker.text[-3000:]
    assert words in worker.text, worker.text[-3000:]
    return time.monotonic() - from_s


def told(**figures: float | str) -> None:
    """Print the measurements, for runs with `-s` or `-rP`."""
    print(", ".join(f"{name} {value}" for name, value in figures.items()))


# -- kills, signals and zombies -------------------------------------------------------------------


def test_exactly_once_shows_each_decision_once_in_spite_of_kills(fleet: Fleet) -> None:
    rng = np.random.default_rng(8)
    fleet.settings["CLAIMTRACE_KAFKA__OUTPUT"] = "exactly_once"
    rows = some_rows(1500 * TIMES)
    for _ in range(2):
        fleet.worker(measured=True).start()
    with feeding(fleet.cluster, rows, 250):
        for _ in range(2 * TIMES):
            victim = fleet.workers[int(rng.integers(2))]
            took_s = until(owns(victim, 1), fleet.said, 90)
            told(owns_after_s=round(took_s, 1), decided=victim.metric("decisions_total"))
            time.sleep(float(rng.uniform(0.5, 1.5)))
            assert victim.kill() == -signal.SIGKILL, fleet.said()
            victim.start()
    fleet.wait_until_done(180)
    end_all(fleet)
    told(visible_after_s=round(fleet.wait_until_visible(), 1))
    assert check(fleet, find(fleet), sample=100, once=True) == 0


def test_sigterm_in_the_middle_of_work_repeats_nothing(fleet: Fleet) -> None:
    worker = fleet.worker(measured=True)
    with feeding(fleet.cluster, some_rows(1500 * TIMES), 400):
        for _ in range(2 * TIMES):
            worker.start()
            until(decided(worker, 100), fleet.said)
            from_s = time.monotonic()
            assert worker.end() == 0, fleet.said()
            told(ended_in_s=round(time.monotonic() - from_s, 2))
    worker.start()
    fleet.wait_until_done()
    end_all(fleet)
    assert check(fleet, find(fleet), sample=100, once=True) == 0


@pytest.mark.long
@pytest.mark.parametrize("output", ["at_least_once", "exactly_once"])
def test_a_worker_that_was_stopped_and_goes_on_does_no_harm(fleet: Fleet, output: str) -> None:
    once = output == "exactly_once"
    fleet.settings["CLAIMTRACE_KAFKA__OUTPUT"] = output
    zombie, other = fleet.worker(measured=True), fleet.worker(measured=True)
    for worker in fleet.workers:
        worker.start()
    # so many that there are some left when the zombie is back, on a busy machine too
    with feeding(fleet.cluster, some_rows(4000 * TIMES), 250):
        for worker in fleet.workers:
            until(owns(worker, 3), fleet.said)
            until(decided(worker, 50), fleet.said)
        zombie.send(signal.SIGSTOP)
        took_s = until(owns(other, GROUP_PARTITIONS), fleet.said)
        if once:  # its transaction has been aborted when it goes on
            time.sleep(4)
        zombie.send(signal.SIGCONT)
        before = zombie.metric("decisions_total")
        noticed_s = until(lambda: losses(zombie) >= 1, fleet.said)
        back_s = until(decided(zombie, int(before) + 50), fleet.said)
    fleet.wait_until_done()
    end_all(fleet)
    fleet.wait_until_visible()
    repeated = check(fleet, find(fleet), sample=100, once=once)
    told(taken_over_s=round(took_s, 1), noticed_s=round(noticed_s, 1), back_s=round(back_s, 1),
         repeated=repeated)  # fmt: skip


@pytest.mark.parametrize(
    "protocol",
    [pytest.param(p, marks=pytest.mark.long) for p in ("classic", "static", "consumer")],
)
def test_three_workers_restarted_one_by_one(fleet: Fleet, protocol: str) -> None:
    if protocol == "consumer":
        fleet.settings["CLAIMTRACE_KAFKA__GROUP_PROTOCOL"] = "consumer"
    orders = [
        {"CLAIMTRACE_KAFKA__INSTANCE": f"instance-{n}"} if protocol == "static" else {}
        for n in range(3)
    ]
    for own in orders:
        fleet.worker(measured=True).start(**own)
    with feeding(fleet.cluster, some_rows(2500 * TIMES), 300):
        for worker in fleet.workers:
            until(owns(worker, 1), fleet.said)
        for _ in range(TIMES):
            for worker, own in zip(fleet.workers, orders, strict=True):
                assert worker.end() == 0, fleet.said()
                worker.start(**own)
                took_s = until(owns(worker, 1), fleet.said)
                told(owns_after_s=round(took_s, 1))
    fleet.wait_until_done()
    end_all(fleet)
    repeated = check(fleet, find(fleet), sample=100)
    told(repeated=repeated)
    assert repeated == 0


# -- brokers --------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_broker_that_is_away_is_waited_for(fleet: Fleet) -> None:
    down_s = 30.0 if FULL else 6.0
    first, second = halves(3000)
    # The lag is reported once a second: in batches of 10 it takes longer than that to catch up.
    fleet.settings["CLAIMTRACE_STREAM__BATCH_RECORDS"] = "10"
    worker = fleet.worker(measured=True)
    worker.start()
    feed(fleet.cluster, first)
    fleet.wait_until_done()
    until(lambda: worker.ask("/ready")[0] == 200, fleet.said)
    fleet.cluster.kill()
    noticed_s = until(lambda: worker.ask("/ready")[0] == 503, fleet.said, 15)
    assert worker.ask("/ready")[1].startswith("waiting for: ")
    assert worker.ask("/live")[0] == 200
    time.sleep(max(0.0, down_s - noticed_s))
    assert worker.alive, fleet.said()
    assert worker.ask("/ready")[0] == 503
    fleet.cluster.start()
    worker.send(signal.SIGSTOP)  # long enough for the producers to get ahead of it
    feed(fleet.cluster, second)
    worker.send(signal.SIGCONT)
    until(lambda: worker.metric("lag_records") > 0, fleet.said)
    resumed_s = until(lambda: worker.ask("/ready")[0] == 200, fleet.said)
    fleet.wait_until_done()
    until(lambda: worker.metric("lag_records") == 0, fleet.said)
    end_all(fleet)
    repeated = check(fleet, find(fleet), sample=100)
    told(noticed_s=round(noticed_s, 1), resumed_s=round(resumed_s, 1), repeated=repeated)


@pytest.mark.long
def test_a_broker_that_crashes_under_load_loses_nothing(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.worker(measured=True).start()
    with feeding(fleet.cluster, some_rows(1500 * TIMES), 300):
        until(owns(fleet.workers[0], 1), fleet.said)
        until(owns(fleet.workers[1], 1), fleet.said)
        for _ in range(TIMES):
            time.sleep(1)
            fleet.cluster.kill()
            time.sleep(1)
            fleet.cluster.start()
    fleet.wait_until_done()
    end_all(fleet)
    told(repeated=check(fleet, find(fleet), sample=100))


@pytest.mark.long
def test_the_leader_of_a_busy_partition_is_killed_again_and_again(
    kafka_clusters: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = kafka_clusters(nodes=3)
    make_topics(cluster, PARTITIONS)
    fleet = Fleet(tmp_path, cluster)
    worker = fleet.worker(measured=True)
    seen: dict[tuple[int, int], bytes | None] = {}
    try:
        worker.start()
        pid = worker.running.pid if worker.running else 0
        with feeding(cluster, some_rows(4000 * TIMES), 250):
            until(decided(worker, 100), fleet.said)
            for _ in range(5 if FULL else 2):
                leader = cluster.leader_of(DECISIONS_TOPIC, 0)
                leader.kill()
                time.sleep(2)
                seen |= {(r.partition, r.position): r.value for r in decisions(fleet)}
                leader.start()
                time.sleep(1)
        fleet.wait_until_done(180)
        assert worker.running is not None
        assert (worker.running.pid, worker.running.poll()) == (pid, None), fleet.said()
        end_all(fleet)
        found = find(fleet)
        now = {(r.partition, r.position): r.value for r in found.decisions}
        assert seen.items() <= now.items(), "a decision that a reader saw is gone"
        told(seen_before=len(seen), repeated=check(fleet, found, sample=100))
    finally:
        fleet.kill()


# -- starts ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_snapshot_and_journal_bring_a_worker_back(fleet: Fleet) -> None:
    first, second = halves(3000)
    away, here = fleet.worker(), fleet.worker(measured=True)
    feed(fleet.cluster, first)
    away.start()
    fleet.wait_until_done()
    assert away.end() == 0, fleet.said()
    here.start()
    feed(fleet.cluster, second)
    fleet.wait_until_done()
    away.start()
    time.sleep(4)
    end_all(fleet)
    assert f"ran {len(first):,} records again" in here.text
    assert f"ran {len(second):,} records again" in away.text
    assert check(fleet, find(fleet), sample=100) == 0


def test_one_process_a_folder(fleet: Fleet) -> None:
    worker = fleet.worker(measured=True)
    worker.start()
    until(lambda: worker.ask("/ready")[0] == 200, fleet.said)
    second = Worker("second", worker.folder, worker.environment)
    second.start()
    told(refused_in_s=round(refused(second, "the folder is in use by process"), 1))
    end_all(fleet)


# -- topics that change ---------------------------------------------------------------------------


def test_records_that_retention_took_stop_it_unless_the_settings_say_go_on(fleet: Fleet) -> None:
    first, second = halves(1500)
    worker = fleet.worker(measured=True)
    feed(fleet.cluster, first)
    worker.start()
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    ends = {r.partition: r.position + 1 for r in read_claims(fleet)}
    feed(fleet.cluster, second)
    lost = 20
    delete_before(
        fleet.cluster.bootstrap, {("claims.filed", n): end + lost for n, end in ends.items()}
    )
    worker.start()
    took_s = refused(worker, f"retention took {lost} records before they were read")
    worker.start(CLAIMTRACE_KAFKA__ON_LOST_RECORDS="earliest")
    fleet.wait_until_done()
    assert worker.metric("lost_records_total") == lost * PARTITIONS
    end_all(fleet)
    left = {(r.partition, r.position) for r in read_claims(fleet)}
    decided = {claim_position(r) for r in decisions(fleet)}
    refusals = {(int(dict(r.headers)["x-dead-partition"]), int(dict(r.headers)["x-dead-position"]))
                for r in read_topic(fleet.cluster.bootstrap, DEAD_TOPIC)
                if dict(r.headers)["x-dead-topic"] == b"claims.filed"}  # fmt: skip
    told(refused_in_s=round(took_s, 1), left=len(left), without=len(left - decided - refusals))
    assert len(left - decided - refusals) < len(left) / 10, "only doubles have no answer"


def read_claims(fleet: Fleet) -> list[Record]:
    """Return the claims that are on the log."""
    return read_topic(fleet.cluster.bootstrap, "claims.filed")


def claim_position(decision: Record) -> tuple[int, int]:
    """Return the topic-partition and position of a decision's claim."""
    said = json.loads(decision.value or b"")
    return said["partition"], said["position"]


@pytest.mark.parametrize("size", ["longer", pytest.param("shorter", marks=pytest.mark.long)])
def test_topics_made_anew_are_refused(fleet: Fleet, size: str) -> None:
    first, second = halves(1500)
    worker = fleet.worker(measured=True)
    feed(fleet.cluster, first)
    worker.start()
    fleet.wait_until_done()
    before = len(decisions(fleet))
    make_anew(fleet.cluster, "claims.filed")
    rows = second if size == "shorter" else [*first, *second]
    feed(fleet.cluster, [row for row in rows if row.topic == "claims.filed"])
    while_running_s = refused(worker, "made anew", timeout_s=60)
    if size == "shorter":  # where there is a record at its position, it learns of it seconds later
        assert len(decisions(fleet)) == before
    worker.start()
    at_start_s = refused(worker, "an input topic was made anew since the journal was begun")
    told(while_running_s=round(while_running_s, 1), at_start_s=round(at_start_s, 1))


def test_a_journal_that_is_gone_is_refused(fleet: Fleet) -> None:
    worker = fleet.worker()
    feed(fleet.cluster, halves(1500)[0])
    worker.start()
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    delete_before(fleet.cluster.bootstrap, {(JOURNAL_TOPIC, 0): 2})
    worker.start()
    refused(worker, "the journal has no record at 0")
    make_anew(fleet.cluster, JOURNAL_TOPIC)
    worker.start()
    refused(worker, "the journal is empty, but the group")
    assert fleet.settings["CLAIMTRACE_KAFKA__GROUP"] in worker.text


@pytest.mark.long
def test_more_partitions_while_it_runs(fleet: Fleet) -> None:
    first, second = halves(1500)
    worker = fleet.worker(measured=True)
    worker.start()
    feed(fleet.cluster, first)
    fleet.wait_until_done()
    KafkaTopics(Settings(source=f"kafka://{fleet.cluster.bootstrap}").kafka_connection).grow(
        dict.fromkeys((DECISIONS_TOPIC, DEAD_TOPIC, "claims.filed"), PARTITIONS + 1)
    )
    moved = [row._replace(partition=PARTITIONS) if n % 3 else row
             for n, row in enumerate(second) if row.topic == "claims.filed"]  # fmt: skip
    feed(fleet.cluster, moved)
    took_s = until(owns(worker, GROUP_PARTITIONS + 1), fleet.said, 90)
    fleet.wait_until_done()
    end_all(fleet)
    repeated = check(fleet, find(fleet), sample=100)
    told(taken_s=round(took_s, 1), repeated=repeated)
