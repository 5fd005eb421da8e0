"""The journal as the commands on roll-outs ask it: its edition, and its last plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimtrace.editions import ROLLOUTS
from claimtrace.errors import NoJournal, StateError

from ...transports.choice import open_transport
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from stream.journal.plan import Plan


def check_edition(workspace: Workspace) -> None:
    """Refuse a roll-out on a journal whose edition doesn't know them; one begun later does.

    Raises:
        StateError: names the command that begins the newest edition.
    """
    from stream.journal.upgrade import edition_in_force

    if not workspace.has_journal:
        return
    with open_transport(workspace) as transport:
        try:
            edition = edition_in_force(transport.terms(), transport.plans())
        except NoJournal:
            return
    if edition < ROLLOUTS:
        raise StateError(
            f"the journal has edition {edition}, which knows no roll-outs", where="journal",
            hint="replace all workers by this version, then run `claimtrace upgrade` once",
        )  # fmt: skip


def last_plan(workspace: Workspace) -> Plan | None:
    """Return the last plan with records; None before the first."""
    if not workspace.has_journal:
        return None
    found = None
    with open_transport(workspace) as transport:
        try:
            for plan in transport.plans():
                found = plan if plan.ranges else found
        except NoJournal:
            return None
    return found
