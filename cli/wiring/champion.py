"""The champion: the model in charge, looked up in the registry before each plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claimtrace.decisions import ModelRef

from .workspace import CHAMPION

if TYPE_CHECKING:
    from .workspace import Workspace


class Champion:
    """The model in charge; the registry is read again only when its approvals log has changed.

    Args:
        workspace: registry, domain and models.
        notify: told why a champion isn't used, and what a loaded model has to say.
    """

    def __init__(self, workspace: Workspace, notify: Callable[[str], None]) -> None:
        self._workspace, self._notify = workspace, notify
        self._path = workspace.models_folder / workspace.domain.name / "approvals.log"
        self._seen: tuple[int, int] | None = None
        self._ref: ModelRef | None = None

    def __call__(self) -> ModelRef | None:
        """Return its reference; None while no model fits the domain's definitions."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        seen = stat.st_mtime_ns, stat.st_size
        if seen != self._seen:
            self._seen, self._ref = seen, self._fitting(self._workspace.registry.alias(CHAMPION))
        return self._ref

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
