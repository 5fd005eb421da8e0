"""The ground room, imported by all: events, decisions, dead letters' reasons, errors, clock.

Reading order of the repository: `events`, `encoding.decoder`, `decisions` here; then
`featurestore.definitions.features` and `featurestore.windows.aggregates`; then
`stream.engine.engine` and `stream.worker.driver`; then `training.pipeline`.

For notebooks: `import claimtrace as ct; project = ct.open("claimtrace-data")` (docs/python.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .adapters.process.kernel_cache import use_versioned_cache

if TYPE_CHECKING:
    import os

    from cli.notebook import Project

__all__ = ["__version__"]  # `from claimtrace import *` must not replace Python's own open

__version__ = "0.2.0"

use_versioned_cache()


def open(  # noqa: A001 - claimtrace.open, as gzip.open
    folder: str | os.PathLike[str] | None = None, *, config: str | os.PathLike[str] | None = None
) -> Project:
    """Open a folder of claimtrace to read it in Python, such as in a notebook.

    Args:
        folder: the folder that `--folder` names; by default the one of the variable
            CLAIMTRACE_FOLDER, else `claimtrace-data`.
        config: the settings file, as for `--config`.

    Returns:
        The project: `decisions()`, `vectors()`, `labels()`, `explain()`, `look()`, `models`.

    Raises:
        UsageError: the folder isn't one of claimtrace's.

    >>> open("no-such-folder")
    Traceback (most recent call last):
    ...
    claimtrace.errors.UsageError: there is no such folder [...no-such-folder] (...)
    """
    from cli.notebook import open_project

    return open_project(folder, config=config)
