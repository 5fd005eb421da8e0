"""Begin an edition: append the plan from which on a journal has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from claimtrace.editions import NEWEST

from .journal import Journal
from .plan import Plan
from .terms import Terms


class Begun(NamedTuple):
    """The edition that was in force, the one in force now, and the plan that began it.

    `plan` is 0 when the journal had the edition already.
    """

    before: int
    now: int
    plan: int


def edition_in_force(terms: Terms, plans: Iterable[Plan]) -> int:
    """Return the edition of a journal's next plan."""
    edition = terms.edition
    for plan in plans:
        edition = plan.edition or edition
    return edition


def begin_edition(
    journal: Journal,
    terms: Terms,
    now_ms: int,
    edition: int = NEWEST,
    texts: Mapping[str, str] | None = None,
) -> Begun:
    """Append a plan that begins an edition, unless it is in force.

    Workers that append meanwhile do no harm: the plan is written again behind theirs.

    Args:
        journal: open for appending.
        terms: those that it was begun with.
        now_ms: for people.
        edition: one that this version knows.
        texts: of definitions and rules by digest, packed, to be kept with the plan.
    """
    while True:
        before = edition_in_force(terms, journal.read(1))
        if before >= edition:
            return Begun(before, before, 0)
        plan = Plan(
            number=journal.next_number,
            ranges=[],
            model=None,
            now_ms=now_ms,
            edition=edition,
            texts=dict(texts or {}),
        )
        if journal.append(plan) == plan:
            return Begun(before, edition, plan.number)
