"""Count a worker's decisions on the log, and find the time of each, from another process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from benchmarks.canonical import PARTITIONS
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DECISIONS_TOPIC
from tests.servers.topics import client

PAGE: Final = 5_000
BROKER_CLOCK_S: Final = 0.001
"""Timestamps of brokers are whole milliseconds, rounded down; a decision counts from the end of its
millisecond."""


class Outputs(Protocol):
    """The decisions on a log."""

    def count(self) -> int:
        """Count the decisions."""

    def arrivals(self, seen: NDArray[np.float64] | None) -> Iterator[tuple[int, float]]:
        """Yield claim number and time of each decision that is new since the last call.

        Args:
            seen: the observations of `injector.Watch`; None where brokers set timestamps.
        """

    def close(self) -> None:
        """Close the connection to the log."""


class LocalOutputs:
    """Decisions on the embedded log."""

    def __init__(self, path: Path) -> None:
        self._log = EmbeddedLog(path)
        self._log.create_topic(DECISIONS_TOPIC, PARTITIONS)
        self._at = [0] * PARTITIONS

    def count(self) -> int:
        """Count the decisions."""
        return sum(self._log.ends(DECISIONS_TOPIC))

    def arrivals(self, seen: NDArray[np.float64] | None) -> Iterator[tuple[int, float]]:
        """Yield each new decision with the time of the first look that found it."""
        assert seen is not None, "the embedded log stamps nothing"
        for partition in range(PARTITIONS):
            while page := self._log.read(DECISIONS_TOPIC, partition, self._at[partition], PAGE):
                self._at[partition] = page[-1].position + 1
                ends = seen[:, 1 + partition]
                looks = np.searchsorted(ends, [each.position for each in page], side="right")
                for record, look in zip(page, looks.tolist(), strict=True):
                    yield claim_number(record.key), seen[look, 0]

    def close(self) -> None:
        """Close the file."""
        self._log.close()


class KafkaOutputs:
    """Decisions on a topic with `message.timestamp.type=LogAppendTime`."""

    def __init__(self, bootstrap: str, topic: str = DECISIONS_TOPIC) -> None:
        self._topic = topic
        self._consumer: Any = Consumer(
            client(bootstrap, group_id="outputs", enable_auto_commit=False)
        )
        found = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._at = dict.fromkeys(found, 0)

    def count(self) -> int:
        """Count the decisions; exact where producers use no transactions."""
        return sum(self._ends().values())

    def arrivals(self, seen: NDArray[np.float64] | None = None) -> Iterator[tuple[int, float]]:  # noqa: ARG002
        """Yield each new decision with the end of the millisecond of its timestamp."""
        for record in self.records():
            yield claim_number(record.key()), record.timestamp()[1] / 1000 + BROKER_CLOCK_S

    def records(self) -> Iterator[Any]:
        """Yield each new record of the topic."""
        ends = self._ends()
        self._consumer.assign([TopicPartition(self._topic, p, at) for p, at in self._at.items()])
        while any(self._at[p] < end for p, end in ends.items()):
            for record in self._consumer.consume(PAGE, 0.2):
                self._at[record.partition()] = record.offset() + 1
                yield record
        self._consumer.unassign()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _ends(self) -> dict[int, int]:
        places = [TopicPartition(self._topic, p) for p in self._at]
        return {p.partition: self._consumer.get_watermark_offsets(p, timeout=30)[1] for p in places}


def claim_number(key: bytes | None) -> int:
    """Read the number of a canonical claim from its id.

    >>> claim_number(b"claim-0000000042")
    42
    """
    return int((key or b"")[6:])
