"""The journal in a table that workers share.

Each plan is an item that is written only where there is none yet. So the first plan with a number
wins, and a worker that comes second reads that plan back. A writer whose call timed out writes
again, finds its own plan, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from claimtrace.adapters.tables.table import Change, Table
from claimtrace.clock import Clock
from claimtrace.errors import StateError, StoreUnavailable

from ...journal.plan import Plan
from ...journal.shared_journal import SharedJournal
from ...journal.terms import Terms

_PLANS: Final = "plan"
_TERMS: Final = "terms"
_WRITER_POLL_S: Final = 1.0
_READER_POLL_S: Final = 0.1


class TableJournal(SharedJournal):
    """Plans in a table.

    Args:
        table: one that workers share.
        terms: written when the journal is empty, compared otherwise; None: a reader only, which
            takes the journal's own.
        clock: for how often the table is polled for plans of other workers.

    Raises:
        StateError: the journal was begun under other terms; or a reader finds none.
        StoreUnavailable: the table doesn't answer.
    """

    def __init__(self, table: Table, terms: Terms | None, clock: Clock) -> None:
        super().__init__(table.name, "table")
        self._table, self._clock = table, clock
        self._polled_s = -_WRITER_POLL_S
        self._is_writer = False
        """Whether this worker's last append has won."""
        self._open(terms)

    @property
    def is_empty(self) -> bool:
        """Whether the journal has no plan."""
        return not any(True for _ in self._table.query(_PLANS, limit=1))

    def bookmark(self, number: int) -> int:
        """Return the number: it is the key of the plan's item."""
        return number

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:  # noqa: ARG002
        """Yield the plans from a number on, as far as the table has them now.

        A worker that continues polls the table for other workers' plans ten times a second; one
        that writes the plans itself polls once a second, since its next append would find them.
        """
        now_s = self._clock.monotonic_s()
        is_next = from_number == self._next_number and from_number > 1
        every_s = _WRITER_POLL_S if self._is_writer else _READER_POLL_S
        if is_next and now_s - self._polled_s < every_s:
            return
        self._polled_s = now_s
        self._next_number = from_number
        for item in self._table.query(_PLANS, _key(from_number)):
            plan = self._checked(item["plan"], self._next_number)
            self._next_number += 1
            yield plan

    def close(self) -> None:
        """Do nothing: the table's client isn't this journal's."""

    def _write_terms(self, encoded: bytes) -> bool:
        item = {"pk": _TERMS, "sk": _TERMS, "terms": encoded.decode()}
        return self._table.put(Change(item, None))

    def _read_terms(self, *, is_begun: bool) -> bytes | None:  # noqa: ARG002
        found = self._table.get(_TERMS, _TERMS)
        return None if found is None else str(found["terms"]).encode()

    def _append(self, plan: Plan, encoded: bytes) -> Plan:
        """Write a plan unless its number is taken; returns the plan that has the number."""
        key, won = _key(plan.number), plan
        if not self._table.put(Change({"pk": _PLANS, "sk": key, "plan": encoded.decode()}, None)):
            found = self._table.get(_PLANS, key)
            if found is None:
                raise StoreUnavailable(f"plan {plan.number} exists and can't be read",
                                       where=self._table.name)  # fmt: skip
            won = self._checked(found["plan"], plan.number)
        self._is_writer = won == plan
        if not self._is_writer:
            self._polled_s = -_WRITER_POLL_S  # the other worker may have written more: poll now
        self._next_number += 1
        return won

    def _checked(self, written: str | int, number: int) -> Plan:
        """Decode the plan of an item, and check that it has the number of its key."""
        plan = self._decoded(str(written), f"plan {number}")
        if plan.number != number:
            raise StateError(
                f"plan {plan.number} stands where plan {number} should", where=self._table.name,
                hint="the table lost items, or a snapshot of another journal was restored",
            )  # fmt: skip
        return plan


def _key(number: int) -> str:
    """Return the sort key of a plan: texts of equal length sort as their numbers do."""
    return f"{number:016d}"
