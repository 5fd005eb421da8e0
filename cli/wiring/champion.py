"""The champion: the model in charge, looked up in the registry before each plan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import ClaimtraceError, StateError, StoreUnavailable

from .workspace import CHAMPION

if TYPE_CHECKING:
    from pathlib import Path

    from models.registry.registry import ModelRegistry

    from .workspace import Workspace

GUARD = "guard"
"""The actor of a roll-back under a standing approval."""

LOOK_EVERY_S: Final = 10.0
"""Time between two looks at a registry in a bucket: each is a request, and AWS charges for it."""


class Live(NamedTuple):
    """The champion and the roll-out in force, as the approvals log says; None: there is none."""

    champion: ModelRef | None = None
    rollout: RolloutRef | None = None


class Champion:
    """The model in charge and the roll-out beside it: `stream.worker.parts.Rollouts`, too.

    The registry is read again only when its approvals log has changed.

    Args:
        workspace: registry, domain and models.
        notify: told why a champion or roll-out isn't used, and what a loaded model has to say.
    """

    def __init__(self, workspace: Workspace, notify: Callable[[str], None]) -> None:
        self._workspace, self._notify = workspace, notify
        self._ref: ModelRef | None = None
        self._rollout: RolloutRef | None = None
        self._ended: RolloutRef | None = None
        self._found: Live | None = None
        folder = workspace.models_folder
        self._look: Callable[[], Live | None] = (
            RemoteLook(workspace, notify) if folder is None
            else FolderLook(folder / workspace.domain.name / "approvals.log", workspace.registry)
        )  # fmt: skip

    def __call__(self) -> ModelRef | None:
        """Return its reference; None while no model fits the domain's definitions."""
        self._found = self._look() or self._found
        if self._found is not None:
            self._ref = self._fitting(self._found.champion)
            self._rollout = self._whole(self._found.rollout)
            self._found = None  # only now: what couldn't be loaded is tried again
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
        except (StoreUnavailable, OSError) as error:
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


class FolderLook:
    """A look at the approvals log in a folder: its file is read when its time or size changes."""

    def __init__(self, path: Path, registry: ModelRegistry) -> None:
        self._path, self._registry = path, registry
        self._seen: tuple[int, int] | None = None

    def __call__(self) -> Live | None:
        """Return what is live if the log has changed; else None."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen = None
            return Live()
        seen = stat.st_mtime_ns, stat.st_size
        if seen == self._seen:
            return None
        self._seen = seen
        return _live_of(self._registry)


class RemoteLook:
    """A look at an approvals log in a bucket now and then, by a thread of its own.

    Batches don't wait for the bucket, and go on with the model in charge while it doesn't answer.
    Only the first look is waited for: without it nobody knows which model is in charge.
    """

    def __init__(self, workspace: Workspace, notify: Callable[[str], None]) -> None:
        self._clock, self._notify = workspace.clock, notify
        self._registry = workspace.new_registry()  # its own: the other is the main thread's
        self._due_s: float | None = None
        self._thread: threading.Thread | None = None
        self._found: list[Live] = []
        self._failed = self._told = ""

    def __call__(self) -> Live | None:
        """Return what is live if a look has ended; else None."""
        now_s = self._clock.monotonic_s()
        if self._due_s is None:
            found = _live_of(self._registry)
            self._due_s = now_s + LOOK_EVERY_S
            return found
        if self._thread is None and now_s >= self._due_s:
            self._thread = threading.Thread(target=self._ask, daemon=True)
            self._thread.start()
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread, self._due_s = None, now_s + LOOK_EVERY_S
        if self._failed and self._failed != self._told:
            self._notify(f"the registry can't be read, the model stays: {self._failed}")
        self._told = self._failed
        return self._found.pop() if self._found else None

    def _ask(self) -> None:
        self._failed = ""
        try:
            self._found.append(_live_of(self._registry))
        except ClaimtraceError as error:
            self._failed = str(error)


def _live_of(registry: ModelRegistry) -> Live:
    return Live(registry.alias(CHAMPION), registry.rollout_in_force())
