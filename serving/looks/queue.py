"""Micro-batches without a timer: whoever waits while a batch runs is in the next batch.

A lone request never waits for company, and under load the cost that each batch has is shared by all
that wait. Nothing here knows threads or clocks; `serving.adapters.looks.desk` has the lock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MOST_CLAIMS: Final = 256
"""Claims of one request, and of one batch of looks."""

Ask = TypeVar("Ask")


@dataclass(frozen=True)
class Waiting(Generic[Ask]):
    """A request that waits.

    Args:
        ask: what is asked; handed out as it is.
        claims: how many claims it has, 1 to `MOST_CLAIMS`.
        model: what its claims must be scored with: a batch has one model.
    """

    ask: Ask
    claims: int
    model: object = None


class LookQueue(Generic[Ask]):
    """Requests in the order in which they came; a batch has one model and few claims.

    Args:
        most: claims that may wait in all; a request beyond that is refused.

    >>> queue = LookQueue[str](most=300)
    >>> [queue.put(Waiting(name, claims)) for name, claims in (("a", 200), ("b", 1), ("c", 256))]
    [True, True, False]
    >>> queue.take(), queue.take(), queue.claims
    (['a', 'b'], [], 0)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Waiting[Ask]] = deque()
        self.claims = 0
        """Claims that wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting[Ask]) -> bool:
        """Let a request wait; returns False, and keeps nothing, when too many claims do.

        A request finds room when nothing waits, however many claims it has.
        """
        if self._waiting and self.claims + waiting.claims > self._most:
            return False
        self._waiting.append(waiting)
        self.claims += waiting.claims
        return True

    def take(self, most: int = MOST_CLAIMS) -> list[Ask]:
        """Take the next batch: the oldest request, and all others of its model that fit.

        A request is never split, and never overtaken by a younger one of its model. Whoever waits
        for another model is first in a later batch.

        Args:
            most: claims of the batch; a first request with more is taken alone.
        """
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        taken, claims, left = [first.ask], first.claims, deque[Waiting[Ask]]()
        is_full = False
        while self._waiting:
            each = self._waiting.popleft()
            is_full = is_full or (each.model == first.model and claims + each.claims > most)
            if each.model != first.model or is_full:
                left.append(each)
                continue
            taken.append(each.ask)
            claims += each.claims
        self._waiting = left
        self.claims -= claims
        return taken

    def discard(self) -> list[Ask]:
        """Take everything that waits, when nobody will answer any more."""
        left = [each.ask for each in self._waiting]
        self._waiting.clear()
        self.claims = 0
        return left
