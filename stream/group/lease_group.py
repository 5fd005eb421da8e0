"""A group by leases: each worker takes leases that are free, and releases those above its share.

A worker's checkpoints are kept in its leases, beside the owner and the counter, and are written
only while both are as it wrote them last. So a worker that was paused for longer than a lease can't
commit any more: it is superseded, and releases everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from contextlib import suppress

from claimtrace.clock import Clock
from claimtrace.errors import StoreUnavailable, Superseded

from ..journal.plan import JOURNAL, TopicPartition
from .group import Checkpoint, Tail
from .leases import HeartbeatMonitor, Lease, LeaseTable, moves

_RENEWALS_A_LEASE = 4.0
"""How often a worker renews its heartbeat within the length of a lease."""


class LeaseGroup:
    """A member of a group whose workers share a table of leases.

    Args:
        me: a unique name of this worker.
        table: the leases and heartbeats.
        inputs: returns the shards of the inputs as they are listed now, with the parents of each.
        clock: only its monotonic time is used.
        lease_s: a worker without a new heartbeat for this many seconds is taken for dead.
        finished: returns the shards that have ended and whose records are all in plans that are
            applied; only the worker that writes the plans knows them.
        on_workers: called with the number of live workers.
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
        self._finished, self._reported_finished = finished, set[TopicPartition]()
        self._renew_every_s = lease_s / _RENEWALS_A_LEASE
        self._monitor = HeartbeatMonitor(lease_s)
        self._mine: dict[TopicPartition, Lease] = {}
        """The leases that this worker owns, as it wrote them last."""
        self._counter = 0
        self._renewed_s = float("-inf")
        self._known: set[TopicPartition] = set()
        """All topic-partitions that have a lease."""

    def topic_partitions(self) -> Set[TopicPartition]:
        """Return the shards that are listed, those that have a lease, and the journal.

        Shards that aren't listed any more still have checkpoints to compare a snapshot with.
        """
        if not self._known:
            self._known = {lease.topic_partition for lease in self._table.leases()}
        return self._inputs().keys() | self._known | {JOURNAL}

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:
        """Renew and rebalance when due; returns the topic-partitions that this worker owns."""
        if self._clock.monotonic_s() - self._renewed_s >= self._renew_every_s:
            # while the table doesn't answer this worker keeps what it owns: no other worker can
            # take a lease without the table, and a commit fails if one did
            with suppress(StoreUnavailable):
                self._renew_and_rebalance(drain)
            self._renewed_s = self._clock.monotonic_s()
        return set(self._mine)

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """Return the committed checkpoints; topic-partitions without one are left out."""
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
        """Write the checkpoints into this worker's leases.

        Raises:
            Superseded: another worker owns one of the topic-partitions now.
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
            self._report_finished(checkpoints[JOURNAL].emitted)
        return True

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:  # noqa: ARG002
        """Return no tails: the end of a stream can't be read backwards.

        A take-over sends everything since the last commit again, in the same bytes.
        """
        return {}

    def leave(self) -> None:
        """Release all leases; if the table doesn't answer, they expire."""
        with suppress(StoreUnavailable):
            self._release(set(self._mine), self._table.finished())
            self._table.remove_heartbeat(self._me)

    def _renew_and_rebalance(self, drain: Callable[[Set[TopicPartition]], None]) -> None:
        self._counter += 1
        self._table.write_heartbeat(self._me, self._counter)
        rows = self._table.leases()
        wanted = {JOURNAL: (), **self._inputs()}
        missing = wanted.keys() - {lease.topic_partition for lease in rows}
        if missing:
            self._table.add(
                {topic_partition: wanted[topic_partition] for topic_partition in sorted(missing)}
            )
            rows = self._table.leases()
        # heartbeats are read after the leases: a worker writes its heartbeat before it takes a
        # lease, so no owner of a lease that was read can be missing here
        heartbeats = self._table.heartbeats()
        alive = self._monitor.alive(heartbeats, self._clock.monotonic_s()) | {self._me}
        for dead in heartbeats.keys() - alive:
            # a worker that was only paused writes its heartbeat again, with a higher counter
            self._table.remove_heartbeat(dead)
        self._on_workers(len(alive))
        now = {lease.topic_partition: lease for lease in rows}
        self._known = set(now)
        # a lease that isn't as this worker wrote it last was taken by another worker: it is lost,
        # without a drain, as nothing can be committed for it any more
        self._mine = {
            topic_partition: row
            for topic_partition, row in self._mine.items()
            if now.get(topic_partition) == row
        }
        found = moves(self._me, rows, alive)
        finished = self._table.finished()
        releasing = {*found.release, *self._completed(finished)}
        if releasing & self._mine.keys():
            # the drain commits: the leases in `_mine` are newer than `rows` afterwards
            drain(releasing & self._mine.keys())
        # leases under this worker's name that it doesn't know: it wrote them, and the answer to
        # that write was lost
        unconfirmed = [
            row for row in rows if row.owner == self._me and row.topic_partition not in self._mine
        ]
        self._mine.update(
            {row.topic_partition: row for row in unconfirmed if row.topic_partition in releasing}
        )
        self._release(releasing, finished)
        # each lease is taken by itself: another worker may be faster with some of them
        for free in (*found.take, *unconfirmed):
            if free.topic_partition not in releasing:
                taken = self._next(free, owner=self._me)
                if self._table.swap([(free, taken)]):
                    self._mine[free.topic_partition] = taken

    def _report_finished(self, plan: int) -> None:
        new = self._finished() - self._reported_finished
        if new:
            with suppress(StoreUnavailable):  # retried with the next commit
                self._table.finish(dict.fromkeys(sorted(new), plan))
                self._reported_finished |= new

    def _completed(self, finished: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Return the owned topic-partitions that have ended, with all effects stored and emitted.

        `finished` has the plan of the last record of each.
        """
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
        completed = self._completed(finished)  # again: the last commit may have completed some
        for topic_partition in sorted(topic_partitions):
            lease = self._mine.pop(topic_partition, None)
            if lease is not None:
                checkpoint = (
                    lease.checkpoint.final()
                    if topic_partition in completed and lease.checkpoint
                    else lease.checkpoint
                )
                self._table.swap([(lease, self._next(lease, owner="", checkpoint=checkpoint))])

    def _next(self, lease: Lease, **changes: object) -> Lease:
        """Return a changed lease with the next counter, so that a stale owner's swap fails."""
        return lease._replace(counter=lease.counter + 1, **changes)  # type: ignore[arg-type]
