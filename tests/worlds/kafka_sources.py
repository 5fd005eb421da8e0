"""The topics of one test, the sources that read them, and the slow version of their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.events import Outgoing, Record
from claimtrace.settings.schema import KafkaSettings, Settings
from stream.adapters.kafka.source import KafkaSource
from stream.journal.plan import TopicPartition, plan_of
from stream.worker.observer import WorkerObserver
from tests.servers.topics import create_topics, read_topic

WAIT_S: Final = 30.0
_numbers = count()


class ShiftedClock(SystemClock):
    """The machine's time plus a shift."""

    shift_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.shift_s


class Lost(WorkerObserver):
    """Counts the records that were lost by policy."""

    count = 0

    def lost(self, count: int) -> None:
        self.count += count


class KafkaInputs:
    """The topics of one test, and the sources that read them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topics: tuple[str, ...] = ()
        self.clock = ShiftedClock()
        self.said: list[str] = []
        self.watching = Lost(self.said.append)
        self.sources: list[KafkaSource] = []

    def make(self, topics: int, partitions: int, **config: str) -> tuple[str, ...]:
        """Create topics."""
        number = next(_numbers)
        self.topics = tuple(f"source.{number}.{n}" for n in range(topics))
        create_topics(self.bootstrap, dict.fromkeys(self.topics, partitions), config=config)
        return self.topics

    def source(self, **kafka: Any) -> KafkaSource:
        """Open a source of its own."""
        settings = Settings(source=f"kafka://{self.bootstrap}", kafka=KafkaSettings(**kafka))
        made = KafkaSource(settings.kafka_connection, self.topics, self.clock, self.watching)
        self.sources.append(made)
        return made

    def there(self) -> list[Record]:
        """Return the committed records, by topic, partition and position."""
        return [r for topic in self.topics for r in read_topic(self.bootstrap, topic)]


def merged(records: Sequence[Record], topics: Sequence[str]) -> list[Record]:
    """Merge records in the slow and obvious way: always the earliest head of all partitions."""
    queues: dict[tuple[int, int], list[Record]] = {}
    for record in records:
        queues.setdefault((topics.index(record.topic), record.partition), []).append(record)
    order = []
    while any(queues.values()):
        heads = [
            (queue[0].log_time_ms, topic_partition)
            for topic_partition, queue in queues.items()
            if queue
        ]
        order.append(queues[min(heads)[1]].pop(0))
    return order


def after(
    positions: Mapping[TopicPartition, int], batch: Sequence[Record]
) -> dict[TopicPartition, int]:
    """Return the positions behind a batch."""
    spans = plan_of(1, batch, None, 0).ranges
    return {**positions, **{(s.topic, s.partition): s.to_position for s in spans}}


def drain(
    source: KafkaSource,
    wanted: int,
    most: Callable[[], int],
    positions: Mapping[TopicPartition, int] | None = None,
) -> list[list[Record]]:
    """Take batches until `wanted` records have come, as the driver takes them."""
    at, taken, batches = dict(positions or {}), 0, []
    until_s = time.monotonic() + WAIT_S
    while taken < wanted:
        batch = source.poll(at, most())
        assert batch or time.monotonic() < until_s, f"{taken} of {wanted} records came: {at}"
        if batch:
            at = after(at, batch)
            taken += len(batch)
            batches.append(batch)
    assert source.poll(at, 10) == []
    return batches


def some_rows(seed: int, topics: Sequence[str], partitions: int, number: int) -> list[Outgoing]:
    """Return rows with few log times that run backwards now and then.

    The last partition of each topic is empty.

    """
    rng = np.random.default_rng(seed)
    now, rows = 1_780_000_000_000, []
    for n in range(number):
        now += int(rng.integers(0, 3)) * 1000
        topic = topics[int(rng.integers(len(topics)))]
        partition = int(rng.integers(partitions - 1)) if partitions > 1 else 0
        back = int(rng.integers(0, 20)) * 1000 if rng.random() < 0.3 else 0
        rows.append(Outgoing(topic, partition, b"k%d" % n, b"v%d" % n, now - back))
    return rows


def a_batch(source: KafkaSource, positions: dict[TopicPartition, int], most: int) -> list[Record]:
    """Return the next batch that isn't empty."""
    until_s = time.monotonic() + WAIT_S
    while not (batch := source.poll(positions, most)):
        assert time.monotonic() < until_s, f"nothing comes after {positions}"
    return batch
