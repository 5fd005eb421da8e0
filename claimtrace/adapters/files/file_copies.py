"""Copies of many files with a manifest: what was copied, and the digest of each file.

The manifest is written last, so a folder without one is no whole copy. Paths in a manifest come
from outside: only plain relative ones are accepted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from ...errors import StateError, UsageError
from .atomic_files import read_file, sync_folder, write_all, write_file

MANIFEST_NAME: Final = "manifest.json"
FORMAT: Final = 1
MAX_MANIFEST_BYTES: Final = 256 * 2**20
_CHUNK_BYTES: Final = 1 << 20


class CopiedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a copy: its path with `/`, its size and its SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of a copy of a folder, and as of when."""

    format: int = FORMAT
    version: str
    """The version of claimtrace that made the copy."""
    made_at_ms: int
    domain: str
    source: str
    """The log, as in the setting `source`."""
    last_plan: int
    """The last plan of the copied journal; 0: none."""
    snapshot_plan: int
    """The plan of the newest copied snapshot; 0: none."""
    log_records: dict[str, int] = {}
    """The number of records of each topic of the copied log."""
    tables: dict[str, int] = {}
    """The version of each copied table of the offline store."""
    models: str = ""
    offline: str = ""
    """The settings `models` and `offline`, if they name folders of their own."""
    left_out: list[str] = []
    """Parts of the folder that aren't in the copy, each with the reason."""
    files: list[CopiedFile]


class FileCopies:
    """Copies files into a folder that nobody else writes, and notes each with its digest.

    Args:
        folder: where the copies go; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[CopiedFile] = []

    def add(self, source: Path, path: str) -> None:
        """Copy a file to a relative path, and sync it.

        Raises:
            FileNotFoundError: the source isn't there (any more); nothing was added.
            OSError: the disk is full or broken.
        """
        with source.open("rb") as file:
            self.files.append(_copy(file.fileno(), self.new(path), path))

    def new(self, path: str) -> Path:
        """Return where a file goes that is written by other means; `note` it afterwards."""
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def note(self, path: str) -> None:
        """Note a file that was put into the folder by other means; it is synced here."""
        target = self._folder / path
        with target.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.files.append(CopiedFile(path, file.tell(), digest))

    def drop(self, prefix: str) -> None:
        """Remove the files below a path again, to copy them anew."""
        for each in self.files:
            if each.path.startswith(prefix):
                (self._folder / each.path).unlink()
        self.files = [each for each in self.files if not each.path.startswith(prefix)]

    def finish(self, manifest: Manifest) -> str:
        """Write the manifest, after everything else is on the disk; returns its digest."""
        for folder in sorted({(self._folder / each.path).parent for each in self.files}):
            sync_folder(folder)
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        write_file(self._folder / MANIFEST_NAME, content)
        return hashlib.sha256(content).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a copy.

    Raises:
        UsageError: there is none: the folder is no copy, or one that was never finished.
        StateError: it is damaged, of another format, or names a path outside of the folder.
    """
    path = folder / MANIFEST_NAME
    try:
        content = read_file(path, MAX_MANIFEST_BYTES)
    except OSError as error:
        raise UsageError(
            "this is no whole backup: it has no manifest", where=str(folder),
            hint="name a folder that claimtrace backup has finished",
        ) from error  # fmt: skip
    try:
        kind = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format")
        if kind is not None and bytes(kind) != str(FORMAT).encode():
            raise StateError("a backup of another format", where=str(path),
                             hint="use the version of claimtrace that made it")  # fmt: skip
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise StateError(
            f"the manifest is damaged: {error}", where=str(path), hint="take another backup"
        ) from error
    seen: set[str] = set()
    for each in manifest.files:
        if not _is_plain(each.path) or each.path in seen or each.path == MANIFEST_NAME:
            raise StateError("the manifest names a path that can't be in a backup", where=str(path))
        seen.add(each.path)
    return manifest


def check_complete(folder: Path, manifest: Manifest) -> None:
    """Refuse a copy that lacks files or has others than its manifest says.

    Raises:
        StateError: names the first such file.
    """
    expected = {each.path for each in manifest.files} | {MANIFEST_NAME}
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    for words, names in (
        ("lacks", expected - found),
        ("has, unlike its manifest,", found - expected),
    ):
        if names:
            raise StateError(f"the backup {words} {min(names)}", where=str(folder),
                             hint="take another backup")  # fmt: skip


def copy_checked(folder: Path, files: Iterable[CopiedFile], into: Path, below: str) -> None:
    """Copy the files below a path of a copy into a new folder, and compare each with its digest.

    Raises:
        StateError: a file isn't what its manifest says.
        OSError: the disk is full or broken.
    """
    for each in files:
        if not each.path.startswith(below):
            continue
        source, target = folder / each.path, into / each.path.removeprefix(below)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            copied = _copy(handle, target, each.path)
        finally:
            os.close(handle)
        if copied != each:
            raise StateError("a file of the backup was changed", where=str(source),
                             hint="take another backup")  # fmt: skip
    for path in sorted([into, *(p for p in into.rglob("*") if p.is_dir())]):
        sync_folder(path)


def _copy(source: int, target: Path, path: str) -> CopiedFile:
    """Copy what a handle has into a new file; returns its size and digest."""
    digest, size = hashlib.sha256(), 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        while chunk := os.read(source, _CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            write_all(handle, chunk)
        os.fsync(handle)
    finally:
        os.close(handle)
    return CopiedFile(path, size, digest.hexdigest())


def _is_plain(path: str) -> bool:
    """Whether a path is relative, normal, and stays inside of its folder."""
    parts = PurePosixPath(path).parts
    return bool(
        parts
        and path == "/".join(parts)
        and not path.startswith("/")
        and ".." not in parts
        and "\0" not in path
        and "\\" not in path
    )
