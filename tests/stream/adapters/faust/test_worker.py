"""The engine under a real Faust worker on a real broker, killed again and again."""

from __future__ import annotations

import json
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

from tests.conftest import require_kafka
from tests.servers.raw_records import RawRecord, produce_raw
from tests.servers.secure import SASL_TLS, USERS, allow, secure_cluster
from tests.servers.topics import client, read_topic
from tests.worlds.kafka_fleet import (
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
from tests.worlds.worker_process import ROOT

pytest.importorskip("faust", reason="the extra faust is not installed")
PARTITIONS = 3


class FaustWorker(Worker):
    """One process of `faust worker`."""

    def wait_until_ready(self) -> None:
        """Wait until its consumer has its partitions."""
        until(lambda: b"Worker ready" in self.log.read_bytes()[self.logged_before :],
              lambda: self.text[-3000:], 60.0)  # fmt: skip

    def start(self, **orders: str) -> None:
        """Start the process; its output goes to `log`."""
        assert self.running is None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logged_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "cli.transports.faust:app", "worker",
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
    """Feed the first half in lz4, the other half in zstd, during the `with` block."""
    rows = a_feed(claims, PARTITIONS)
    half = len(rows) // 2
    for codec, part in (("lz4", rows[:half]), ("zstd", rows[half:])):
        with feeding(fleet.cluster, part, rate, compression=codec):
            yield


def kill_often(fleet: Fleet, worker: FaustWorker, kills: int, rng: np.random.Generator) -> None:
    for _ in range(kills):
        worker.wait_until_ready()
        time.sleep(float(rng.uniform(0.2, 2.0)))
        assert worker.kill() == -signal.SIGKILL, fleet.said()
        worker.start()


@pytest.mark.long
def test_killed_again_and_again(fleet: Fleet) -> None:
    rng = np.random.default_rng(4)
    worker = faust_worker(fleet, CLAIMTRACE_KAFKA__INSTANCE="faust-0")
    worker.start()
    for _ in in_both_codecs(fleet, 2_500, 800.0):
        kill_often(fleet, worker, 1, rng)
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    check(fleet, find(fleet), sample=100)


@pytest.mark.long
def test_killed_twenty_times_with_fifty_thousand_claims(fleet: Fleet) -> None:
    rng = np.random.default_rng(5)
    worker = faust_worker(fleet)
    worker.start()
    for _ in in_both_codecs(fleet, 50_000, 1200.0):
        kill_often(fleet, worker, 10, rng)
    fleet.wait_until_done(180)
    assert worker.end() == 0, fleet.said()
    print(f"{check(fleet, find(fleet))} decisions repeated")


@pytest.mark.long
def test_in_transactions_each_decision_is_seen_once(fleet: Fleet) -> None:
    worker = faust_worker(
        fleet, CLAIMTRACE_KAFKA__OUTPUT="exactly_once", CLAIMTRACE_KAFKA__INSTANCE="faust-0"
    )
    worker.start()
    with feeding(fleet.cluster, a_feed(1_500, PARTITIONS), 500.0):
        kill_often(fleet, worker, 1, np.random.default_rng(6))
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    assert check(fleet, find(fleet), sample=20, once=True) == 0


@pytest.mark.long
def test_an_orderly_end_in_the_middle_of_work_repeats_nothing(fleet: Fleet) -> None:
    worker = faust_worker(fleet)
    with feeding(fleet.cluster, a_feed(1_500, PARTITIONS), 500.0):
        worker.start()
        worker.wait_until_ready()
        time.sleep(1.0)
        assert worker.end() == 0, fleet.said()
        worker.start()
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    assert check(fleet, find(fleet), sample=20, once=True) == 0


@pytest.mark.long
def test_a_journal_changes_hands_between_plain_and_faust(fleet: Fleet) -> None:
    rows = a_feed(1_500, PARTITIONS)
    under_faust = faust_worker(fleet)
    for worker, part in zip(
        (fleet.worker(), under_faust, fleet.worker()),
        (rows[:500], rows[500:1_000], rows[1_000:]),
        strict=True,
    ):
        feed(fleet.cluster, part)
        worker.start()
        fleet.wait_until_done()
        assert worker.end() == 0, fleet.said()
    assert check(fleet, find(fleet), sample=20, once=True) == 0


def test_a_record_that_its_client_cannot_read_is_decided_on(fleet: Fleet) -> None:
    """A name of a header isn't UTF-8: in the middle of a batch, and at the end of the partition."""
    rows = a_feed(300, PARTITIONS)
    poison = RawRecord(b"k", b'{"claim_id":"c-poison","policy_id":"p-1"}', [(b"\xff", b"1")])
    later = poison._replace(value=b'{"claim_id":"c-last","policy_id":"p-1"}')
    tame = poison._replace(value=b'{"claim_id":"c-tame","policy_id":"p-1"}', headers=())
    bootstrap = fleet.cluster.bootstrap
    worker = faust_worker(fleet)
    worker.start()
    feed(fleet.cluster, rows)
    produce_raw(bootstrap, "claims.filed", 0, [tame, poison])
    produce_raw(bootstrap, "claims.filed", 0, [later])
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    found = find(fleet)
    check(fleet, found, sample=20, once=True)
    said = [json.loads(r.value)["claim_id"] for r in read_topic(bootstrap, "claims.decisions")]
    assert {"c-tame", "c-poison", "c-last"} <= set(said)


@pytest.mark.long
def test_a_second_worker_is_refused_and_the_first_goes_on(fleet: Fleet) -> None:
    rows = a_feed(1_000, PARTITIONS)
    first, second = faust_worker(fleet), faust_worker(fleet)
    first.start()
    first.wait_until_ready()
    feed(fleet.cluster, rows[:500])
    second.start()
    assert second.wait(60) == 70
    assert "another worker is in the group" in second.text
    feed(fleet.cluster, rows[500:])
    fleet.wait_until_done()
    assert first.end() == 0, fleet.said()
    assert check(fleet, find(fleet), sample=20, once=True) == 0


@pytest.mark.long
def test_of_two_that_start_at_once_one_stays(fleet: Fleet) -> None:
    first, second = faust_worker(fleet), faust_worker(fleet)
    first.start()
    second.start()
    with feeding(fleet.cluster, a_feed(2_000, PARTITIONS), 300.0):
        until(lambda: not (first.alive and second.alive), fleet.said, 60.0)
    gone, stays = (first, second) if second.alive else (second, first)
    assert gone.wait() == 70
    assert "another" in gone.text
    fleet.wait_until_done()
    assert stays.end() == 0, fleet.said()
    check(fleet, find(fleet), sample=20)


@pytest.mark.long
def test_a_plain_worker_that_joins_ends_it(fleet: Fleet) -> None:
    rows = a_feed(2_000, PARTITIONS)
    under_faust, plain = faust_worker(fleet), fleet.worker()
    under_faust.start()
    under_faust.wait_until_ready()
    with feeding(fleet.cluster, rows, 300.0):
        time.sleep(1.0)
        plain.start()
        assert under_faust.wait(60) == 70
    assert "stop the other worker, or this one" in under_faust.text
    fleet.wait_until_done()
    assert plain.end() == 0, fleet.said()
    check(fleet, find(fleet), sample=20)


@pytest.mark.long
def test_trouble_that_lasts_ends_it_and_nothing_is_lost(fleet: Fleet) -> None:
    # rows are due, and a commit with them, some seconds after the brokers stop to answer
    worker = faust_worker(fleet, FAUST_GIVE_UP_AFTER="3s", CLAIMTRACE_STREAM__OFFLINE_EVERY="8s")
    worker.start()
    worker.wait_until_ready()
    rows = a_feed(1_000, PARTITIONS)
    feed(fleet.cluster, rows[:600])
    until(lambda: read_topic(fleet.cluster.bootstrap, "claims.decisions"), fleet.said)
    fleet.cluster.pause()
    try:
        assert worker.wait(60) == 70
    finally:
        fleet.cluster.resume()
    assert "no step forward for 3 s" in worker.text
    feed(fleet.cluster, rows[600:])
    worker.start()
    fleet.wait_until_done()
    assert worker.end() == 0, fleet.said()
    check(fleet, find(fleet), sample=20)


@pytest.mark.long
def test_only_committed_records_are_read(fleet: Fleet) -> None:
    rows = a_feed(400, PARTITIONS, poison=0.0)
    producer = Producer(client(fleet.cluster.bootstrap, transactional_id="inputs"))
    producer.init_transactions(30)
    for at in range(0, len(rows), 40):
        is_kept = at % 120 != 0
        producer.begin_transaction()
        for row in rows[at : at + 40]:
            value = row.value if is_kept else b"never was"
            producer.produce(row.topic, value, row.key, row.partition, timestamp=row.log_time_ms)
        producer.commit_transaction() if is_kept else producer.abort_transaction()
    claims = sum(row.topic == "claims.filed" for at, row in enumerate(rows) if at // 40 % 3)
    worker = faust_worker(fleet)
    worker.start()
    bootstrap = fleet.cluster.bootstrap
    until(lambda: len(read_topic(bootstrap, "claims.decisions")) >= claims * 0.9, fleet.said, 60.0)
    time.sleep(2.0)
    assert worker.end() == 0, fleet.said()
    found = find(fleet)
    assert found.dead == []
    check(fleet, found, sample=20, once=True)


@pytest.mark.long
def test_it_logs_in_over_tls(tmp_path: Path) -> None:
    require_kafka()
    with secure_cluster(tmp_path / "kafka") as cluster:
        make_topics(cluster, PARTITIONS)
        for kind, name in (
            ("topic", "claims.*"),
            ("topic", "policies.*"),
            ("group", "claimtrace*"),
        ):
            allow(cluster, "alice", kind, name, "read", "write", "describe")
        fleet = Fleet(tmp_path, cluster)
        worker = faust_worker(
            fleet,
            CLAIMTRACE_SOURCE=f"kafka://{cluster.addresses(SASL_TLS)}",
            CLAIMTRACE_SECURITY__PROTOCOL="sasl_ssl",
            CLAIMTRACE_SECURITY__MECHANISM="SCRAM-SHA-256",
            CLAIMTRACE_SECURITY__USERNAME="alice",
            CLAIMTRACE_SECURITY__PASSWORD=USERS["alice"],
            CLAIMTRACE_SECURITY__CA_FILE=str(cluster.folder / "certificates" / "authority.pem"),
        )
        try:
            feed(cluster, a_feed(300, PARTITIONS))
            worker.start()
            fleet.wait_until_done()
            assert worker.end() == 0, fleet.said()
            assert USERS["alice"] not in worker.log.read_text()
            check(fleet, find(fleet), sample=5, once=True)
        finally:
            fleet.kill()
