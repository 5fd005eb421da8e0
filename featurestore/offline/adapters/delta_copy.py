"""The files that make up one version of a Delta table in a local folder, for a copy of it.

Files of a Delta table never change once they are written, except `_last_checkpoint`; files that a
later version doesn't need are removed some time later. So a version is copied by the names of its
files, and when one has gone meanwhile a newer version is tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from claimtrace.errors import StoreUnavailable

from .delta_errors import translated

LOG: Final = "_delta_log"
_LAST_CHECKPOINT: Final = "_last_checkpoint"
_VERSIONS: Final = re.compile(r"(?:\d{20}\.)?(\d{20})\.")
_TRIES: Final = 5


def table_folders(folder: Path) -> list[Path]:
    """Return the folders of all tables of an offline store."""
    return sorted(path.parent for path in folder.glob(f"*/{LOG}") if path.is_dir())


def copy_table(folder: Path, add: Callable[[Path, str], None], drop: Callable[[], None]) -> int:
    """Copy the newest version of a table; returns its number.

    Args:
        folder: the table's folder.
        add: copies a file, given its path and its name inside of the table's folder.
        drop: removes what was added, before another try.

    Raises:
        StoreUnavailable: files went while they were copied, several times in a row.
        StateError: the table is damaged.
    """
    for _ in range(_TRIES):
        try:
            table = DeltaTable(str(folder))
        except (DeltaError, OSError) as error:
            raise translated(error, str(folder)) from error
        version = int(table.version())
        try:
            for name in _names(folder, table, version):
                add(folder / name, name)
        except FileNotFoundError:
            drop()
            continue
        return version
    raise StoreUnavailable("files of the table go while they are copied", where=str(folder),
                           hint="try again when no compaction runs")  # fmt: skip


def _names(folder: Path, table: DeltaTable, version: int) -> Iterator[str]:
    """Yield the names of a version's files: data first, then the log, whose start may go."""
    root = folder.resolve()
    for uri in table.file_uris():
        path = Path(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri)
        yield path.resolve().relative_to(root).as_posix()
    for path in sorted((folder / LOG).iterdir()):
        if path.name == _LAST_CHECKPOINT:
            if _checkpoint_version(path) <= version:
                yield f"{LOG}/{path.name}"
            continue
        found = _VERSIONS.match(path.name)
        if path.is_file() and (found is None or int(found[1]) <= version):
            yield f"{LOG}/{path.name}"


def _checkpoint_version(path: Path) -> int:
    """Return the version that `_last_checkpoint` names; a very large one when it can't be read."""
    try:
        return int(msgspec.json.decode(path.read_bytes()).get("version", 2**62))
    except (OSError, msgspec.DecodeError, AttributeError, TypeError, ValueError):
        return 2**62
