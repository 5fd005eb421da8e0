"""Several real workers over a real broker, killed again and again: nothing is lost, nothing differs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.oracles.fleet import Fleet, a_feed, check, feed, find, make_topics

PARTITIONS = 3


@pytest.fixture
def fleet(kafka_clusters, tmp_path: Path) -> Iterator[Fleet]:
    cluster = kafka_clusters()
    make_topics(cluster, PARTITIONS)
    made = Fleet(tmp_path, cluster)
    yield made
    made.kill()


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


@pytest.mark.slow
def test_three_workers_killed_twenty_times(fleet: Fleet) -> None:
    rng = np.random.default_rng(3)
    rows = a_feed(50_000, PARTITIONS)
    feeding = threading.Thread(target=feed, args=(fleet.cluster, rows, 1500.0), daemon=True)
    for _ in range(3):
        fleet.worker().start()
    feeding.start()
    for _ in range(20):
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
