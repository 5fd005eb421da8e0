"""The champion: the model in charge, looked up in the registry before each plan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError

from .workspace import CHAMPION

if TYPE_CHECKING:
    from pathlib import Path

    from models.registry.registry import ModelRegistry

    from .workspace import Workspace

LOOK_EVERY_S: Final = 10.0
"""Time between two looks at a registry in a bucket: each is a request, and AWS charges for it."""


class Champion:
    """The model in charge; a registry is read again only when its approvals log has changed.

    Args:
        workspace: registry, domain and models.
        notify: told why a champion isn't used, and what a loaded model has to say.
    """

    def __init__(self, workspace: Workspace, notify: Callable[[str], None]) -> None:
        self._workspace, self._notify = workspace, notify
        self._ref: ModelRef | None = None
        self._found: tuple[ModelRef | None] | None = None
        folder = workspace.models_folder
        self._look: Callable[[], tuple[ModelRef | None] | None] = (
            RemoteLook(workspace, notify) if folder is None
            else FolderLook(folder / workspace.domain.name / "approvals.log", workspace.registry)
        )  # fmt: skip

    def __call__(self) -> ModelRef | None:
        """Return its reference; None while no model fits the domain's definitions."""
        self._found = self._look() or self._found
        if self._found is not None:
            self._ref = self._fitting(self._found[0])
            self._found = None  # only now: what couldn't be loaded is tried again
        return self._ref

    def _fitting(self, ref: ModelRef | None) -> ModelRef | None:
        """Return the new champion if it can serve; else the one before it stays in charge."""
        if ref is None or ref == self._ref:
            return ref
        scorer = self._workspace.scorer_of(ref)
        if scorer.manifest.definitions != self._workspace.domain.definitions_digest:
            self._notify(f"model {ref.label} was trained under other definitions: not used")
            return self._ref
        for note in scorer.notes:
            self._notify(note)
        return ref


class FolderLook:
    """A look at the approvals log in a folder: its file is read when its time or size changes."""

    def __init__(self, path: Path, registry: ModelRegistry) -> None:
        self._path, self._registry = path, registry
        self._seen: tuple[int, int] | None = None

    def __call__(self) -> tuple[ModelRef | None] | None:
        """Return the champion if the log has changed; else None."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen = None
            return (None,)
        seen = stat.st_mtime_ns, stat.st_size
        if seen == self._seen:
            return None
        self._seen = seen
        return (self._registry.alias(CHAMPION),)


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
        self._found: list[ModelRef | None] = []
        self._failed = self._told = ""

    def __call__(self) -> tuple[ModelRef | None] | None:
        """Return the champion if a look has ended; else None."""
        now_s = self._clock.monotonic_s()
        if self._due_s is None:
            found = self._registry.alias(CHAMPION)
            self._due_s = now_s + LOOK_EVERY_S
            return (found,)
        if self._thread is None and now_s >= self._due_s:
            self._thread = threading.Thread(target=self._ask, daemon=True)
            self._thread.start()
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread, self._due_s = None, now_s + LOOK_EVERY_S
        if self._failed and self._failed != self._told:
            self._notify(f"the registry can't be read, the model stays: {self._failed}")
        self._told = self._failed
        return (self._found.pop(),) if self._found else None

    def _ask(self) -> None:
        self._failed = ""
        try:
            self._found.append(self._registry.alias(CHAMPION))
        except ClaimtraceError as error:
            self._failed = str(error)
