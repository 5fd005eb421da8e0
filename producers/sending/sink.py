"""The contract of a sink for records: the embedded log, Kafka, Kinesis and tests implement it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from claimtrace.events import Outgoing

Progress = Callable[[int], None]
"""Called with the number of records written to the log *since the last call*."""


def no_progress(records_count: int) -> None:
    """Ignore the count: the default of `progress`."""


class Sink(Protocol):
    """Accepts records in order; those sent before a `flush` that returned are durable.

    Raises, from any method:
        claimtrace.errors.StoreUnavailable: the log doesn't answer; retry the same records.
    """

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Accept records, in order within a partition; may return before they are durable."""

    def flush(self, deadline_s: float) -> None:
        """Wait until all accepted records are durable; `StoreUnavailable` at the deadline."""

    def close(self) -> None:
        """Flush what can be flushed and release the log."""


class ListSink:
    """A sink that keeps records in the list `sent`.

    Shipped on purpose, as a double for users' tests and for inspecting a simulation; no part of the
    product uses it.

    >>> sink = ListSink()
    >>> sink.send([Outgoing("claims.filed", 0, b"p-1", b"{}", 1)])
    >>> len(sink.sent)
    1
    """

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Append the records to `sent`."""
        self.sent.extend(outgoing)

    def flush(self, deadline_s: float) -> None:
        """Return at once: no record waits."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
