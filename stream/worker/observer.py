"""What the driver tells of itself while it runs, for metrics; nobody listens by default."""

from __future__ import annotations

from claimtrace.decisions import ModelRef

from ..engine.effects import Counts


class WorkerObserver:
    """Hears what happens; called a few times a batch, never for an event."""

    def ready(self, is_ready: bool) -> None:
        """Whether records are being decided on."""

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:
        """A batch is through: what became of the records that this worker owns."""

    def topic_partition(self, topic: str, partition: int, position: int, end: int) -> None:
        """Where this worker is on a partition, and where the partition ends."""

    def owned(self, count: int) -> None:
        """How many places this worker decides on."""

    def rebalanced(self, kind: str) -> None:
        """Places were `gained`, `revoked` or `lost`."""

    def retained(self, count: int) -> None:
        """Batches that wait for other owners' commits."""

    def replayed(self, count: int) -> None:
        """Records run again at the start."""

    def paused(self, where: str) -> None:
        """A store or broker didn't answer."""

    def committed(self, ok: bool) -> None:
        """A commit was taken, or refused because another worker owns the place now."""

    def journal(self, seconds: float) -> None:
        """A plan was written and read back."""

    def offline(self, seconds: float) -> None:
        """Rows that waited were appended."""

    def snapshot(self, plan: int, seconds: float) -> None:
        """The state as of a plan is durable."""

    def model(self, ref: ModelRef, kernel: str) -> None:
        """A model took charge."""

    def notified(self, result: str, count: int) -> None:
        """Alerts were `sent` to whoever wants notices, or `lost` on the way there."""

    def lost(self, count: int) -> None:
        """Records that retention took before anyone read them."""
