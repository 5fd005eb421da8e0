"""The observer of a worker: hears what the driver and its adapters do, for logs and metrics."""

from __future__ import annotations

from collections.abc import Callable, Set

from claimtrace.decisions import ModelRef, RolloutRef

from ..engine.effects import Counts
from ..journal.plan import TopicPartition


class WorkerObserver:
    """Hears what happens in a worker; a few calls a batch, never one an event.

    Args:
        notify: called with each line that a person should read, such as a pause and its reason.
    """

    def __init__(self, notify: Callable[[str], None] = lambda _: None) -> None:
        self.notify = notify

    def passed(self, point: str) -> None:
        """Hear that the driver has passed one of `stream.worker.driver.CRASH_POINTS`; tests end
        the process there."""

    def ready(self, is_ready: bool) -> None:
        """Hear whether records are decided on; else the worker waits for a store or broker."""

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:
        """Hear that a batch was applied; `counts` are of the records that this worker owns."""

    def topic_partition(self, topic: str, partition: int, position: int, end: int) -> None:
        """Hear the worker's position on a partition, and the end of that partition."""

    def owned(self, count: int) -> None:
        """Hear on how many partitions the worker decides now."""

    def rebalanced(self, kind: str, topic_partitions: Set[TopicPartition] = frozenset()) -> None:
        """Hear that partitions were `gained`, `revoked` or `lost`."""

    def retained(self, count: int) -> None:
        """Hear how many applied batches are kept for owners that haven't committed them yet."""

    def replayed(self, count: int) -> None:
        """Hear how many records of journalled plans were applied again at the start."""

    def paused(self, where: str) -> None:
        """Hear that a store or broker didn't answer; the driver pauses before it retries."""

    def answered(self) -> None:
        """Hear that a store that was waited for answers, while the worker is still starting."""

    def committed(self, ok: bool) -> None:
        """Hear that a commit was accepted, or refused because another worker owns the partition
        now."""

    def planned(self, plan_number: int, records: int) -> None:
        """Hear that a plan of this worker, of so many records, is in the journal; not called when
        another worker's plan won its number."""

    def journal(self, seconds: float) -> None:
        """Hear that a plan was appended to the journal and read back."""

    def offline(self, seconds: float) -> None:
        """Hear that rows were appended to the offline store."""

    def snapshot(self, plan: int, seconds: float) -> None:
        """Hear that the snapshot of the state as of a plan was published."""

    def model(self, ref: ModelRef, kernel: str) -> None:
        """Hear that another model scores from now on."""

    def rollout(self, ref: RolloutRef | None) -> None:
        """Hear which roll-out a batch is decided under, before `applied`; None: none."""

    def slowed(self, ratio: float) -> None:
        """Hear that batches take so many times as long since the roll-out in force began."""

    def notified(self, result: str, count: int) -> None:
        """Hear that alerts were `sent` to the notification service, or `lost` on the way."""

    def lost(self, count: int) -> None:
        """Hear that retention removed records before they were read."""


class Observers(WorkerObserver):
    """Several observers as one: each hears everything, in their order.

    Args:
        observers: those that hear; `notify` is the first one's.
    """

    def __init__(self, *observers: WorkerObserver) -> None:
        super().__init__(observers[0].notify)
        self._all = observers

    def passed(self, point: str) -> None:
        """Pass the call on."""
        for each in self._all:
            each.passed(point)

    def ready(self, is_ready: bool) -> None:
        """Pass the call on."""
        for each in self._all:
            each.ready(is_ready)

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:
        """Pass the call on."""
        for each in self._all:
            each.applied(plan_number, counts, seconds)

    def topic_partition(self, topic: str, partition: int, position: int, end: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.topic_partition(topic, partition, position, end)

    def owned(self, count: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.owned(count)

    def rebalanced(self, kind: str, topic_partitions: Set[TopicPartition] = frozenset()) -> None:
        """Pass the call on."""
        for each in self._all:
            each.rebalanced(kind, topic_partitions)

    def retained(self, count: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.retained(count)

    def replayed(self, count: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.replayed(count)

    def paused(self, where: str) -> None:
        """Pass the call on."""
        for each in self._all:
            each.paused(where)

    def answered(self) -> None:
        """Pass the call on."""
        for each in self._all:
            each.answered()

    def committed(self, ok: bool) -> None:
        """Pass the call on."""
        for each in self._all:
            each.committed(ok)

    def planned(self, plan_number: int, records: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.planned(plan_number, records)

    def journal(self, seconds: float) -> None:
        """Pass the call on."""
        for each in self._all:
            each.journal(seconds)

    def offline(self, seconds: float) -> None:
        """Pass the call on."""
        for each in self._all:
            each.offline(seconds)

    def snapshot(self, plan: int, seconds: float) -> None:
        """Pass the call on."""
        for each in self._all:
            each.snapshot(plan, seconds)

    def model(self, ref: ModelRef, kernel: str) -> None:
        """Pass the call on."""
        for each in self._all:
            each.model(ref, kernel)

    def rollout(self, ref: RolloutRef | None) -> None:
        """Pass the call on."""
        for each in self._all:
            each.rollout(ref)

    def slowed(self, ratio: float) -> None:
        """Pass the call on."""
        for each in self._all:
            each.slowed(ratio)

    def notified(self, result: str, count: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.notified(result, count)

    def lost(self, count: int) -> None:
        """Pass the call on."""
        for each in self._all:
            each.lost(count)
