"""The contract of a group: which worker decides on which partition, and its checkpoints.

Every worker applies every plan. The group assigns the topic-partitions to the workers; a worker
decides on those it owns, and commits a checkpoint of each. A worker that takes a partition over
continues from its checkpoint: it still has the batches that were applied since (`Retained`), and
decides on them with the same bytes as the owner before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from typing import Final, NamedTuple, Protocol

import msgspec

from claimtrace.decisions import GENESIS
from claimtrace.errors import StateError

from ..engine.applied_batch import AppliedBatch
from ..journal.plan import JOURNAL, TopicPartition

MAX_RETAINED_RECORDS: Final = 100_000
"""A worker that retains more records than this waits until the other workers have committed."""

_NEVER: Final = 2**53
"""The number of a plan that is never written."""


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """The progress on a topic-partition, kept beside its committed offset.

    Everything up to plan `emitted` is acknowledged, rows up to plan `stored` are in the offline
    store, and `chain` is the head of the partition's chain as of plan `stored`.
    """

    emitted: int = 0
    stored: int = 0
    chain: str = GENESIS

    @property
    def is_final(self) -> bool:
        """Whether the partition is finished for good: no later plan has records of it."""
        return self.stored == _NEVER

    def final(self) -> Checkpoint:
        """Return the checkpoint of the partition once it is finished for good."""
        return Checkpoint(_NEVER, _NEVER, self.chain)


class Tail(NamedTuple):
    """The decision on the claim with the highest position, among the last ones of a partition.

    Attributes:
        position: the position of the claim.
        chain: the decision's chain.
    """

    position: int
    chain: str


class Group(Protocol):
    """The workers of one journal, as one of them sees the group."""

    def topic_partitions(self) -> Set[TopicPartition]:
        """Return all topic-partitions that the group assigns, the journal's too."""

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:
        """Poll the group as a member; returns the topic-partitions that this worker owns now.

        `drain` is called with topic-partitions that are about to be revoked, while this worker
        still owns them.
        """

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """Return the checkpoints that owners have committed; partitions without one are left out.

        Waits for an open transaction of an earlier owner to end.
        """

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        """Commit this worker's checkpoints; False when the commit must be retried later.

        Args:
            checkpoints: of the partitions that this worker owns.
            positions: the next position to read of each partition; the journal's is a bookmark.

        Raises:
            Superseded: another worker owns one of the partitions now; nothing was committed.
        """

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:
        """Return the last decisions on these partitions; partitions without any are left out."""

    def leave(self) -> None:
        """Leave the group, so that its other members get the partitions at once."""


class Retained:
    """The applied batches that some partition's owner may not have finished yet, in plan order."""

    def __init__(self) -> None:
        self._batches: deque[AppliedBatch] = deque()
        self.records = 0
        self.released: set[TopicPartition] = {JOURNAL}
        """The topic-partitions that released batches had records of."""

    def __len__(self) -> int:
        return len(self._batches)

    def first(self, last: int) -> int:
        """Return the plan of the oldest batch; the one after plan `last` when there is none."""
        return self._batches[0].plan.number if self._batches else last + 1

    def keep(self, applied: AppliedBatch) -> None:
        """Retain a batch that was applied just now."""
        self._batches.append(applied)
        self.records += len(applied.records)

    def release(self, until: int) -> None:
        """Release all batches up to a plan that the owners of all partitions have finished."""
        while self._batches and self._batches[0].plan.number <= until:
            batch = self._batches.popleft()
            self.records -= len(batch.records)
            self.released.update((span.topic, span.partition) for span in batch.plan.ranges)

    def after(
        self, topic_partition: TopicPartition, number: int, last: int
    ) -> Iterator[AppliedBatch]:
        """Return the batches of the plans `number + 1 .. last`, for a take-over of a partition.

        Args:
            topic_partition: the partition that is taken over.
            number: the last plan that its owner before has finished.
            last: the last plan that this worker has applied.

        Raises:
            StateError: a batch that the take-over may need was released; a start from an older
                snapshot brings it back.
        """
        first = self.first(last)
        # a released batch matters only if some released batch had records of this partition
        if first > number + 1 and topic_partition in self.released:
            raise StateError(
                f"{topic_partition[0]}/{topic_partition[1]} was left at plan {number}, this worker "
                f"has batches from plan {first} on",
                where="take-over",
                hint="start the worker again: it begins from an older snapshot",
            )
        return (batch for batch in self._batches if batch.plan.number > number)
