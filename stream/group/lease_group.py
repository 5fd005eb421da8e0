"""The workers of one journal by leases: each takes what is free, and lets go of what is too much.

What a worker says of how far it came stands in its leases, beside the owner and the counter, and is
written only while both are as it wrote them last. So a worker that was away for longer than a lease
can say nothing any more: it hears that it was superseded, and lets go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from contextlib import suppress

from claimtrace.clock import Clock
from claimtrace.errors import StoreUnavailable, Superseded

from ..journal.plan import JOURNAL, TopicPartition
from .group import Checkpoint, Tail
from .leases import Lease, LeaseTable, Observer, moves

_TURNS_A_LEASE = 4.0


class LeaseGroup:
    """A worker among others.

    Args:
        me: its name, that nobody else has.
        table: of the leases.
        inputs: the places of the inputs, as they are listed now, and the parents of each.
        clock: only its monotonic side is looked at.
        lease_s: a worker that is silent for so long is taken for gone.
        finished: the inputs of which nothing comes any more, all in plans that are applied; asked
            of who makes the plans.
        on_workers: told how many there are.
    """

    def __init__(
        self,
        me: str,
        table: LeaseTable,
        inputs: Callable[[], Mapping[TopicPartition, tuple[int, ...]]],
        clock: Clock,
        lease_s: float,
        finished: Callable[[], Set[TopicPartition]] = frozenset,
        on_workers: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._me, self._table, self._inputs = me, table, inputs
        self._clock, self._on_workers = clock, on_workers
        self._finished, self._told = finished, set[TopicPartition]()
        self._turn_s = lease_s / _TURNS_A_LEASE
        self._observer = Observer(lease_s)
        self._mine: dict[TopicPartition, Lease] = {}
        self._counter = 0
        self._turned_s = float("-inf")
        self._known: set[TopicPartition] = set()

    def topic_partitions(self) -> Set[TopicPartition]:
        """All places that are shared out: what is listed, what ever was, and the journal."""
        if not self._known:
            self._known = {lease.topic_partition for lease in self._table.leases()}
        return self._inputs().keys() | self._known | {JOURNAL}

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:
        """Take part, some times in the length of a lease; returns the places that are ours."""
        if self._clock.monotonic_s() - self._turned_s >= self._turn_s:
            # a table that doesn't answer: what we own we own till somebody else says so there
            with suppress(StoreUnavailable):
                self._turn(drain)
            self._turned_s = self._clock.monotonic_s()
        return set(self._mine)

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """How far places are done; those without a mark are left out."""
        return {
            lease.topic_partition: lease.checkpoint
            for lease in self._table.leases()
            if lease.topic_partition in topic_partitions and lease.checkpoint is not None
        }

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        """Say how far this worker came.

        Raises:
            Superseded: one of the places isn't ours any more.
        """
        changes = []
        for topic_partition, checkpoint in sorted(checkpoints.items()):
            lease = self._mine.get(topic_partition)
            if lease is None:
                raise Superseded(
                    "a lease was lost", where=f"{topic_partition[0]}/{topic_partition[1]}"
                )
            position = max(positions.get(topic_partition, 0), 0)
            changes.append((lease, self._next(lease, checkpoint=checkpoint, position=position)))
        if not self._table.swap(changes):
            raise Superseded("a lease was taken by another worker", where="leases")
        self._mine.update({after.topic_partition: after for _, after in changes})
        if JOURNAL in checkpoints:
            self._tell_finished(checkpoints[JOURNAL].emitted)
        return True

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:  # noqa: ARG002
        """Nobody can look at the end of a stream: what was sent since the last commit is sent
        again, in the same bytes."""
        return {}

    def leave(self) -> None:
        """Let others have the places at once; when the lease is over, if the table is silent."""
        with suppress(StoreUnavailable):
            self._release(set(self._mine), self._table.finished())
            self._table.forget(self._me)

    def _turn(self, drain: Callable[[Set[TopicPartition]], None]) -> None:
        self._counter += 1
        self._table.beat(self._me, self._counter)
        rows = self._table.leases()
        wanted = {JOURNAL: (), **self._inputs()}
        missing = wanted.keys() - {lease.topic_partition for lease in rows}
        if missing:
            self._table.add(
                {topic_partition: wanted[topic_partition] for topic_partition in sorted(missing)}
            )
            rows = self._table.leases()
        # after the leases: whoever took one had written his counter before
        beats = self._table.beats()
        alive = self._observer.see(beats, self._clock.monotonic_s()) | {self._me}
        for gone in beats.keys() - alive:
            self._table.forget(gone)  # if it comes back, it counts on
        self._on_workers(len(alive))
        now = {lease.topic_partition: lease for lease in rows}
        self._known = set(now)
        self._mine = {
            topic_partition: row
            for topic_partition, row in self._mine.items()
            if now.get(topic_partition) == row
        }
        found = moves(self._me, rows, alive)
        finished = self._table.finished()
        going = {*found.release, *self._done_for_good(finished)}
        if going & self._mine.keys():
            drain(going & self._mine.keys())
        # what stands under our name and isn't ours: we wrote it and never heard that it was written
        strays = [
            row for row in rows if row.owner == self._me and row.topic_partition not in self._mine
        ]
        self._mine.update(
            {row.topic_partition: row for row in strays if row.topic_partition in going}
        )
        self._release(going, finished)
        for free in (*found.take, *strays):
            if free.topic_partition not in going:
                taken = self._next(free, owner=self._me)
                if self._table.swap([(free, taken)]):
                    self._mine[free.topic_partition] = taken

    def _tell_finished(self, plan: int) -> None:
        new = self._finished() - self._told
        if new:
            with suppress(StoreUnavailable):  # said again with the next commit
                self._table.finish(dict.fromkeys(sorted(new), plan))
                self._told |= new

    def _done_for_good(self, finished: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Our places of which nothing comes any more, all of it stored and acknowledged."""
        return {
            topic_partition
            for topic_partition, plan in finished.items()
            if topic_partition in self._mine
            and (checkpoint := self._mine[topic_partition].checkpoint) is not None
            and min(checkpoint.emitted, checkpoint.stored) >= plan
        }

    def _release(
        self, topic_partitions: Set[TopicPartition], finished: Mapping[TopicPartition, int]
    ) -> None:
        done = self._done_for_good(finished)  # the last commit may have seen to it
        for topic_partition in sorted(topic_partitions):
            lease = self._mine.pop(topic_partition, None)
            if lease is not None:
                checkpoint = (
                    lease.checkpoint.final()
                    if topic_partition in done and lease.checkpoint
                    else lease.checkpoint
                )
                self._table.swap([(lease, self._next(lease, owner="", checkpoint=checkpoint))])

    def _next(self, lease: Lease, **changes: object) -> Lease:
        return lease._replace(counter=lease.counter + 1, **changes)  # type: ignore[arg-type]
