"""A table of leases in memory: the slowest obvious one, with a history of who wrote what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream.group.leases import Lease
from stream.journal.plan import TopicPartition


class LeasesInMemory:
    """What `TableLeases` does, in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[TopicPartition, Lease] = {}
        self.counters: dict[str, int] = {}
        self.plans: dict[TopicPartition, int] = {}
        self.written: list[tuple[Lease, Lease]] = []

    def leases(self) -> list[Lease]:
        """All of them."""
        return list(self.rows.values())

    def add(self, places: Mapping[TopicPartition, tuple[int, ...]]) -> None:
        """Those that aren't there."""
        for topic_partition, parents in places.items():
            self.rows.setdefault(
                topic_partition, Lease(topic_partition, "", 0, None, parents=parents)
            )

    def finished(self) -> dict[TopicPartition, int]:
        """What was said to be."""
        return dict(self.plans)

    def finish(self, places: Mapping[TopicPartition, int]) -> None:
        """Say so."""
        for topic_partition, plan in places.items():
            self.plans.setdefault(topic_partition, plan)

    def swap(self, changes: Sequence[tuple[Lease, Lease]]) -> bool:
        """All or none, if each stands as expected."""
        for before, _ in changes:
            now = self.rows[before.topic_partition]
            if (now.owner, now.counter) != (before.owner, before.counter):
                return False
        for before, after in changes:
            self.rows[after.topic_partition] = after
            self.written.append((before, after))
        return True

    def beats(self) -> dict[str, int]:
        """The counter of each worker."""
        return dict(self.counters)

    def beat(self, worker: str, counter: int) -> None:
        """Write the counter of a worker."""
        self.counters[worker] = counter

    def forget(self, worker: str) -> None:
        """Remove the counter of a worker."""
        self.counters.pop(worker, None)
