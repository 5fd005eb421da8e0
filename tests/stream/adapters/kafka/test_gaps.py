"""Positions without records, and groups that other clients use: on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from claimtrace.encoding.encoder import encode
from tests.servers.topics import client, create_topics, read_topic
from tests.worlds.random_events import a_stream
from tests.worlds.workers_in_process import PARTITIONS, TOPICS, Bench, bench_of, until


@pytest.fixture
def bench(kafka_clusters: Any) -> Iterator[Bench]:
    cluster = kafka_clusters()
    create_topics(cluster.bootstrap, TOPICS)
    with bench_of(cluster.bootstrap) as made:
        yield made


def put_in_transactions(bench: Bench) -> None:
    """Put committed and aborted records in turns; the last position of a partition is a marker."""
    sure = {"enable_idempotence": True, "linger_ms": 0}
    writer = Producer(client(bench.bootstrap, transactional_id="claims", **sure))
    writer.init_transactions()
    for turn in range(8):
        writer.begin_transaction()
        for i, (_, event, _, at) in enumerate(a_stream(20 + turn, 12)):
            writer.produce(event.topic, encode(event), b"k", i % PARTITIONS, timestamp=at)
        writer.flush(10)
        if turn % 3 == 1:
            writer.abort_transaction()
        else:
            writer.commit_transaction()


@pytest.mark.parametrize("output", ["at_least_once", "exactly_once"])
def test_markers_and_aborted_records_are_stepped_over(bench: Bench, output: str) -> None:
    bench.put(2, 40)
    put_in_transactions(bench)
    seen = read_topic(bench.bootstrap, "claims.filed", committed=True)
    assert len(seen) < len(read_topic(bench.bootstrap, "claims.filed", committed=False))
    worker = bench.worker(output=output)
    until(worker.is_done, worker)
    put_in_transactions(bench)
    bench.put(3, 40)
    until(worker.is_done, worker)
    assert bench.check(once=output == "exactly_once") == 0


def test_members_with_other_protocols(bench: Bench) -> None:
    bench.put(2, 40)
    worker = bench.worker(group_protocol="classic")
    until(worker.is_done, worker)
    eager = Consumer(client(
        bench.bootstrap, group_id="claimtrace", partition_assignment_strategy="range",
    ))  # fmt: skip
    eager.subscribe(["claims.filed"])
    refused, end_s = None, time.monotonic() + 20
    while refused is None and time.monotonic() < end_s:
        worker.driver.step(64)
        got = eager.poll(0.05)
        refused = got.error() if got is not None else None
    assert refused is not None
    assert refused.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL
    eager.close()
    bench.put(3, 40)
    until(worker.is_done, worker)

    newer = bench.worker(group_protocol="consumer")
    until(lambda: bool(newer.owned) and newer.is_done(), worker, newer, seconds=60)
    bench.put(4, 40)
    until(newer.is_done, worker, newer, seconds=60)
    assert worker.owned.isdisjoint(newer.owned)
    bench.check()
