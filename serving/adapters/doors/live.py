"""Decisions as they fall, for those who listen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from claimtrace.events import Record

MOST_KEPT: Final = 2_000
"""Decisions that a slow listener may be behind; then its stream ends, and it comes again."""
MOST_LISTENERS: Final = 100


class LiveDecisions:
    """The listeners of one event loop."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Record | None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether nobody else may listen."""
        return len(self._listeners) >= MOST_LISTENERS

    def join(self) -> asyncio.Queue[Record | None]:
        """Listen; None in the queue says that the listener was too slow."""
        queue: asyncio.Queue[Record | None] = asyncio.Queue(MOST_KEPT + 1)
        self._listeners.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[Record | None]) -> None:
        """Listen no more."""
        self._listeners.discard(queue)

    def publish(self, decisions: Sequence[Record]) -> None:
        """Tell all listeners of decisions."""
        for queue in list(self._listeners):
            for each in decisions:
                if queue.qsize() >= MOST_KEPT:
                    queue.put_nowait(None)
                    self._listeners.discard(queue)
                    break
                queue.put_nowait(each)

    def close(self) -> None:
        """End all streams."""
        for queue in list(self._listeners):
            self._listeners.discard(queue)
            if not queue.full():
                queue.put_nowait(None)
