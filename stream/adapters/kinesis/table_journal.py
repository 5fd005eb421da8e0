"""The journal in a table that workers share.

There is an item for each plan, written only where none stands yet. The first plan with a number
wins: who comes second reads it back. A writer whose call timed out writes again, finds its own
plan, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from claimtrace.adapters.tables.table import Change, Table
from claimtrace.clock import Clock
from claimtrace.errors import NoJournal, StateError, StoreUnavailable

from ...journal.plan import Plan
from ...journal.terms import Terms
from ..embedded.file_journal import terms_of

_PLANS: Final = "plan"
_TERMS: Final = "terms"
_WRITER_LOOKS_EVERY_S: Final = 1.0
_READER_LOOKS_EVERY_S: Final = 0.1
_plans = msgspec.json.Decoder(Plan)
_encode = msgspec.json.Encoder().encode


class TableJournal:
    """Plans in a table.

    Args:
        terms: written when the journal is empty, compared otherwise; None: a reader only, which
            takes the journal's own.
        clock: for how often to look for plans of others.

    Raises:
        StateError: the journal was begun under other terms; or a reader finds none.
        StoreUnavailable: the table doesn't answer.
    """

    def __init__(self, table: Table, terms: Terms | None, clock: Clock) -> None:
        self._table, self._clock = table, clock
        self._next_number = 1
        self._look_s = -_WRITER_LOOKS_EVERY_S
        self._writes = False
        self.terms = self._open(terms)

    @property
    def next_number(self) -> int:
        """The number after that of the last plan read or appended."""
        return self._next_number

    @property
    def is_empty(self) -> bool:
        """Whether no plan was ever written."""
        return not any(True for _ in self._table.query(_PLANS, limit=1))

    def bookmark(self, number: int) -> int:
        """A plan's number says where it is."""
        return number

    def append(self, plan: Plan) -> Plan:
        """Write a plan unless its number is taken; returns the one that has it."""
        assert plan.number == self._next_number, "read what is there before you append"
        written = _encode(plan).decode()
        key = _key(plan.number)
        won = plan
        if not self._table.put(Change({"pk": _PLANS, "sk": key, "plan": written}, None)):
            found = self._table.get(_PLANS, key)
            if found is None:
                raise StoreUnavailable(f"plan {plan.number} is there and can't be read",
                                       where=self._table.name)  # fmt: skip
            won = self._decoded(found["plan"], plan.number)
        self._writes = won == plan
        if not self._writes:
            self._look_s = -_WRITER_LOOKS_EVERY_S  # there may be more
        self._next_number += 1
        return won

    def read(self, from_number: int, bookmark: int = 0) -> Iterator[Plan]:  # noqa: ARG002
        """The plans from a number on; those of others are looked for ten times a second, by who
        writes himself once a second: his next plan would find them."""
        now_s = self._clock.monotonic_s()
        is_next = from_number == self._next_number and from_number > 1
        every_s = _WRITER_LOOKS_EVERY_S if self._writes else _READER_LOOKS_EVERY_S
        if is_next and now_s - self._look_s < every_s:
            return
        self._look_s = now_s
        self._next_number = from_number
        for item in self._table.query(_PLANS, _key(from_number)):
            plan = self._decoded(item["plan"], self._next_number)
            self._next_number += 1
            yield plan

    def close(self) -> None:
        """Nothing is held."""

    def _open(self, terms: Terms | None) -> Terms:
        if terms is not None:
            item = {"pk": _TERMS, "sk": _TERMS, "terms": _encode(terms).decode()}
            if self._table.put(Change(item, None)):
                return terms
        found = self._table.get(_TERMS, _TERMS)
        if found is None:
            raise NoJournal.at(self._table.name)
        begun = terms_of(str(found["terms"]).encode(), self._table.name)
        if terms is not None:
            begun.check_same(terms, self._table.name)
        return begun

    def _decoded(self, written: str | int, number: int) -> Plan:
        try:
            plan = _plans.decode(str(written))
        except msgspec.DecodeError as error:
            raise StateError(
                f"plan {number} is no plan: {error}", where=self._table.name,
                hint="nothing may be replayed past it; who else writes to this table?",
            ) from error  # fmt: skip
        if plan.number != number:
            raise StateError(
                f"plan {plan.number} stands where plan {number} should", where=self._table.name,
                hint="the table lost items, or a snapshot of another journal was restored",
            )  # fmt: skip
        return plan


def _key(number: int) -> str:
    return f"{number:016d}"
