"""Who owns which place, by leases in a table: the rules, without the table.

After the design of Amazon's consumer library: a lease has an owner and a counter that the owner
moves on; every change is conditional on the owner and the counter that were read. Nobody compares
clocks: an observer notes by its own monotonic clock when it saw a counter change, and one that
stands still for the length of a lease has no owner any more. Each worker also has a counter of its
own, so that all know how many there are; who owns more than a fair share lets the rest go when its
work on it is done, and who owns less takes what is free. Nothing is stolen from the living.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..journal.plan import TopicPartition
from .group import Checkpoint


class Lease(NamedTuple):
    """A row of the table. `owner` is empty when nobody has it."""

    topic_partition: TopicPartition
    owner: str
    counter: int
    checkpoint: Checkpoint | None
    position: int = 0
    """Next to read, for people and tools."""
    parents: tuple[int, ...] = ()
    """The shards that this one came from by a split or a merge; it is read after them."""

    @property
    def is_final(self) -> bool:
        """Whether nobody needs to have it any more."""
        return self.checkpoint is not None and self.checkpoint.is_final


class LeaseTable(Protocol):
    """Where leases stand. Reads see all that was written before."""

    def leases(self) -> list[Lease]:
        """All of them."""

    def add(self, topic_partitions: Mapping[TopicPartition, tuple[int, ...]]) -> None:
        """Have leases without an owner for places that have none yet, with their parents."""

    def finished(self) -> dict[TopicPartition, int]:
        """The places of which nothing comes any more, and the plan that had the last of each."""

    def finish(self, topic_partitions: Mapping[TopicPartition, int]) -> None:
        """Say so of places."""

    def swap(self, changes: Sequence[tuple[Lease, Lease]]) -> bool:
        """Write each lease behind the one that it replaces, or none; False when one of those has
        another owner or counter by now."""

    def beats(self) -> dict[str, int]:
        """The counter of each worker."""

    def beat(self, worker: str, counter: int) -> None:
        """Write the counter of a worker."""

    def forget(self, worker: str) -> None:
        """Remove the counter of a worker."""


class Moves(NamedTuple):
    """What a worker should do now."""

    release: list[TopicPartition]
    take: list[Lease]


class Observer:
    """Sees which counters stand still.

    Args:
        lease_s: after so long without a change an owner is taken for gone.

    >>> observer = Observer(lease_s=10.0)
    >>> observer.see({"a": 1}, now_s=100.0), observer.see({"a": 1}, now_s=110.0)
    ({'a'}, set())
    >>> observer.see({"a": 2}, now_s=111.0)
    {'a'}
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._changed: dict[str, tuple[int, float]] = {}

    def see(self, counters: Mapping[str, int], now_s: float) -> set[str]:
        """Whose counters have changed within the length of a lease, as far as we have seen."""
        for name, counter in counters.items():
            known = self._changed.get(name)
            if known is None or known[0] != counter:
                self._changed[name] = counter, now_s
        for name in self._changed.keys() - counters.keys():
            del self._changed[name]
        return {name for name, (_, at_s) in self._changed.items() if now_s - at_s < self._lease_s}


def moves(me: str, leases: Iterable[Lease], alive: Iterable[str]) -> Moves:
    """What to let go and what to take, so that all who are alive have as many, give or take one.

    Args:
        me: this worker; it counts as alive.
        leases: the table as it was read.
        alive: workers that are.

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
    # the first few may have one more; who has it already keeps it, or it would change hands
    share = fewest + (workers.index(me) < more)
    has_more = sum(1 for worker in workers if sum(lease.owner == worker for lease in rows) > fewest)
    most = fewest + 1 if len(mine) > fewest and has_more <= more else share
    free = [lease for lease in rows if lease.owner not in workers]
    return Moves(mine[most:], free[: max(0, share - len(mine))])
