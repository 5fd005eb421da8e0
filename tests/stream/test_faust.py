"""The engine under a real Faust worker on a real broker, killed again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from tests.oracles.fleet import Fleet, Worker, a_feed, check, feed, feeding, find, make_topics, until
from tests.oracles.workers import ROOT
from tests.servers.topics import client, read_topic

pytest.importorskip("faust", reason="the extra faust is not installed")
PARTITIONS = 3


class FaustWorker(Worker):
    """The same worker under `faust worker`."""

    def start(self, **orders: str) -> None:
        """Start it; what it says goes to `log`."""
        assert self.running is None
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "stream.adapters.faust:app", "worker",
                 "-l", "info", "--without-web"],
                env={**os.environ, **self.environment, **orders,
                     "CLAIMTRACE_FOLDER": str(self.folder), **self._listening()},
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip


def faust_worker(fleet: Fleet, *, measured: bool = False, **settings: str) -> FaustWorker:
    plain = fleet.worker(measured=measured)
    made = FaustWorker(plain.name, plain.folder, {**plain.environment, **settings}, port=plain.port)
    fleet.workers[-1] = made
    return made


@pytest.fixture
def fleet(kafka_clusters, tmp_path: Path) -> Iterator[Fleet]:
    cluster = kafka_clusters()
    make_topics(cluster, PARTITIONS)
    made = Fleet(tmp_path, cluster)
    yield made
    made.kill()


def in_both_codecs(fleet: Fleet, claims: int, rate: float) -> Iterator[None]:
    """Feed the first half in lz4, the other in zstd; yields while it goes on."""
    rows = a_feed(claims, PARTITIONS)
    half = len(rows) // 2
    for codec, part in (("lz4", rows[:half]), ("zstd", rows[half:])):
        with feeding(fleet.cluster, part, rate, compression=codec):
            yield


def kill_often(fleet: Fleet, worker: Worker, kills: int, rng: np.random.Generator) -> None:
    for _ in range(kills):
        before = worker.text.count("Worker ready")
        until(lambda: worker.text.count("Worker ready") > before, fleet.said)  # noqa: B023
        time.sleep(float(rng.uniform(0.2, 2.0)))
        assert worker.kill() == -signal.SIGKILL, fleet.said()
        worker.start()


def test_killed_again_and_again(fleet: Fleet) -> None:
    rng = np.random.default_rng(4)
    worker = faust_worker(fleet)
    worker.start()
    for _ in in_both_codecs(fleet, 5_000, 400.0):
        kill_often(fleet, worker, 2, rng)
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    repeated = check(fleet, find(fleet))
    print(f"{repeated} decisions repeated")
