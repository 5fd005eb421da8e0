"""The Kinesis output: records are acknowledged before a commit covers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from claimtrace.events import Outgoing
from producers.adapters.kinesis import KinesisSink

_DEADLINE_S: Final = 5.0


class KinesisOutput:
    """Sends the outgoing records of plans.

    A plan that is sent again after a crash is on the stream twice, with the same bytes.
    """

    def __init__(self, sink: KinesisSink) -> None:
        self._sink = sink

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:  # noqa: ARG002
        """Queue the records."""
        if outgoing:
            self._sink.send(outgoing)

    def flush(self) -> None:
        """Return when everything that was emitted is acknowledged."""
        self._sink.flush(_DEADLINE_S)

    def abort(self) -> None:
        """Do nothing: a stream can't take records back."""

    def close(self) -> None:
        """Close the connection to the streams."""
        self._sink.close()
