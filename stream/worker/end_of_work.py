"""The end of a run that is to stop at the end of the log: everything is done, not only read.

A worker that starts after a crash has read everything at once, as it applies the journal again,
while decisions, dead letters and rows of the last plans may be missing still: as a member of a
group it gets its partitions, and with them that work, only some time later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from claimtrace.clock import Clock

from ..journal.plan import TopicPartition
from .driver import Driver

_ASK_EVERY_S: Final = 0.2


class EndOfWork:
    """Whether the inputs are read to a fixed end, and all that follows from them is emitted, stored
    and committed, by this worker or by the others of its group.

    Args:
        driver: has recovered.
        is_through: whether positions reach the fixed end of the inputs.
        clock: for how often the group is asked.
    """

    def __init__(
        self,
        driver: Driver,
        is_through: Callable[[dict[TopicPartition, int]], bool],
        clock: Clock,
    ) -> None:
        self._driver, self._is_through, self._clock = driver, is_through, clock
        self._plan: int | None = None
        """The plan that brought the inputs to their end; None while they aren't there."""
        self._asked_s = -_ASK_EVERY_S

    def is_reached(self) -> bool:
        """Whether nothing is left; call it after a step without records.

        It flushes and commits what this worker owns.
        """
        if self._plan is None:
            if not self._is_through(self._driver.engine.positions):
                return False
            self._plan = self._driver.engine.plan
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s < _ASK_EVERY_S:
            return False
        self._asked_s = now_s
        return self._driver.has_finished(self._plan)
