"""Real workers over a real broker, killed again and again: no record is lost, no byte differs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace_examples.auto_claims import DOMAIN
from cli.commands.inspect.verify import run_chain, run_verify
from models.registry.adapters.folder import FolderRegistry
from tests.servers.topics import read_topic
from tests.worlds.kafka_fleet import Fleet, a_feed, check, feed, find, make_topics, until
from tests.worlds.models import a_model

PARTITIONS = 3


@pytest.fixture
def fleet(kafka_clusters, tmp_path: Path) -> Iterator[Fleet]:
    cluster = kafka_clusters()
    make_topics(cluster, PARTITIONS)
    made = Fleet(tmp_path, cluster)
    yield made
    made.kill()


@pytest.mark.long
def test_one_worker_from_start_to_end(fleet: Fleet) -> None:
    feed(fleet.cluster, a_feed(1500, PARTITIONS))
    worker = fleet.worker()
    worker.start()
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    assert check(fleet, find(fleet), once=True) == 0
    worker.start()
    time.sleep(4)
    assert worker.end() == 0, fleet.said()
    assert check(fleet, find(fleet), sample=10, once=True) == 0
    for each in ("took over partitions", "ready", "first plan written", "snapshot published"):
        assert f"INFO {each} " in worker.text, worker.text
    assert worker.text.count('INFO end reason="asked to stop"') == 2, worker.text


def promote(fleet: Fleet, version: int) -> None:
    """Publish a model in the registry that all workers share, and make it the champion."""
    registry = FolderRegistry(fleet.folder / "models", DOMAIN.name)
    draft, document = a_model(version)
    told = {"actor": "tests", "reason": "for the workers", "at_ms": 1_800_000_000_000}
    ref = registry.publish(draft, document, **told)
    registry.move_alias("champion", ref.version, **told)


def prove_beside(fleet: Fleet) -> int:
    """Prove what is decided while the workers go on; returns how many decisions were compared."""
    session = fleet.session()
    proved = run_verify(session, quiet=True)
    assert (proved.differ, proved.first, proved.problems) == (0, "", []), proved
    chained = run_chain(session)
    assert (chained.broken, chained.problems) == ([], []), chained
    return int(proved.decisions)


def test_two_workers_take_up_the_models_that_are_promoted(fleet: Fleet) -> None:
    rows = a_feed(2500, PARTITIONS)
    feeding = threading.Thread(target=feed, args=(fleet.cluster, rows, 250.0), daemon=True)
    promote(fleet, 1)
    for _ in range(2):
        fleet.worker().start()
    feeding.start()
    bootstrap = fleet.cluster.bootstrap  # promoted while they work, however long they took to start
    until(lambda: read_topic(bootstrap, DECISIONS_TOPIC, committed=True), fleet.said, 60)
    promote(fleet, 2)
    compared = prove_beside(fleet)
    feeding.join()
    fleet.wait_until_done()
    for worker in fleet.workers:
        assert worker.end() == 0, fleet.said()
    found = find(fleet)
    assert check(fleet, found, sample=100) == 0
    assert 0 < compared < len(found.decisions), "they were idle: nothing was tested"
    decisions = [msgspec.json.decode(record.value or b"") for record in found.decisions]
    assert {each["model"]["version"] for each in decisions} == {1, 2}
    assert all(each["score"] is not None for each in decisions)
    referred = [each for each in decisions if each["outcome"] == "refer"]
    assert len(referred) > 100
    for each in referred:
        shares = [reason["contribution"] for reason in each["reasons"]]
        told = sum(shares) + each["rest_margin"] + each["base_margin"]
        assert abs(told - each["margin"]) < 1e-4


@pytest.mark.long
@pytest.mark.parametrize(("kills", "records"), [(2, 4_000), (20, 50_000)])
def test_three_workers_killed_again_and_again(fleet: Fleet, kills: int, records: int) -> None:
    rng = np.random.default_rng(3)
    rows = a_feed(records, PARTITIONS)
    feeding = threading.Thread(target=feed, args=(fleet.cluster, rows, 1500.0), daemon=True)
    for _ in range(3):
        fleet.worker().start()
    feeding.start()
    for _ in range(kills):
        time.sleep(float(rng.uniform(1.0, 4.0)))
        victim = fleet.workers[int(rng.integers(3))]
        assert victim.kill() == -signal.SIGKILL, fleet.said()
        victim.start()
    feeding.join()
    fleet.wait_until_done(180)
    for worker in fleet.workers:
        assert worker.end() == 0, fleet.said()
    repeated = check(fleet, find(fleet))
    print(f"{len(rows)} records, {repeated} decisions repeated")
