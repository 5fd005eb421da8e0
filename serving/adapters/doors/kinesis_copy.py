"""A copy of the streams of decisions and dead letters, in a file beside the state.

A stream of Kinesis can't be read at a position, gives a shard five reads a second, and forgets
records after some time. The copy gives every record a position within its shard, and is asked
instead. It is made from the streams alone: it may be removed at any time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from claimtrace.adapters.kinesis.header_envelope import unwrapped
from claimtrace.closing import Closing
from claimtrace.events import Record
from stream.adapters.kinesis.polling import ShardPage

_MADE: Final = """
CREATE TABLE IF NOT EXISTS records (
  topic TEXT NOT NULL, shard INTEGER NOT NULL, position INTEGER NOT NULL,
  log_time_ms INTEGER NOT NULL, key BLOB NOT NULL, content BLOB NOT NULL,
  PRIMARY KEY (topic, shard, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reached (
  topic TEXT NOT NULL, shard INTEGER NOT NULL, next INTEGER NOT NULL, sequence TEXT NOT NULL,
  has_ended INTEGER NOT NULL, PRIMARY KEY (topic, shard)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (topic TEXT PRIMARY KEY, identity TEXT NOT NULL);
"""


class Reached(NamedTuple):
    """How far a shard was copied: the next position, and the last record's sequence number."""

    next: int = 0
    sequence: str = ""
    has_ended: bool = False


class KinesisCopy(Closing):
    """The records of some streams; of one thread.

    Args:
        path: the file; made if it isn't there.
        identities: of each topic's stream. A stream that was made anew is copied anew.
    """

    def __init__(self, path: Path, identities: Mapping[str, str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # what is lost is read from the stream again
        self._db.executescript(_MADE)
        for topic, identity in identities.items():
            known = self._db.execute(
                "SELECT identity FROM streams WHERE topic = ?", (topic,)
            ).fetchone()
            if known is None or known[0] != identity:
                self._begin(topic, identity)
        rows = self._db.execute("SELECT topic, shard, next, sequence, has_ended FROM reached")
        self.reached = {
            (topic, shard): Reached(at, sequence, bool(ended))
            for topic, shard, at, sequence, ended in rows
        }

    def add(self, topic: str, shard: int, page: ShardPage) -> None:
        """Append the records of one read of a shard."""
        before = self.reached.get((topic, shard), Reached())
        count = len(page.values)
        sequence = page.sequences[-1] if page.sequences else before.sequence
        after = Reached(before.next + count, sequence, page.iterator is None)
        self.reached[topic, shard] = after
        if after == before:
            return
        places = range(before.next, after.next)
        columns = zip(places, page.log_times_ms, page.keys, page.values, strict=True)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)",
            [(topic, shard, *column) for column in columns],
        )
        self._db.execute("INSERT OR REPLACE INTO reached VALUES (?, ?, ?, ?, ?)",
                         (topic, shard, *after))  # fmt: skip
        self._db.execute("COMMIT")

    def read(self, topic: str, shard: int, position: int, most: int) -> list[Record]:
        """Return records from a position on, with the headers that their content holds."""
        if self.reached.get((topic, shard), Reached()).next <= position:
            return []
        rows = self._db.execute(
            "SELECT position, log_time_ms, key, content FROM records "
            "WHERE topic = ? AND shard = ? AND position >= ? ORDER BY position LIMIT ?",
            (topic, shard, position, most),
        )
        found = []
        for at, log_time_ms, key, content in rows:
            value, headers = unwrapped(content)
            found.append(Record(topic, shard, at, key, value, log_time_ms, headers))
        return found

    def forget(self, topic: str, shard: int, position: int) -> None:
        """Remove what is before a position: nobody asks for it again."""
        self._db.execute("DELETE FROM records WHERE topic = ? AND shard = ? AND position < ?",
                         (topic, shard, position))  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _begin(self, topic: str, identity: str) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM records WHERE topic = ?", (topic,))
        self._db.execute("DELETE FROM reached WHERE topic = ?", (topic,))
        self._db.execute("INSERT OR REPLACE INTO streams VALUES (?, ?)", (topic, identity))
        self._db.execute("COMMIT")
