"""Run the usual loop around confluent-kafka: consume, decide, produce, sometimes commit."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from confluent_kafka import Consumer, Producer

from benchmarks.peers.job import Fact, Job, decode, stop_asked

WAIT_S: Final = 0.2
COMMIT_EVERY: Final = 5_000
"""Records between two commits; each waits for the acknowledgements of all that was sent."""

VERSIONS: Final = {"confluent-kafka": version("confluent-kafka")}

Decide = Callable[[list[Fact]], list[tuple[str, bytes]]]


def carry_out(job: Job, most: int, decide: Decide) -> None:
    """Decide on batches of events until a SIGTERM comes.

    Args:
        job: has the topics.
        most: the most events of a batch.
        decide: from events to (claim id, decision) of the claims among them.
    """
    is_over = stop_asked()
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": job.output,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer(
        {"bootstrap.servers": job.bootstrap, "enable.idempotence": True, "linger.ms": 5}
    )
    consumer.subscribe([job.source])
    taken, commit_at = 0, COMMIT_EVERY
    while not is_over():
        records: list[Any] = consumer.consume(most, WAIT_S)
        for claim_id, value in decide([decode(record.value()) for record in records]):
            producer.produce(job.output, value, claim_id)
        producer.poll(0)
        taken += len(records)
        if taken >= commit_at:
            commit_at = taken + COMMIT_EVERY
            producer.flush()
            consumer.commit(asynchronous=True)
    producer.flush()
    consumer.close()
