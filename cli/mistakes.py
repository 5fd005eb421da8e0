"""Errors of the machine that a person can put right, as errors of ours: no rights, a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from claimtrace.errors import UsageError

_WRITABLE: Final = "check with ls -ld who may use it, or name another --folder"
_ROOM: Final = "free some disk space"
_HINTS: Final = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: "it is mounted read-only: name another --folder, or a copy of this one",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "the file system allows no file as large",
    errno.ENOTDIR: "a part of this path is a file: name another --folder",
    errno.EISDIR: "it is a folder: name a file",
    errno.EEXIST: "something else has this name: name another --folder",
    errno.ENAMETOOLONG: "a part of this path is too long",
    errno.ELOOP: "links on this path lead in a circle",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}


def mistake(error: Exception) -> UsageError | None:
    """Return an error of the machine with its hint; None for any that a person can't mend.

    >>> told = mistake(OSError(errno.EROFS, "Read-only file system", "/evidence/log.db"))
    >>> told.what, told.where
    ('read-only file system', '/evidence/log.db')
    >>> mistake(OSError(errno.EPIPE, "Broken pipe"))
    """
    if not isinstance(error, OSError) or (hint := _HINTS.get(error.errno or 0)) is None:
        return None
    what = os.strerror(error.errno or 0)
    where = os.fsdecode(error.filename) if error.filename is not None else ""
    return UsageError(what[:1].lower() + what[1:], where=where, hint=hint)


def check_names(arguments: Iterable[str]) -> None:
    """Refuse names that aren't UTF-8: stores couldn't open files by them.

    Raises:
        UsageError: shows the argument with the bytes that aren't text as escapes.

    >>> check_names(["--folder", os.fsdecode(b"claims-\\xff")])
    Traceback (most recent call last):
    ...
    claimtrace.errors.UsageError: a name is not UTF-8 [claims-\\xff] (rename it)
    """
    for each in arguments:
        if any("\ud800" <= c <= "\udfff" for c in each):
            shown = os.fsencode(each).decode(errors="backslashreplace")
            raise UsageError("a name is not UTF-8", where=shown, hint="rename it")


def check_folder(folder: Path) -> None:
    """Refuse a folder that can't be one: a file has its name or stands in its path.

    Raises:
        UsageError: names the file.
    """
    check_names([os.path.abspath(folder)])
    for path in (folder, *folder.parents):
        if path.is_dir():
            return
        if os.path.lexists(path):
            raise UsageError("there is a file where a folder should be", where=str(path),
                             hint="name another --folder")  # fmt: skip


def check_writable(path: Path) -> None:
    """Refuse a path that this user can't write to, before long work whose result belongs there.

    Raises:
        UsageError: names the path, or the folder in which it can't be made.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(there, os.W_OK, effective_ids=True):
        raise UsageError("no right to write", where=str(there), hint=_WRITABLE)
