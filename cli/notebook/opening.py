"""The opening of a folder for a notebook, and the search for the folder that was meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from claimtrace.errors import UsageError

from ..wiring.workspace import CONFIG_NAME, FOLDER_VARIABLE, Workspace
from .project import Project

_SIGNS: Final = ("log.db", "offline", "state", CONFIG_NAME.name)
"""Files and folders by which a folder of claimtrace is known."""


def open_project(
    folder: str | os.PathLike[str] | None = None, *, config: str | os.PathLike[str] | None = None
) -> Project:
    """Open a folder; see `claimtrace.open`."""
    named = Path(folder) if folder is not None else None
    workspace = Workspace.open(Path(config) if config is not None else None, named)
    _check_is_project(workspace)
    return Project(workspace)


def _check_is_project(workspace: Workspace) -> None:
    """Refuse a folder in which claimtrace has never worked.

    Raises:
        UsageError: the hint names a folder near by, if there is one.
    """
    folder = workspace.folder
    if _is_project(folder) or workspace.settings.source != "local":
        return
    what = "there is nothing of claimtrace in this folder"
    if not folder.is_dir():
        what = "there is no such folder"
    raise UsageError(what, where=str(folder.absolute()), hint=_near(folder))


def _is_project(folder: Path) -> bool:
    return folder.is_dir() and any((folder / name).exists() for name in _SIGNS)


def _near(folder: Path) -> str:
    """Return a hint: the nearest folder of claimtrace above or below, or how one is made."""
    here = folder.absolute()
    above = [parent / here.name for parent in list(here.parents)[1:4]]
    below = sorted(here.iterdir())[:200] if here.is_dir() and os.access(here, os.R_OK) else []
    beside = sorted(here.parent.iterdir())[:200] if here.parent.is_dir() else []
    for each in (*above, *below, here.parent, *beside):
        if _is_project(each):
            return f"perhaps {os.path.relpath(each)}"
    return f"`claimtrace demo` makes one; {FOLDER_VARIABLE} names the usual one"
