"""The contract of a journal of plans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .plan import Plan


class Journal(Protocol):
    """An append-only sequence of numbered plans; the first plan with a number wins."""

    def append(self, plan: Plan) -> Plan:
        """Make the plan durable; returns the plan that has the number, which may be another's."""

    def read(self, from_number: int, bookmark: int = 0) -> Iterable[Plan]:
        """The plans from a number on, in order, as far as they are there now.

        Args:
            from_number: the first plan wanted.
            bookmark: where the journal was when the plan before was read; saves a search.
        """

    @property
    def next_number(self) -> int:
        """The number after that of the last plan read or appended; the first is 1."""

    def bookmark(self, number: int) -> int:
        """Where the journal was behind a plan read or appended not long ago, in its own terms."""
