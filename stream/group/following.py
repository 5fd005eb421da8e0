"""The group of a follower: a worker that applies every plan and owns nothing, ever.

Its state is that of a worker which decides on none of the partitions. It writes no plan, emits no
decision, stores no row and commits nothing, so that any number of followers can come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set

from ..journal.plan import TopicPartition
from .group import Checkpoint, Tail


class Following:
    """A `Group` that assigns nothing; `stream.worker.following` has what a worker does in it."""

    def topic_partitions(self) -> Set[TopicPartition]:
        """Return no partition: who decides on which doesn't matter here."""
        return frozenset()

    def poll(self, drain: Callable[[Set[TopicPartition]], None]) -> Set[TopicPartition]:  # noqa: ARG002
        """Return no partition."""
        return frozenset()

    def checkpoints(
        self, topic_partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Checkpoint]:
        """Return that everything is finished for good, as far as this worker is concerned."""
        return {each: Checkpoint().final() for each in topic_partitions}

    def commit(
        self,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],  # noqa: ARG002
    ) -> bool:
        """Do nothing.

        Raises:
            AssertionError: there are checkpoints, but a follower owns no partition.
        """
        assert not checkpoints, "a follower owns nothing"
        return True

    def tails(self, partitions: Collection[int]) -> dict[int, Tail]:  # noqa: ARG002
        """Return no decision: nothing is taken over."""
        return {}

    def leave(self) -> None:
        """Do nothing: nobody waits for a follower."""
