"""The SQLite file of the embedded log: its tables."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from ..files.sqlite_file import FileKind, open_file
from ..files.sqlite_file import named_errors as errors_of_file

_SCHEMA: Final = """
CREATE TABLE topics (
    topic TEXT NOT NULL PRIMARY KEY, topic_id INTEGER NOT NULL UNIQUE, partitions INTEGER NOT NULL
);
CREATE TABLE producer_sequences (name TEXT NOT NULL PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE batches (
    topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, base INTEGER NOT NULL,
    count INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (topic_id, partition, base)
);
"""

_LOG: Final = FileKind("log", 0x434C4D54, 1, _SCHEMA)  # "CLMT"


def open_log(path: Path, *, create: bool, durable: bool) -> sqlite3.Connection:
    """A connection to a log that is there, or was just made: see `open_file`."""
    return open_file(_LOG, path, create=create, durable=durable)


def named_errors(path: Path, place: str = "") -> AbstractContextManager[None]:
    """SQLite's errors as ours: what went wrong, in which file (and place), and what to do."""
    return errors_of_file(_LOG, path, place)
