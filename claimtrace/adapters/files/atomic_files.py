"""Write files that exist completely or not at all, and survive a power cut.

A file is written under another name, synced and renamed; then its folder is synced, because the
new name is stored there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ...errors import StateError

_ASIDE: Final = ".aside-"


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace or create a file; readers see the old or the new bytes, never a mixture.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    aside = path.with_name(f"{_ASIDE}{path.name}")
    try:
        _write_synced(aside, content, mode)
        os.replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes], mode: int = 0o444) -> None:
    """Create a folder with all its files atomically; the files are read-only by default.

    One writer at a time: the caller holds a lock.

    Raises:
        StateError: the folder exists already.
        OSError: the disk is full or read-only; the folder doesn't exist then.
    """
    if path.exists():
        raise StateError("the folder is there already", where=str(path))
    aside = path.with_name(f"{_ASIDE}{path.name}")
    remove_aside(path.parent)
    aside.mkdir(parents=True)
    try:
        for name, content in files.items():
            _write_synced(aside / name, content, mode)
        sync_folder(aside)
        os.rename(aside, path)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(path.parent)


def remove_aside(folder: Path) -> None:
    """Remove unfinished files of a crashed writer from a folder; call it while holding the lock."""
    for left in sorted(folder.glob(f"{_ASIDE}*")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that the names in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and sync the parent of each."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file that isn't larger than `max_bytes`.

    Raises:
        StateError: the file is larger.
        FileNotFoundError: the file doesn't exist.
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise StateError(f"larger than {max_bytes} bytes", where=str(path))
    return content


def _write_synced(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Write all bytes to an open file: one call of the system may take only a part of them."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]
