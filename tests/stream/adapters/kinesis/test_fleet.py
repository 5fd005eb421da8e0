"""Real workers on Kinesis, killed again and again while shards split and merge: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.kinesis import KinesisLocal
from tests.worlds.kafka_fleet import a_feed, check, find_by
from tests.worlds.kinesis_fleet import SHARDS, KinesisFleet

CLAIMS = "claims.filed"


@pytest.fixture(params=["dynamodb", pytest.param("file", marks=pytest.mark.long)])
def fleet(
    request: pytest.FixtureRequest,
    kinesis: KinesisLocal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[KinesisFleet]:
    """Workers that share a table."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")  # the workers' are in their environment
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    dynamodb = request.getfixturevalue("dynamodb") if request.param == "dynamodb" else None
    made = KinesisFleet(tmp_path, kinesis, dynamodb)
    yield made
    made.kill()


@pytest.mark.slow
def test_two_workers_killed_and_paused_while_shards_split_and_merge(fleet: KinesisFleet) -> None:
    """B1, B2, B3, B11, B13: ten kills; one worker is stopped beyond its lease, and resumed."""
    kills = 10 if os.environ.get("FLEET_FULL") else 3
    rows = a_feed(220 * (kills + 2), SHARDS)
    rng = random.Random(3)
    for _ in range(2):
        fleet.worker().start()
    feeding = threading.Thread(target=fleet.feed, args=(rows, 100.0), daemon=True)
    feeding.start()
    time.sleep(6)
    for number in range(kills):
        worker = rng.choice(fleet.workers)
        worker.kill()
        if number == 0:
            fleet.split(CLAIMS, 1)  # makes 3 and 4
        elif number == 1:
            fleet.split(CLAIMS, 4)  # makes 5 and 6
        elif number == 2:
            fleet.merge(CLAIMS, 3, 5)  # makes 7
        time.sleep(0.5)
        worker.start()
        time.sleep(2.5)
    sleeper = rng.choice(fleet.workers)
    sleeper.send(signal.SIGSTOP)
    time.sleep(4)
    sleeper.send(signal.SIGCONT)
    feeding.join(120)
    assert not feeding.is_alive()
    fleet.wait_until_planned()
    time.sleep(3)  # both go on to the journal's end
    for worker in fleet.workers:
        assert worker.end() == 0, fleet.said()
    found = find_by(fleet.session(), fleet.read)
    assert len(found.inputs) == len(rows)
    assert {
        topic_partition[1] for topic_partition in found.inputs if topic_partition[0] == CLAIMS
    } >= {0, 1, 2, 6, 7}
    check(fleet, found, sample=60)
    final = {lease.topic_partition for lease in fleet.leases() if lease.is_final}
    assert final == {(CLAIMS, 1), (CLAIMS, 3), (CLAIMS, 4), (CLAIMS, 5)}, "done with"
