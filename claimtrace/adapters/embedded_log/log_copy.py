"""A copy of an embedded log as of one moment, while other processes write to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ..files.sqlite_file import FileKind, named_errors
from .log import EmbeddedLog


class LogCopy(NamedTuple):
    """The content of a copied log: records by topic, and the last sequence of a producer."""

    records: dict[str, int]
    sequence: int


def copy_log(path: Path, target: Path, producer: str) -> LogCopy:
    """Copy a log into a new file by SQLite's online backup; returns what the copy holds.

    The copy is that of one moment: all pages are read in one transaction. Writers go on meanwhile.

    Raises:
        StateError: the log is damaged, or the target isn't a new file.
        StoreUnavailable: the disk is full, or the log can't be read now.
    """
    copy_pages(path, target)
    return look_at(target, producer)


def copy_pages(path: Path, target: Path, name: str = "log") -> None:
    """Copy any SQLite file of ours as of one moment, into a new file; `name` is for messages.

    Raises:
        StateError, StoreUnavailable: as `copy_log`.
    """
    with named_errors(FileKind(name, 0, 0, ""), path):
        source = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)
        try:
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                source.backup(copy, pages=-1)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            finally:
                copy.close()
        finally:
            source.close()


def look_at(path: Path, producer: str) -> LogCopy:
    """Return what a copied log holds; nobody else has it open."""
    with EmbeddedLog(path, create=False) as log:
        records = {topic: sum(log.ends(topic)) for topic in log.topics()}
        return LogCopy(records, max(0, log.producer_sequence(producer)))
