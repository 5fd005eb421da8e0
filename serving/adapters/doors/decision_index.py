"""Where the decision on each claim lies: a file beside the log, made from the log alone.

It may be removed at any time; it is built again from the topic of decisions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from claimtrace.closing import Closing
from claimtrace.decisions import DECISIONS_TOPIC

from ...doors.waiting import decided_in

_MADE: Final = """
CREATE TABLE IF NOT EXISTS decisions (
  claim_id TEXT PRIMARY KEY, partition INTEGER NOT NULL, position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read_to (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
"""


class DecisionIndex(Closing):
    """Claim id -> partition and position of its newest decision; of one thread.

    Args:
        path: the file; made if it isn't there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # what is lost is read from the log again
        self._db.executescript(_MADE)

    def positions(self) -> dict[tuple[str, int], int]:
        """Return how far each topic and partition was read."""
        rows = self._db.execute("SELECT topic, partition, position FROM read_to")
        return {(topic, partition): position for topic, partition, position in rows}

    def add(
        self, records: Sequence[tuple[str, int, int, bytes]], positions: dict[tuple[str, int], int]
    ) -> None:
        """Add decisions, and note how far the log was read, in one commit.

        Args:
            records: topic, partition, position and value of each record; only those of the topic of
                decisions are kept.
            positions: the next position of each partition.
        """
        rows = []
        for topic, partition, position, value in records:
            found = decided_in(value) if topic == DECISIONS_TOPIC else None
            if found is not None:
                rows.append((found.claim_id, partition, position))
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?)", rows)
        self._db.executemany(
            "INSERT OR REPLACE INTO read_to VALUES (?, ?, ?)",
            [(topic, partition, at) for (topic, partition), at in positions.items()],
        )
        self._db.execute("COMMIT")

    def find(self, claim_id: str) -> tuple[int, int] | None:
        """Return partition and position of the newest decision on a claim."""
        row = self._db.execute(
            "SELECT partition, position FROM decisions WHERE claim_id = ?", (claim_id,)
        ).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def clear(self) -> None:
        """Forget everything: the log is another one."""
        self._db.executescript("DELETE FROM decisions; DELETE FROM read_to;")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
