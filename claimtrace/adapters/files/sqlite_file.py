"""Open or create an SQLite file of one kind, and turn SQLite's errors into ours.

The write-ahead log is on; several processes may have the file open, and one writes at a time.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from ...errors import ClaimtraceError, StateError, StoreUnavailable

_BUSY_TIMEOUT_S: Final = 10.0
_PAGE_BYTES: Final = 8192
_CHECKPOINT_PAGES: Final = 512
"""Pages in the write-ahead log before they are moved to the file: 4 MB.

At 33 MB the commit that moves them took 100 ms, every 130,000 decisions.
"""


class FileKind(NamedTuple):
    """A kind of file: its name in messages, application id, format number, and tables in SQL."""

    name: str
    application_id: int
    format: int
    schema: str


_TRANSIENT: Final[Mapping[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: ("the disk is full", "make room; nothing was lost, the write is undone"),
    sqlite3.SQLITE_BUSY: ("another process is writing to the {kind}", "wait for it, or stop it"),
    sqlite3.SQLITE_LOCKED: ("another process is writing to the {kind}", "wait for it, or stop it"),
    sqlite3.SQLITE_CANTOPEN: ("the {kind} can't be opened", "check the folder and its rights"),
    sqlite3.SQLITE_READONLY: ("the {kind} is read-only", "check the rights of the file and folder"),
    sqlite3.SQLITE_IOERR: ("the disk doesn't answer", "check the disk and the space left"),
}


def open_file(
    kind: FileKind, path: Path, *, create: bool, durable: bool, any_thread: bool = False
) -> sqlite3.Connection:
    """Open a file, creating it if wanted; returns a connection in autocommit mode.

    Args:
        kind: the expected kind of the file.
        path: the file; with `create` its folder is made too.
        create: create the file when it is missing.
        durable: sync at every commit.
        any_thread: allow use from any thread; the caller makes sure that it is one at a time.

    Raises:
        StateError: the file is missing (and `create` is off), damaged, or of another kind or
            format.
        StoreUnavailable: the file can't be opened or written now.
    """
    if not path.exists():
        if not create:
            raise StateError(f"there is no {kind.name}", where=str(path), hint="check the folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"the folder can't be made: {error.strerror}", where=str(path.parent)
            ) from error
    with named_errors(kind, path):
        db = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=not any_thread
        )
        try:
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            # Check before writing: a file of another program must stay unchanged.
            db.execute("BEGIN")  # one snapshot: another process may be creating the tables
            is_made = _is_made(kind, db, path)
            db.execute("COMMIT")
            _use_write_ahead_log(db)
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            if not is_made:
                _make_tables(kind, db, path)
        except BaseException:
            db.close()
            raise
    return db


class _CopiedFile(sqlite3.Connection):
    """A connection to a copy in a temporary folder, which goes when the connection is closed."""

    folder: TemporaryDirectory[str]

    def close(self) -> None:
        super().close()
        self.folder.cleanup()


def open_to_read(kind: FileKind, path: Path) -> sqlite3.Connection:
    """Open a file to read it, wherever it lies: a folder that can't be written is enough.

    Where the folder can be written, other processes may write meanwhile: then all use the
    write-ahead log as usual. Where it can't, that log is read too if a crash left it; without its
    index file SQLite can't read it in place, so both files are copied.

    Raises:
        StateError: the file is missing, damaged, or of another kind or format.
        StoreUnavailable: the file can't be opened.
    """
    if not path.exists() or _may_write(path):
        return open_file(kind, path, create=False, durable=False)
    left = path.with_name(f"{path.name}-wal")
    with named_errors(kind, path):
        if not left.exists() or not left.stat().st_size:
            db = _connect_to_read(path, "mode=ro&immutable=1")
        elif path.with_name(f"{path.name}-shm").exists():
            db = _connect_to_read(path, "mode=ro")
        else:
            db = _open_copy(path, left)
        try:
            if not _is_made(kind, db, path):
                raise StateError(f"the {kind.name} is empty", where=str(path), hint="restore it")
        except BaseException:
            db.close()
            raise
    return db


def _connect_to_read(path: Path, query: str) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?{query}"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)


def _open_copy(path: Path, left: Path) -> sqlite3.Connection:
    """Open a copy of a file and of its write-ahead log, in a temporary folder."""
    folder = TemporaryDirectory(prefix="claimtrace-")
    try:
        for each in (path, left):
            shutil.copyfile(each, Path(folder.name, each.name))
        copy = Path(folder.name, path.name)
        db = sqlite3.connect(copy, isolation_level=None, factory=_CopiedFile)
    except OSError as error:
        folder.cleanup()
        raise StoreUnavailable(
            f"a crash left a write-ahead log, and there is no room for a copy: {error.strerror}",
            where=str(path), hint="set TMPDIR to a folder with room for the log",
        ) from error  # fmt: skip
    db.folder = folder
    return db


def _may_write(path: Path) -> bool:
    """Whether this process may write a file and the files beside it."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


@contextmanager
def named_errors(kind: FileKind, path: Path, within: str = "") -> Iterator[None]:
    """Turn SQLite's errors into ours, which name the file (and the part `within` it) and a hint."""
    try:
        yield
    except sqlite3.Error as error:
        raise _named(kind, error, f"{path} {within}".rstrip()) from error


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Switch a file to the write-ahead log, with retries.

    SQLite's own busy timeout doesn't cover two processes that switch a new file at the same time.
    """
    deadline_s = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline_s:
                raise
            time.sleep(0.005)


def _make_tables(kind: FileKind, db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        # two processes may open a new file at once: check again inside the transaction
        if not _is_made(kind, db, path):
            for statement in kind.schema.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {kind.application_id}")
            db.execute(f"PRAGMA user_version = {kind.format}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _is_made(kind: FileKind, db: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables exist; False for an empty database.

    Raises:
        StateError: the file is of another kind or format.
    """
    application, version, tables = (
        int(db.execute(query).fetchone()[0])
        for query in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if not application and not tables:
        return False
    if application != kind.application_id:
        raise StateError(f"the file is no {kind.name}", where=str(path), hint="name another file")
    if version != kind.format:
        raise StateError(
            f"the {kind.name} has format {version}, this is for {kind.format}",
            where=str(path),
            hint="use the version of claimtrace that wrote it",
        )
    return True


def _named(kind: FileKind, error: sqlite3.Error, where: str) -> ClaimtraceError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code in _TRANSIENT:
        what, hint = _TRANSIENT[code]
        return StoreUnavailable(what.format(kind=kind.name), where=where, hint=hint)
    detail: Any = error.args[0] if error.args else error
    return StateError(
        f"the {kind.name} can't be read: {detail}", where=where, hint="restore it from a back-up"
    )
