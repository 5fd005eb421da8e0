"""Pauses between retries that double up to a limit."""

from __future__ import annotations


class Backoff:
    """The pause before each retry: the first one, then twice as long each time.

    Args:
        first_s: the pause before the first retry, in seconds.
        longest_s: no pause is longer than this.

    >>> backoff = Backoff(0.1, 0.3)
    >>> [backoff.next_s() for _ in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    >>> backoff.reset()
    >>> backoff.next_s()
    0.1
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    @property
    def is_fresh(self) -> bool:
        """Whether `next_s` hasn't been called since the start or the last reset."""
        return self._next_s == self._first_s

    def next_s(self) -> float:
        """Return the pause before the next retry, in seconds."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """Start again with the first pause, after a success."""
        self._next_s = self._first_s
