"""Effects into Kinesis: acknowledged before anything says that they are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from claimtrace.events import Outgoing
from producers.adapters.kinesis import KinesisSink

_DEADLINE_S: Final = 5.0


class KinesisOutput:
    """Sends what a plan wants sent; a plan that is sent again is there again, in the same bytes."""

    def __init__(self, sink: KinesisSink) -> None:
        self._sink = sink

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:  # noqa: ARG002
        """Queue the records."""
        if outgoing:
            self._sink.send(outgoing)

    def flush(self) -> None:
        """Return when all that was emitted is acknowledged."""
        self._sink.flush(_DEADLINE_S)

    def abort(self) -> None:
        """Nothing can be taken back."""

    def close(self) -> None:
        """Let go of the streams."""
        self._sink.close()
