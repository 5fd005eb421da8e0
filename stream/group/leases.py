"""The rules of ownership by leases, without the table that holds them.

After the design of Amazon's consumer library (KCL): a lease has an owner and a counter that every
change increments; every change is conditional on the owner and the counter that were read. Each
worker also has a heartbeat counter of its own in the table. Nobody compares clocks: a worker notes
by its own monotonic clock when it saw a heartbeat change, and takes a worker whose counter stays
the same for the length of a lease for dead. A worker with more than a fair share releases the rest
once it has drained them, and a worker with less takes leases that are free. No lease is taken from
a live worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..journal.plan import TopicPartition
from .group import Checkpoint


class Lease(NamedTuple):
    """The lease of one topic-partition; `owner` is empty when no worker owns it."""

    topic_partition: TopicPartition
    owner: str
    counter: int
    checkpoint: Checkpoint | None
    position: int = 0
    """The next position to read, for people and tools."""
    parents: tuple[int, ...] = ()
    """The shards that this shard came from by a split or a merge; it is read after them."""

    @property
    def is_final(self) -> bool:
        """Whether the topic-partition is finished for good, so that no worker need own it."""
        return self.checkpoint is not None and self.checkpoint.is_final


class LeaseTable(Protocol):
    """The table of leases and heartbeats; a read sees all earlier writes."""

    def leases(self) -> list[Lease]:
        """Return the leases of all topic-partitions."""

    def add(self, topic_partitions: Mapping[TopicPartition, tuple[int, ...]]) -> None:
        """Add leases without an owner where there are none yet, with the parents of each shard."""

    def finished(self) -> dict[TopicPartition, int]:
        """Return the topic-partitions that have ended, with the plan of the last record of each."""

    def finish(self, topic_partitions: Mapping[TopicPartition, int]) -> None:
        """Record that topic-partitions have ended, with the plan of the last record of each."""

    def swap(self, changes: Sequence[tuple[Lease, Lease]]) -> bool:
        """Replace the first lease of each pair by the second, all or none.

        Returns False when one of the replaced leases has another owner or counter by now.
        """

    def heartbeats(self) -> dict[str, int]:
        """Return the heartbeat counter of each worker."""

    def write_heartbeat(self, worker: str, counter: int) -> None:
        """Write the heartbeat counter of a worker."""

    def remove_heartbeat(self, worker: str) -> None:
        """Remove the heartbeat counter of a worker."""


class Moves(NamedTuple):
    """The leases that a worker should release and take now."""

    release: list[TopicPartition]
    take: list[Lease]


class HeartbeatMonitor:
    """Tells live workers from dead ones by the changes of their heartbeat counters.

    Args:
        lease_s: a worker whose counter hasn't changed for this many seconds is taken for dead.

    >>> monitor = HeartbeatMonitor(lease_s=10.0)
    >>> monitor.alive({"a": 1}, now_s=100.0), monitor.alive({"a": 1}, now_s=110.0)
    ({'a'}, set())
    >>> monitor.alive({"a": 2}, now_s=111.0)
    {'a'}
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._changed: dict[str, tuple[int, float]] = {}

    def alive(self, counters: Mapping[str, int], now_s: float) -> set[str]:
        """Return the workers whose counters this monitor saw change within the length of a lease.

        Args:
            counters: the heartbeats as they were read now.
            now_s: this worker's own monotonic clock.
        """
        for name, counter in counters.items():
            known = self._changed.get(name)
            if known is None or known[0] != counter:
                self._changed[name] = counter, now_s
        for name in self._changed.keys() - counters.keys():
            del self._changed[name]
        return {name for name, (_, at_s) in self._changed.items() if now_s - at_s < self._lease_s}


def moves(me: str, leases: Iterable[Lease], alive: Iterable[str]) -> Moves:
    """Return the leases to release and to take, for a fair share among the live workers.

    Live workers own equally many leases then, or one more.

    Args:
        me: this worker; it counts as alive.
        leases: the table as it was read.
        alive: the workers that are alive.

    >>> table = [Lease(("a", n), owner, 1, None) for n, owner in enumerate(["x", "x", "x", "gone"])]
    >>> found = moves("y", table, ["x"])
    >>> found.release, [lease.topic_partition for lease in found.take]
    ([], [('a', 3)])
    >>> moves("x", table, ["y"]).release
    [('a', 2)]
    """
    workers = sorted({me, *alive})
    rows = sorted(
        (lease for lease in leases if not lease.is_final), key=lambda it: it.topic_partition
    )
    mine = [lease.topic_partition for lease in rows if lease.owner == me]
    fewest, more = divmod(len(rows), len(workers))
    # the remainder goes to the first workers by name, one lease each; but a worker that already has
    # one more keeps it while not too many have, or a lease would change hands for nothing
    share = fewest + (workers.index(me) < more)
    has_more = sum(1 for worker in workers if sum(lease.owner == worker for lease in rows) > fewest)
    most = fewest + 1 if len(mine) > fewest and has_more <= more else share
    free = [lease for lease in rows if lease.owner not in workers]
    return Moves(mine[most:], free[: max(0, share - len(mine))])
