"""Several workers, one order: who decides on which place, and how far each place is done.

Every worker applies every plan. The group shares the places out among the workers; a worker
decides on those it owns, and says with each commit how far it came. Whoever takes a place over goes
on from there: it still has the batches that were applied since (`Retained`), and decides on them
with the same bytes as the owner before it.
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
"""A worker that is this far ahead of what the others have committed waits for them."""


_NEVER: Final = 2**53
"""A plan that will not come."""


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a place is done; it stands beside the committed offset.

    Everything up to plan `emitted` is acknowledged, rows up to plan `stored` are in the offline
    store, and `chain` is the head of the place's chain as of plan `stored`.
    """

    emitted: int = 0
    stored: int = 0
    chain: str = GENESIS

    @property
    def is_final(self) -> bool:
        """Whether the place is done for good: no plan will ever have anything of it."""
        return self.stored == _NEVER

    def final(self) -> Checkpoint:
        """The mark of the place when it is done for good."""
        return Checkpoint(_NEVER, _NEVER, self.chain)


class Tail(NamedTuple):
    """The decision furthest on among the last ones of a partition: its claim's position."""

    position: int
    chain: str


class Group(Protocol):
    """The workers of one journal, as one of them sees it."""

    def topic_partitions(self) -> Set[TopicPartition]:
        """All places that the group shares out, the journal too."""

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:
        """Take part; returns the places that this worker owns now.

        `drain` is called with places that are about to go, while they are still ours.
        """

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """How far places are done, as committed by their owners; places without one are left out.

        It waits for a transaction of an owner before us to end.
        """

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        """Say how far this worker came; False when it must be said again later.

        Raises:
            Superseded: a place isn't ours any more; nothing was committed.
        """

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:
        """Where the decisions of these partitions end; partitions without any are left out."""

    def leave(self) -> None:
        """Let others have the places at once."""


class Retained:
    """The applied batches that some place's owner may not have finished yet, in plan order."""

    def __init__(self) -> None:
        self._batches: deque[AppliedBatch] = deque()
        self.records = 0
        self.gone: set[TopicPartition] = {JOURNAL}
        """What the batches before the oldest were about."""

    def __len__(self) -> int:
        return len(self._batches)

    def first(self, last: int) -> int:
        """The plan of the oldest batch; the one after the last when there is none."""
        return self._batches[0].plan.number if self._batches else last + 1

    def keep(self, applied: AppliedBatch) -> None:
        """Keep a batch that was applied just now."""
        self._batches.append(applied)
        self.records += len(applied.records)

    def release(self, until: int) -> None:
        """Let go of all up to a plan that every place is done with."""
        while self._batches and self._batches[0].plan.number <= until:
            batch = self._batches.popleft()
            self.records -= len(batch.records)
            self.gone.update((span.topic, span.partition) for span in batch.plan.ranges)

    def after(
        self, topic_partition: TopicPartition, number: int, last: int
    ) -> Iterator[AppliedBatch]:
        """The batches of the plans `number + 1 .. last`, where they may be about a place.

        Raises:
            StateError: the first of them is gone; a start from an older snapshot brings it back.
        """
        first = self.first(last)
        if first > number + 1 and topic_partition in self.gone:
            raise StateError(
                f"a place was left at plan {number}, this worker has batches from plan {first} on",
                where="take-over",
                hint="start the worker again: it begins from an older snapshot",
            )
        return (batch for batch in self._batches if batch.plan.number > number)
