"""The champion: the model in charge, looked up in the registry before each plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import ClaimtraceError, StateError

from .workspace import CHAMPION

if TYPE_CHECKING:
    from .workspace import Workspace

GUARD = "guard"
"""The actor of a roll-back under a standing approval."""


class Champion:
    """The model in charge and the roll-out beside it: `stream.worker.parts.Rollouts`, too.

    The registry is read again only when its approvals log has changed.

    Args:
        workspace: registry, domain and models.
        notify: told why a champion or roll-out isn't used, and what a loaded model has to say.
    """

    def __init__(self, workspace: Workspace, notify: Callable[[str], None]) -> None:
        self._workspace, self._notify = workspace, notify
        self._path = workspace.models_folder / workspace.domain.name / "approvals.log"
        self._seen: tuple[int, int] | None = None
        self._ref: ModelRef | None = None
        self._rollout: RolloutRef | None = None
        self._ended: RolloutRef | None = None

    def __call__(self) -> ModelRef | None:
        """Return its reference; None while no model fits the domain's definitions."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        seen = stat.st_mtime_ns, stat.st_size
        if seen != self._seen:
            registry = self._workspace.registry
            self._seen, self._ref = seen, self._fitting(registry.alias(CHAMPION))
            self._rollout = self._whole(registry.rollout_in_force())
        return self._ref

    def in_force(self) -> RolloutRef | None:
        """Return the roll-out that was in force when the champion was asked for.

        All of its models fit the domain's definitions.
        """
        return self._rollout

    def end(self, ref: RolloutRef, reason: str) -> None:
        """Record that the guards have ended a roll-out; does nothing when that was recorded.

        The stream goes on without it in any case: where the registry can't be written now, it is
        tried again before the next plan.
        """
        if self._ended == ref:
            return
        workspace = self._workspace
        try:
            workspace.registry.end_rollout(
                actor=GUARD, reason=reason, at_ms=workspace.clock.now_ms(), expected=ref.version
            )
        except StateError as error:
            if workspace.registry.rollout_in_force() == ref:
                self._notify(f"the end of {ref.label} is not recorded yet: {error}")
                return
        except OSError as error:
            self._notify(f"the end of {ref.label} is not recorded yet: {error}")
            return
        self._ended = ref
        self._notify(f"{ref.label} is ended by its guards: {reason}")

    def _fitting(self, ref: ModelRef | None) -> ModelRef | None:
        """Return the new champion if it can serve; else the one before it stays in charge."""
        if ref is None or ref == self._ref:
            return ref
        found = self._workspace.misfit(ref)
        if found is not None:
            self._notify(f"model {ref.label} isn't used: {found.words}")
            return self._ref
        for note in self._workspace.scorer_of(ref).notes:
            self._notify(note)
        return ref

    def _whole(self, ref: RolloutRef | None) -> RolloutRef | None:
        """Return a roll-out if all of its models can serve beside the champion; else none."""
        if ref is None or ref == self._rollout:
            return ref
        workspace = self._workspace
        try:
            rollout = workspace.rollout_of(ref)
            misfits = [(model, workspace.misfit(model)) for model in rollout.models]
        except ClaimtraceError as error:
            self._notify(f"{ref.label} is not used: {error}")
            return None
        if rollout.champion != self._ref:
            self._notify(f"{ref.label} is not used: its champion is not the one in charge")
            return None
        for model, found in misfits:
            if found is not None:
                self._notify(f"{ref.label} is not used: {model.label}: {found.words}")
                return None
        return ref
