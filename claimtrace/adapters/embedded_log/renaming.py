"""Rename a topic of an embedded log; checksums of batches cover the name, so they are made anew."""

from __future__ import annotations

import sqlite3
from typing import Final

from .record_batch import checksum, damaged

_NEXT: Final = (
    "SELECT partition, base, count, crc, body FROM batches WHERE topic_id = ? "
    "AND (partition, base) > (?, ?) ORDER BY partition, base LIMIT 1"
)
_UPDATE: Final = "UPDATE batches SET crc = ? WHERE topic_id = ? AND partition = ? AND base = ?"


def rename_topic(db: sqlite3.Connection, topic_id: int, before: str, after: str) -> None:
    """Rename a topic, batch by batch; the caller has begun a transaction.

    Raises:
        StateError: a batch doesn't match its checksum.
    """
    at = (-1, -1)
    while (row := db.execute(_NEXT, (topic_id, *at)).fetchone()) is not None:
        partition, base, count, crc, body = row
        if checksum(before, partition, base, count, body) != crc:
            raise damaged(before, partition, base, count, "restore the log from a back-up")
        renamed = checksum(after, partition, base, count, body)
        db.execute(_UPDATE, (renamed, topic_id, partition, base))
        at = (partition, base)
    db.execute("UPDATE topics SET topic = ? WHERE topic_id = ?", (after, topic_id))
