"""Open or create an SQLite file of one kind, and turn SQLite's errors into ours.

The write-ahead log is on; several processes may have the file open, and one writes at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
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
