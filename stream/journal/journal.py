"""The contract of a journal of plans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .plan import Plan


class Journal(Protocol):
    """An append-only sequence of numbered plans; the first plan with a number wins."""

    def append(self, plan: Plan) -> Plan:
        """Make a plan durable; returns the plan that has its number, maybe another worker's."""

    def read(self, from_number: int, bookmark: int = 0) -> Iterable[Plan]:
        """Return the plans from a number on, in order, as far as the journal has them now.

        Args:
            from_number: the number of the first plan wanted.
            bookmark: `bookmark` of the plan before that one; saves a search.
        """

    @property
    def next_number(self) -> int:
        """The number after that of the last plan read or appended; the first plan is 1."""

    def bookmark(self, number: int) -> int:
        """Return the journal's own position behind a plan that was read or appended recently."""
