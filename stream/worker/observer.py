"""The observer of a worker: hears what the driver and its adapters do, for logs and metrics."""

from __future__ import annotations

from collections.abc import Callable

from claimtrace.decisions import ModelRef

from ..engine.effects import Counts


class WorkerObserver:
    """Hears what happens in a worker; a few calls a batch, never one an event.

    Args:
        notify: called with each line that a person should read, such as a pause and its reason.
    """

    def __init__(self, notify: Callable[[str], None] = lambda _: None) -> None:
        self.notify = notify

    def passed(self, point: str) -> None:
        """The driver has passed one of `stream.worker.driver.CRASH_POINTS`; tests end it there."""

    def ready(self, is_ready: bool) -> None:
        """Records are decided on, or the worker waits for a store or broker."""

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:
        """A batch was applied; `counts` are of the records that this worker owns."""

    def topic_partition(self, topic: str, partition: int, position: int, end: int) -> None:
        """The worker's position on a partition, and the end of that partition."""

    def owned(self, count: int) -> None:
        """The worker decides on this many partitions now."""

    def rebalanced(self, kind: str) -> None:
        """Partitions were `gained`, `revoked` or `lost`."""

    def retained(self, count: int) -> None:
        """This many applied batches are kept for partitions whose owners haven't committed them."""

    def replayed(self, count: int) -> None:
        """Records of journalled plans were applied again at the start."""

    def paused(self, where: str) -> None:
        """A store or broker didn't answer; the driver pauses before it retries."""

    def committed(self, ok: bool) -> None:
        """A commit was accepted, or refused because another worker owns the partition now."""

    def journal(self, seconds: float) -> None:
        """A plan was appended to the journal and read back."""

    def offline(self, seconds: float) -> None:
        """Rows were appended to the offline store."""

    def snapshot(self, plan: int, seconds: float) -> None:
        """The snapshot of the state as of a plan was published."""

    def model(self, ref: ModelRef, kernel: str) -> None:
        """Another model scores from now on."""

    def notified(self, result: str, count: int) -> None:
        """Alerts were `sent` to the notification service, or `lost` on the way."""

    def lost(self, count: int) -> None:
        """Retention removed records before they were read."""
