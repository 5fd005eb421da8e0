"""The newest plan of a state that came from a snapshot, which doesn't hold it."""

from __future__ import annotations

from typing import Protocol

from claimtrace.editions import NEWEST

from .journal import Journal
from .plan import Plan


class Recalling(Protocol):
    """An engine as far as its newest plan goes."""

    plan: int
    newest_plan: Plan | None

    def recall(self, plan: Plan) -> None:
        """Note the newest plan."""


def recall_newest(engine: Recalling, journal: Journal) -> None:
    """Tell an engine that was restored, and has applied no plan since, its newest plan.

    Looks say which plan they are of, and are decided by whoever was in charge of it.
    """
    if not engine.plan or engine.newest_plan is not None:
        return
    # plans that begin editions name no model, and follow each other
    for plan in journal.read(max(1, engine.plan - NEWEST)):
        if plan.number <= engine.plan:
            engine.recall(plan)
