"""How far the state behind a look may be behind the log."""

from __future__ import annotations


class Freshness:
    """The time at which the state last held everything that was on the log.

    Whatever the state may lack came after that, so its age is the most that a look can be behind.
    Times are in ms since 1970, of the clock of this process.

    >>> state = Freshness()
    >>> state.behind_ms(1_000) is None   # nobody has compared state and log yet
    True
    >>> state.complete(1_000)
    >>> state.behind_ms(1_040), state.behind_ms(900)
    (40, 0)
    """

    def __init__(self) -> None:
        self._complete_ms: int | None = None

    def complete(self, at_ms: int) -> None:
        """Note that the state holds everything that was on the log at this time."""
        self._complete_ms = at_ms

    def behind_ms(self, now_ms: int) -> int | None:
        """Return the most that the state can be behind; None while nobody knows."""
        return None if self._complete_ms is None else max(0, now_ms - self._complete_ms)


def is_too_old(behind_ms: int | None, most_ms: int) -> bool:
    """Whether a state must not answer looks: it is behind by more than `most_ms`, or unknown.

    >>> is_too_old(None, 2_000), is_too_old(2_000, 2_000), is_too_old(2_001, 2_000)
    (True, False, True)
    """
    return behind_ms is None or behind_ms > most_ms
