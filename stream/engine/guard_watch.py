"""The guards of the canary: its results and the champion's in tiles, judged as these close.

A breach is an alert, sent once for each subject. Where the roll-out has a standing approval, the
breach also says that the roll-out must end; the worker that writes the next plan leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.ids import digest_of
from featurestore.state_arrays import Arrays, below, under
from models.rollout.manifest import Rollout
from models.scorer import Scorer
from monitoring.guards.limits import Limits, Side, breaches
from monitoring.guards.pair_book import PairBook, Scores
from monitoring.layers.records import GUARD, RAISED, DriftAlert
from monitoring.windows.reference import Reference, read_reference
from monitoring.windows.tile import Tile

from .applied_batch import RolledOut


class _State(msgspec.Struct):
    """The state beside the tiles, in a snapshot."""

    watched: RolloutRef | None
    raised: list[str]
    breached: RolloutRef | None
    breach: str


class GuardWatch:
    """The tiles of the roll-out in force, and what it has breached."""

    def __init__(self) -> None:
        self._ref: RolloutRef | None = None
        self._references: list[Reference] = []
        self._book: PairBook | None = None
        self._raised: list[str] = []
        self.breached: RolloutRef | None = None
        """The last roll-out that must end; it stays named when it has ended."""
        self.breach = ""

    def switch(self, ref: RolloutRef | None, rolled: RolledOut | None) -> None:
        """Watch a roll-out from now on; None: none. The tiles of the one before are dropped."""
        if ref == self._ref:
            return
        self._ref, self._raised, self._book, self._references = ref, [], None, []
        if rolled is not None and rolled.rollout.canary is not None:
            self._begin(rolled.rollout, [each.manifest.reference for each in rolled.scorers[:2]])

    def count(
        self, times_ms: NDArray[np.int64], rolled: RolledOut, unseen: NDArray[np.int64]
    ) -> list[DriftAlert]:
        """Count claims, in log order; returns the alerts of the tiles that have closed.

        Args:
            times_ms: int64[n], their event times.
            rolled: the results of champion and canary for each.
            unseen: int64[n], 1 where a category was not known to the definitions.
        """
        if self._book is None:
            return []
        both = [Scores(each.scores, each.levels == 2) for each in rolled.scored[:2]]
        return [
            alert
            for champion, canary in self._book.add(times_ms, both, unseen)
            for alert in self._judge(rolled.rollout, champion, canary)
        ]

    def arrays(self) -> Arrays:
        """Return all state as named arrays, for a snapshot; none while no roll-out is watched."""
        if self._ref is None and self.breached is None:
            return {}
        state = _State(self._ref, self._raised, self.breached, self.breach)
        found: Arrays = {"state": np.frombuffer(msgspec.json.encode(state), np.uint8)}
        return found if self._book is None else found | under("book/", self._book.arrays())

    def restore(
        self,
        arrays: Arrays,
        rollout_of: Callable[[RolloutRef], Rollout],
        scorer_of: Callable[[ModelRef], Scorer],
    ) -> None:
        """Replace all state by that of a snapshot."""
        self.switch(None, None)
        state = _State(None, [], None, "")
        if arrays:
            state = msgspec.json.decode(arrays["state"].tobytes(), type=_State)
        self.breached, self.breach = state.breached, state.breach
        self._ref, self._raised = state.watched, state.raised
        if self._ref is None:
            return
        rollout = rollout_of(self._ref)
        if rollout.canary is not None:
            models = rollout.models[:2]
            self._begin(rollout, [scorer_of(ref).manifest.reference for ref in models])
            if self._book is not None:
                self._book.restore(below("book/", arrays))

    def _begin(self, rollout: Rollout, references: list[msgspec.Raw]) -> None:
        labels = [ref.label for ref in rollout.models[:2]]
        self._references = [
            read_reference(each, label) for each, label in zip(references, labels, strict=True)
        ]
        guards = rollout.guards
        self._book = PairBook(labels, self._references, guards.window_ms, guards.min_count)

    def _judge(self, rollout: Rollout, champion: Tile, canary: Tile) -> list[DriftAlert]:
        guards = rollout.guards
        limits = Limits(guards.min_count, guards.referral_ratio, guards.error_ratio,
                        guards.unseen_ratio, guards.score_psi)  # fmt: skip
        mine, theirs = Side(canary, self._references[1]), Side(champion, self._references[0])
        found = breaches(theirs, mine, limits)
        new = [subject for subject in found if subject not in self._raised]
        if not new:
            return []
        self._raised += new
        text = "; ".join(f"{subject}: {found[subject]}" for subject in new)
        ends = rollout.may_roll_back
        if ends:
            self.breached, self.breach = self._ref, text
        return [_alert(rollout, canary, {subject: found[subject] for subject in new}, ends)]


def _alert(rollout: Rollout, tile: Tile, found: dict[str, str], ends: bool) -> DriftAlert:
    subjects = list(found)
    label = f"{rollout.name} roll-out {rollout.version}"
    hint = (
        "the roll-out ends by itself: its approval says so"
        if ends
        else "look at `claimtrace rollout status`; `claimtrace rollout rollback` ends the canary"
    )
    return DriftAlert(
        alert_id=digest_of([label, GUARD, RAISED, tile.window_to_ms, subjects])[:32],
        model=tile.model,
        layer=GUARD,
        state=RAISED,
        since_ms=tile.window_from_ms,
        at_ms=tile.window_to_ms,
        subjects=subjects,
        text=f"the canary {tile.model} breaches its limits: {', '.join(subjects)} ({label})",
        effects=[f"{subject}: {words}" for subject, words in found.items()],
        hint=hint,
    )
