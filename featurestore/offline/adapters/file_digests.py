"""The files of a table compared with what their commits recorded: presence, size and digest.

A file that `parquet.add_file` wrote has its digest in its name, and the name is in the commit.
Files that delta-rs wrote (a compaction, a table of an older version) have none: of those only
presence and size are known.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from claimtrace.errors import StateError

from .delta_errors import RESTORE

if TYPE_CHECKING:
    import pyarrow.fs as pafs

_DIGEST: Final = re.compile(r"-([0-9a-f]{64})\.parquet\Z")
_CHUNK_BYTES: Final = 1 << 20


class FilesFound(NamedTuple):
    """The files of a table that are as they were committed.

    Attributes:
        files: how many the table has; all are there, with their sizes.
        read: how many were read and have their recorded digests.
        unrecorded: how many of all have no recorded digest.
    """

    files: int
    read: int
    unrecorded: int


def recorded_digest(name: str) -> str | None:
    """Return the digest in the name of a file; None for a file that has none.

    >>> recorded_digest("part-00000-1-" + "ab" * 32 + ".parquet")[:4], recorded_digest("x.parquet")
    ('abab', None)
    """
    found = _DIGEST.search(name)
    return found[1] if found else None


def check_files(
    files: pafs.FileSystem | Any, listed: pa.Table, table: str, most: int | None
) -> FilesFound:
    """Compare files with what was recorded of them.

    Args:
        files: the file system that is rooted at the table's folder.
        listed: the columns `path` and `size_bytes` of the table's newest version.
        table: the table's name, for errors.
        most: read this many files; None: all of them.

    Raises:
        StateError: a file is missing, or is not the one that was committed.
        OSError: the file system doesn't answer.
    """
    sizes = dict(zip(listed["path"].to_pylist(), listed["size_bytes"].to_pylist(), strict=True))
    wrong: list[str] = []
    for name, info in zip(sizes, files.get_file_info(list(sizes)), strict=True):
        if not info.is_file:
            wrong.append(f"{name} is missing")
        elif info.size != sizes[name]:
            wrong.append(f"{name} has {info.size:,} bytes of {sizes[name]:,}")
    recorded = [name for name in sorted(sizes) if recorded_digest(name)]
    chosen = recorded if most is None else _spread(recorded, most)
    told = {line.split()[0] for line in wrong}
    wrong += [
        f"{name} is not the file that was committed: its bytes have changed"
        for name in chosen
        if name not in told and _digest(files, name) != recorded_digest(name)
    ]
    if wrong:
        raise StateError(_summary(wrong), where=f"the offline table {table}", hint=RESTORE)
    return FilesFound(len(sizes), len(chosen), len(sizes) - len(recorded))


def _summary(wrong: list[str]) -> str:
    if len(wrong) == 1:
        return f"the file {wrong[0]}"
    return f"{len(wrong):,} files are missing or damaged: {'; '.join(wrong[:20])}"


def _spread(names: list[str], most: int) -> list[str]:
    """Return `most` names, evenly from the first to the last."""
    if len(names) <= most:
        return names
    return [names[i * (len(names) - 1) // max(1, most - 1)] for i in range(most)]


def _digest(files: pafs.FileSystem, name: str) -> str:
    hashed = hashlib.sha256()
    with files.open_input_stream(name, buffer_size=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
    return hashed.hexdigest()
