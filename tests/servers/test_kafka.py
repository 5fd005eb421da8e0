"""The real broker: it answers, fails on request, keeps its records, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.servers.kafka import Cluster
from tests.servers.topics import client, create_topics, delete_before, read_topic, values

ROOT = Path(__file__).resolve().parents[2]


def produce(bootstrap: str, topic: str, texts: list[bytes], key: bytes | None = None) -> None:
    producer = Producer(client(bootstrap, enable_idempotence=True))
    for text in texts:
        producer.produce(topic, text, key, partition=0, headers=[("h", b"1")])
    assert producer.flush(60) == 0


def test_topics_are_made_and_read_back(kafka: Cluster) -> None:
    create_topics(kafka.bootstrap, {"servers.read": 3})
    produce(kafka.bootstrap, "servers.read", [b"a", b"b"])
    first, second = read_topic(kafka.bootstrap, "servers.read")
    assert (first.value, first.partition, first.position, first.key) == (b"a", 0, 0, None)
    assert second.headers == (("h", b"1"),)
    assert second.log_time_ms >= first.log_time_ms > 1_700_000_000_000


def test_read_committed_hides_what_a_transaction_aborted_or_left_open(kafka: Cluster) -> None:
    create_topics(kafka.bootstrap, {"servers.transactions": 1})
    producer = Producer(client(kafka.bootstrap, transactional_id="servers"))
    producer.init_transactions(30)
    for text, end in (
        (b"kept", producer.commit_transaction),
        (b"aborted", producer.abort_transaction),
        (b"open", producer.flush),
    ):
        producer.begin_transaction()
        producer.produce("servers.transactions", text)
        producer.flush(30)
        end(30)
    assert values(read_topic(kafka.bootstrap, "servers.transactions")) == [b"kept"]
    seen = values(read_topic(kafka.bootstrap, "servers.transactions", committed=False))
    assert seen == [b"kept", b"aborted", b"open"]
    producer.abort_transaction(30)


def test_records_can_be_taken_away(kafka: Cluster) -> None:
    create_topics(kafka.bootstrap, {"servers.deleted": 1})
    produce(kafka.bootstrap, "servers.deleted", [b"0", b"1", b"2"])
    delete_before(kafka.bootstrap, {("servers.deleted", 0): 2})
    assert [r.position for r in read_topic(kafka.bootstrap, "servers.deleted")] == [2]


def test_nothing_acknowledged_is_lost_by_a_kill(kafka_clusters: Callable[..., Cluster]) -> None:
    cluster = kafka_clusters()
    create_topics(cluster.bootstrap, {"t": 1})
    produce(cluster.bootstrap, "t", [b"before"])
    cluster.kill()
    assert not cluster.brokers[0].alive
    cluster.start()
    produce(cluster.bootstrap, "t", [b"after"])
    assert values(read_topic(cluster.bootstrap, "t")) == [b"before", b"after"]

    admin = cluster.admin()
    cluster.pause()
    with pytest.raises(Exception, match=r"_TRANSPORT|_TIMED_OUT"):
        admin.list_topics(timeout=0.5)
    cluster.resume()
    assert "t" in admin.list_topics(timeout=30).topics


@pytest.mark.long
@pytest.mark.slow
def test_a_leader_can_be_lost(kafka_clusters: Callable[..., Cluster]) -> None:
    cluster = kafka_clusters(nodes=3)
    create_topics(cluster.bootstrap, {"t": 2})
    produce(cluster.bootstrap, "t", [b"one"])
    leader = cluster.leader_of("t")
    leader.kill()
    produce(cluster.bootstrap, "t", [b"two"])
    assert cluster.leader_of("t") is not leader
    leader.start()
    assert values(read_topic(cluster.bootstrap, "t")) == [b"one", b"two"]


def test_retention_and_compaction_bite_when_told_to(kafka: Cluster) -> None:
    short = {"retention.ms": "500", "segment.ms": "200", "file.delete.delay.ms": "100"}
    create_topics(kafka.bootstrap, {"servers.short": 1}, config=short)
    compact = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0"}
    create_topics(kafka.bootstrap, {"servers.compact": 1}, config=compact)
    produce(kafka.bootstrap, "servers.short", [b"old"])
    produce(kafka.bootstrap, "servers.compact", [b"a", b"b"], key=b"k")
    time.sleep(0.5)
    produce(kafka.bootstrap, "servers.compact", [b"last"], key=b"k")
    wanted: list[list[bytes | None]] = [[], [b"b", b"last"]]  # the active segment isn't compacted
    for _ in range(100):
        there = [values(read_topic(kafka.bootstrap, f"servers.{t}")) for t in ("short", "compact")]
        if there == wanted:
            return
        time.sleep(0.2)
    pytest.fail(f"they have {there}")


def test_a_broker_dies_with_its_parent(tmp_path: Path, kafka: Cluster) -> None:
    """A node ends with its parent; the fixture `kafka` skips the test where Kafka is missing."""
    program = f"""
import threading, time
from pathlib import Path
from tests.servers.kafka import Cluster
cluster = Cluster(Path({str(tmp_path)!r}))
starter = threading.Thread(target=lambda: cluster.brokers[0].start(wait=False))
starter.start(); starter.join()
print(cluster.brokers[0].pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not runs(pid):
            return
        time.sleep(0.1)
    pytest.fail("the broker outlived its parent")


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
