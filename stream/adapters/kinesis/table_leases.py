"""Leases in a table: an item for each place, changed only by who knows how it stands."""

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
    """Leases and workers' counters in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def leases(self) -> list[Lease]:
        """All of them."""
        return [self._lease(item) for item in self._table.query(_LEASE)]

    def add(self, topic_partitions: Mapping[TopicPartition, tuple[int, ...]]) -> None:
        """Have leases without an owner for places that have none yet, with their parents."""
        for topic_partition, parents in topic_partitions.items():
            self._table.put(
                Change(_item(Lease(topic_partition, "", 0, None, parents=parents)), None)
            )

    def finished(self) -> dict[TopicPartition, int]:
        """The places of which nothing comes any more, and the plan that had the last of each."""
        return {_place(item["sk"]): int(item["plan"]) for item in self._table.query(_FINISHED)}

    def finish(self, topic_partitions: Mapping[TopicPartition, int]) -> None:
        """Say so of places; who said it before is right as well."""
        for topic_partition, plan in topic_partitions.items():
            item: Item = {
                "pk": _FINISHED,
                "sk": f"{topic_partition[0]}/{topic_partition[1]}",
                "plan": plan,
            }
            self._table.put(Change(item, None))

    def swap(self, changes: Sequence[tuple[Lease, Lease]]) -> bool:
        """Write each lease behind the one that it replaces; `MOST_AT_ONCE` at a time or none."""
        made = [
            Change(_item(after), {"owner": before.owner, "counter": before.counter})
            for before, after in changes
        ]
        return all(
            self._table.put_all(made[start : start + MOST_AT_ONCE])
            for start in range(0, len(made), MOST_AT_ONCE)
        )

    def beats(self) -> dict[str, int]:
        """The counter of each worker."""
        return {str(item["sk"]): int(item["counter"]) for item in self._table.query(_WORKER)}

    def beat(self, worker: str, counter: int) -> None:
        """Write the counter of a worker."""
        self._table.put_always({"pk": _WORKER, "sk": worker, "counter": counter})

    def forget(self, worker: str) -> None:
        """Remove the counter of a worker."""
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
            _place(item["sk"]), str(item["owner"]), int(item["counter"]), checkpoint,
            int(item["position"]),
            tuple(int(parent) for parent in str(item["parents"]).split()),
        )  # fmt: skip


def _place(sk: str | int) -> TopicPartition:
    topic, _, partition = str(sk).rpartition("/")
    return topic, int(partition)


def _item(lease: Lease) -> Item:
    checkpoint = (
        msgspec.json.encode(lease.checkpoint).decode() if lease.checkpoint is not None else ""
    )
    return {
        "pk": _LEASE,
        "sk": f"{lease.topic_partition[0]}/{lease.topic_partition[1]}",
        "owner": lease.owner,
        "counter": lease.counter,
        "mark": checkpoint,
        "position": lease.position,
        "parents": " ".join(map(str, lease.parents)),
    }
