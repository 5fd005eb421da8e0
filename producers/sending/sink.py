"""Where records go: one small contract for the embedded log, Kafka, Kinesis and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from claimtrace.events import Outgoing

Progress = Callable[[int], None]
"""Called with the number of records that are on the log *since the last call*."""


def no_progress(records_count: int) -> None:
    """Report to nobody."""


class Sink(Protocol):
    """Takes records in order; what `flush` returned for is durable.

    Raises, from any method:
        claimtrace.errors.StoreUnavailable: the log doesn't answer; try the same records again.
    """

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Accept records, in order within a partition; may return before they are durable."""

    def flush(self, deadline_s: float) -> None:
        """Return when all that was sent is durable; `StoreUnavailable` at the deadline."""

    def close(self) -> None:
        """Flush what can be flushed and let go of the log."""


class ListSink:
    """Keeps what it gets; for tests and for looking at a simulation.

    >>> sink = ListSink()
    >>> sink.send([Outgoing("claims.filed", 0, b"p-1", b"{}", 1)])
    >>> len(sink.sent)
    1
    """

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Keep them."""
        self.sent.extend(outgoing)

    def flush(self, deadline_s: float) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to let go of."""
