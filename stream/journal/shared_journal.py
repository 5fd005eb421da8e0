"""The base of journals that several workers append to: terms first, then plans by number."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from claimtrace.errors import NoJournal, StateError

from .plan import Plan, encoded_plan, plan_in
from .terms import Terms, encoded_terms, terms_of


class SharedJournal(ABC):
    """Opens a journal under terms, and counts the plans that were read or appended.

    A store inherits this and defines `_write_terms`, `_read_terms` and `_append`.

    Args:
        where: the journal's name in errors, such as its topic or table.
        store: the kind of its store in hints: "topic" or "table".
    """

    terms: Terms
    """The terms that the journal was begun under; set by `_open`."""

    def __init__(self, where: str, store: str) -> None:
        self._where, self._store = where, store
        self._next_number = 1

    @property
    def next_number(self) -> int:
        """The number after that of the last plan read or appended."""
        return self._next_number

    def append(self, plan: Plan) -> Plan:
        """Write a plan unless its number is taken; returns the plan that has the number."""
        assert plan.number == self._next_number, "all earlier plans must be read before an append"
        return self._append(plan, encoded_plan(plan))

    def _open(self, terms: Terms | None) -> None:
        """Begin an empty journal under `terms`, or compare them with the journal's own.

        Args:
            terms: those of a writer; None: a reader, which takes the journal's own.

        Raises:
            StateError: the journal was begun under other terms; or a reader finds no journal.
        """
        if terms is not None and self._write_terms(encoded_terms(terms)):
            self.terms = terms
            return
        # workers may begin a journal at the same moment: the terms in the store are the ones that
        # all of them compare with
        written = self._read_terms(is_begun=terms is not None)
        if written is None:
            raise NoJournal.at(self._where)
        self.terms = terms_of(written, self._where)
        if terms is not None:
            self.terms.check_same(terms, self._where)

    @abstractmethod
    def _write_terms(self, encoded: bytes) -> bool:
        """Write the terms if the journal is empty; True when no other writer's can be first."""

    @abstractmethod
    def _read_terms(self, *, is_begun: bool) -> bytes | None:
        """Return the first terms in the store; None when there are none and none are expected.

        Args:
            is_begun: whether terms were written, by this worker or another, and must be found.
        """

    @abstractmethod
    def _append(self, plan: Plan, encoded: bytes) -> Plan:
        """Write a plan whose number is `next_number`; returns the plan that has the number."""

    def _decoded(self, written: bytes | str, name: str) -> Plan:
        """Decode a plan.

        Args:
            written: JSON, as from the store.
            name: what the bytes are in an error, such as "the record at 7".

        Raises:
            StateError: the bytes are no plan, or one of an edition that this version doesn't know;
                nothing may be replayed past them.
        """
        try:
            return plan_in(written, self._where)
        except msgspec.DecodeError as error:
            raise StateError(
                f"{name} is no plan: {error}", where=self._where,
                hint=f"nothing may be replayed past it; who else writes to this {self._store}?",
            ) from error  # fmt: skip
