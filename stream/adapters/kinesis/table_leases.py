"""Leases in a table: one item for each topic-partition, updated only by compare-and-swap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from claimtrace.adapters.tables.table import MOST_AT_ONCE, Change, Item, Table
from claimtrace.errors import StateError

from ...group.group import Checkpoint
from ...group.leases import Lease
from ...journal.plan import TopicPartition

_LEASE, _WORKER, _FINISHED = "lease", "worker", "finished"
_checkpoints = msgspec.json.Decoder(Checkpoint)


class TableLeases:
    """Leases, heartbeats and finished shards in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def leases(self) -> list[Lease]:
        """Return the leases of all topic-partitions."""
        return [self._lease(item) for item in self._table.query(_LEASE)]

    def add(self, topic_partitions: Mapping[TopicPartition, tuple[int, ...]]) -> None:
        """Add leases without an owner where there are none yet, with the parents of each shard."""
        for topic_partition, parents in topic_partitions.items():
            self._table.put(
                Change(_item(Lease(topic_partition, "", 0, None, parents=parents)), None)
            )

    def finished(self) -> dict[TopicPartition, int]:
        """Return the topic-partitions that have ended, with the plan of the last record of each."""
        return {
            _topic_partition(item["sk"]): int(item["plan"]) for item in self._table.query(_FINISHED)
        }

    def finish(self, topic_partitions: Mapping[TopicPartition, int]) -> None:
        """Record that topic-partitions have ended; the first writer's plan stays.

        An earlier writer saw the same end, so its plan is right as well.
        """
        for topic_partition, plan in topic_partitions.items():
            item: Item = {"pk": _FINISHED, "sk": _key(topic_partition), "plan": plan}
            self._table.put(Change(item, None))

    def swap(self, changes: Sequence[tuple[Lease, Lease]]) -> bool:
        """Replace the first lease of each pair by the second: `MOST_AT_ONCE` of them, or none.

        Returns False when one of the replaced leases has another owner or counter by now; of more
        than `MOST_AT_ONCE` changes earlier ones may be written then.
        """
        made = [
            Change(_item(after), {"owner": before.owner, "counter": before.counter})
            for before, after in changes
        ]
        return all(
            self._table.put_all(made[start : start + MOST_AT_ONCE])
            for start in range(0, len(made), MOST_AT_ONCE)
        )

    def heartbeats(self) -> dict[str, int]:
        """Return the heartbeat counter of each worker."""
        return {str(item["sk"]): int(item["counter"]) for item in self._table.query(_WORKER)}

    def write_heartbeat(self, worker: str, counter: int) -> None:
        """Write the heartbeat counter of a worker."""
        self._table.put_always({"pk": _WORKER, "sk": worker, "counter": counter})

    def remove_heartbeat(self, worker: str) -> None:
        """Remove the heartbeat counter of a worker."""
        self._table.delete(_WORKER, worker)

    def _lease(self, item: Item) -> Lease:
        try:
            checkpoint = _checkpoints.decode(str(item["mark"])) if item["mark"] else None
        except msgspec.DecodeError:
            raise StateError(
                f"the lease of {item['sk']} was written by something else than claimtrace",
                where=self._table.name, hint="use a table of its own (kinesis.table)",
            ) from None  # fmt: skip
        return Lease(
            _topic_partition(item["sk"]), str(item["owner"]), int(item["counter"]), checkpoint,
            int(item["position"]),
            tuple(int(parent) for parent in str(item["parents"]).split()),
        )  # fmt: skip


def _key(topic_partition: TopicPartition) -> str:
    """Return the sort key of a topic-partition's item."""
    return f"{topic_partition[0]}/{topic_partition[1]}"


def _topic_partition(sk: str | int) -> TopicPartition:
    """Return the topic-partition of a sort key."""
    topic, _, partition = str(sk).rpartition("/")
    return topic, int(partition)


def _item(lease: Lease) -> Item:
    """Return a lease as an item; the attribute names are stored, and never change."""
    checkpoint = (
        msgspec.json.encode(lease.checkpoint).decode() if lease.checkpoint is not None else ""
    )
    return {
        "pk": _LEASE,
        "sk": _key(lease.topic_partition),
        "owner": lease.owner,
        "counter": lease.counter,
        "mark": checkpoint,
        "position": lease.position,
        "parents": " ".join(map(str, lease.parents)),
    }
