"""The embedded log: partitioned topics in one SQLite file, durable when `append` returns.

Records are stored in *batches*, as on Kafka: a row is up to `BATCH_RECORDS` records of one
partition with their first position, a checksum and one body (see `record_batch`). A commit is the
unit of atomicity and durability: write-ahead log, one sync a commit. One process writes at a time,
any number reads; SQLite arbitrates. Positions start at 0 and have no gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ...batches.outgoing import OutgoingBatch, OutgoingColumns
from ...batches.records import Records
from ...buffers.byte_strings import ByteStrings
from ...closing import Closing
from ...errors import ConfigError, StateError
from ...events import Outgoing, Record
from ..files.sqlite_file import FileKind, named_errors, open_file, open_to_read
from .merge import MergedReader
from .record_batch import checksum, damaged, decode_batch, encode_batch
from .renaming import rename_topic

BATCH_RECORDS: Final = 1000
"""Records of one row: enough that a row's overhead is negligible, few enough to decode for one."""

_MAX_PARTITIONS: Final = 1024

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

_INSERT: Final = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_END: Final = (
    "SELECT base + count FROM batches WHERE topic_id = ? AND partition = ? "
    "ORDER BY base DESC LIMIT 1"
)
_BATCH_AT: Final = (
    "SELECT base, count, crc, body FROM batches WHERE topic_id = ? AND partition = ? AND base <= ? "
    "ORDER BY base DESC LIMIT 1"
)


class EmbeddedLog(Closing):
    """A durable, partitioned log in one file.

    Args:
        path: the SQLite file; its folder is created too when `create` is set.
        create: create a missing file; otherwise a missing file is a `StateError`.
        durable: sync at every commit. Without it a power cut may lose the last commits; a crash of
            the process doesn't.
        to_read: only to read; the folder may be read-only.

    Raises:
        StateError: the file is missing, damaged, or not a log of this version.
        StoreUnavailable: the file can't be opened or written now: disk full, locked, no rights.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, EmbeddedLog(Path(folder) / "log") as log:
    ...     log.create_topic("claims.filed", 4)
    ...     log.append([Outgoing("claims.filed", 3, b"p-1", b"{}", 1_700_000_000_000)])
    ...     log.read("claims.filed", 3, 0, 10)[0].value
    True
    b'{}'
    """

    def __init__(
        self, path: Path, *, create: bool = True, durable: bool = True, to_read: bool = False
    ) -> None:
        self._path = path
        opened = open_to_read(_LOG, path) if to_read else None
        self._db = opened or open_file(_LOG, path, create=create, durable=durable)
        self._topics: dict[str, tuple[int, int]] = {}
        self._last_batch: dict[tuple[str, int], Records] = {}
        self._merged: MergedReader | None = None
        self._commits = 0
        self._in_transaction = False

    # -- topics -----------------------------------------------------------------------------------

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic; a no-op when it exists with the same number of partitions.

        Raises:
            ConfigError: the topic exists with another number of partitions: keys would move to
                other partitions.
        """
        if not 1 <= partitions <= _MAX_PARTITIONS:
            raise ConfigError(f"{partitions} partitions: 1 .. {_MAX_PARTITIONS}", where=topic)
        with self.transaction():
            has = self._db.execute(
                "SELECT partitions FROM topics WHERE topic = ?", (topic,)
            ).fetchone()
            if has is None:
                self._db.execute(
                    "INSERT INTO topics SELECT ?, coalesce(max(topic_id), 0) + 1, ? FROM topics",
                    (topic, partitions),
                )
            elif has[0] != partitions:
                raise ConfigError(
                    f"topic has {has[0]} partitions, not {partitions}",
                    where=topic,
                    hint=f"set partitions = {has[0]}, or start a new log",
                )

    def topics(self) -> dict[str, int]:
        """Return every topic with its number of partitions, oldest first."""
        with self._named_errors():
            rows = self._db.execute("SELECT topic, partitions FROM topics ORDER BY topic_id")
            return dict(rows.fetchall())

    # -- writing ----------------------------------------------------------------------------------

    def append(
        self, records: Sequence[Outgoing], *, producer: tuple[str, int] | None = None
    ) -> bool:
        """Append all records, or none; they are durable when this returns.

        Args:
            records: in order, for any topics and partitions.
            producer: (name, sequence). A sequence that isn't above the last stored one of that name
                is a duplicate: nothing is written. That makes re-emission after a crash harmless.

        Returns:
            False for a duplicate, else True.
        """
        with self.transaction():
            if producer is not None:
                name, sequence = producer
                if sequence <= self.producer_sequence(name):
                    return False
                self._db.execute(
                    "INSERT INTO producer_sequences VALUES (?1, ?2) "
                    "ON CONFLICT (name) DO UPDATE SET sequence = ?2",
                    (name, sequence),
                )
            for part in OutgoingBatch.of(records).parts:
                for partition, columns in part.by_partition():
                    self._append(partition, columns)
        return True

    def append_columns(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes] | None,
        values: Sequence[bytes],
        log_times_ms: Sequence[int] | npt.NDArray[np.int64],
    ) -> None:
        """Append columns to one partition: the fast path.

        Several calls inside `transaction` are one commit.
        """
        with self.transaction():
            columns = OutgoingColumns(
                topic,
                np.full(len(values), partition),
                ByteStrings.none(len(values)) if keys is None else ByteStrings.of(keys),
                ByteStrings.of(values),
                np.asarray(log_times_ms, np.int64),
            )
            self._append(partition, columns)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one commit of everything appended inside; an exception rolls all of it back."""
        if self._in_transaction:
            yield
            return
        with self._named_errors():
            self._db.execute("BEGIN IMMEDIATE")
            self._in_transaction = True
            try:
                yield
                self._db.execute("COMMIT")
                self._commits += 1
            except BaseException:
                if self._db.in_transaction:  # SQLite has rolled back by itself on some errors
                    self._db.execute("ROLLBACK")
                self._topics.clear()
                self._merged = None  # it may have read ahead records that were rolled back
                raise
            finally:
                self._in_transaction = False

    def rename(self, topics: Mapping[str, str], sequences: Mapping[str, str]) -> None:
        """Give topics and producers' sequences new names, which must be free, in one commit."""
        with self.transaction():
            for before, after in topics.items():
                rename_topic(self._db, self._topic(before)[0], before, after)
            for names in sequences.items():
                self._db.execute("UPDATE producer_sequences SET name = ?2 WHERE name = ?1", names)
        self._topics.clear()
        self._last_batch.clear()
        self._merged = None

    def producer_sequence(self, name: str) -> int:
        """Return the last sequence stored for a producer; -1 when there is none."""
        with self._named_errors():
            row = self._db.execute(
                "SELECT sequence FROM producer_sequences WHERE name = ?", (name,)
            ).fetchone()
        return -1 if row is None else int(row[0])

    # -- reading ----------------------------------------------------------------------------------

    def ends(self, topic: str) -> list[int]:
        """Return the next position to be written, for each partition."""
        topic_id, partitions = self._topic(topic)
        return [self._end(topic_id, partition) for partition in range(partitions)]

    def read(self, topic: str, partition: int, from_position: int, max_records: int) -> Records:
        """Return up to `max_records` records from a position on; fewer only at the partition's end.

        Raises:
            StateError: a batch doesn't match its checksum, or one is missing.
        """
        return Records.joined(self._pieces(topic, partition, from_position, max_records))

    def read_range(
        self, topic: str, partition: int, from_position: int, to_position: int
    ) -> Records:
        """Return the records of `[from_position, to_position)`.

        Raises:
            StateError: the partition ends before `to_position`, or a batch is damaged.
        """
        wanted = max(0, to_position - from_position)
        found = self.read(topic, partition, from_position, wanted)
        if len(found) < wanted:
            raise StateError(
                f"the log ends at {from_position + len(found)}, before position {to_position}",
                where=f"{topic}/{partition}",
                hint="the log was replaced or cut; restore it from a back-up",
            )
        return found

    def merged(
        self,
        topics: Sequence[str],
        positions: Mapping[tuple[str, int], int],
        max_records: int,
    ) -> Records:
        """Return the next records over all partitions of the topics, the earliest log time first.

        The next record is always the head with the least (log_time_ms, index in `topics`,
        partition), so the order depends on the log and the positions alone, not on the sizes of the
        reads.

        Args:
            topics: in order of precedence among equal log times.
            positions: next position to read, by (topic, partition); 0 for those missing.
            max_records: fewer are returned only at the end of all partitions.
        """
        if self._merged is None or self._merged.topics != tuple(topics):
            parts = [(topic, p) for topic in topics for p in range(self._topic(topic)[1])]
            self._merged = MergedReader(tuple(topics), parts, self._pieces)
        return self._merged.take(positions, max_records, self._version())

    def last(self, topic: str, partition: int) -> Record | None:
        """Return the newest record of a partition, or None."""
        end = self._end(self._topic_id(topic, partition), partition)
        return self.read(topic, partition, end - 1, 1)[0] if end else None

    def close(self) -> None:
        """Close the file; SQLite moves the write-ahead log into it if no other process uses it."""
        self._db.close()

    def _named_errors(self, within: str = "") -> AbstractContextManager[None]:
        return named_errors(_LOG, self._path, within)

    def _topic(self, topic: str) -> tuple[int, int]:
        """Return the id and the number of partitions of a topic."""
        if topic not in self._topics:
            with self._named_errors():
                row = self._db.execute(
                    "SELECT topic_id, partitions FROM topics WHERE topic = ?", (topic,)
                ).fetchone()
            if row is None:
                raise ConfigError(
                    f"there is no topic {topic}", where=str(self._path), hint="create it first"
                )
            self._topics[topic] = (row[0], row[1])
        return self._topics[topic]

    def _topic_id(self, topic: str, partition: int) -> int:
        """Return the id of a topic that has the partition.

        Raises:
            ConfigError: the topic or the partition doesn't exist.
        """
        topic_id, partitions = self._topic(topic)
        if not 0 <= partition < partitions:
            raise ConfigError(
                f"there is no partition {partition}: topic {topic} has {partitions}",
                where=str(self._path),
            )
        return topic_id

    def _end(self, topic_id: int, partition: int) -> int:
        with self._named_errors():
            row = self._db.execute(_END, (topic_id, partition)).fetchone()
        return 0 if row is None else int(row[0])

    def _append(self, partition: int, columns: OutgoingColumns) -> None:
        topic, _, keys, values, times, headers = columns
        topic_id = self._topic_id(topic, partition)
        base = self._end(topic_id, partition)
        for start in range(0, len(values), BATCH_RECORDS):
            end = start + BATCH_RECORDS
            part, part_times = values[start:end], times[start:end]
            body = encode_batch(keys[start:end], part, part_times, headers and headers[start:end])
            crc = checksum(topic, partition, base, len(part), body)
            first_ms, last_ms = int(part_times.min()), int(part_times.max())
            row = (topic_id, partition, base, len(part), first_ms, last_ms, crc, body)
            self._db.execute(_INSERT, row)
            base += len(part)

    def _pieces(
        self, topic: str, partition: int, from_position: int, max_records: int
    ) -> list[Records]:
        """Return the records of `read` in pieces, one for each stored batch."""
        self._topic_id(topic, partition)
        if from_position < 0:
            raise ConfigError(f"position {from_position} is negative", where=topic)
        parts: list[Records] = []
        count = 0
        while count < max_records:
            batch = self._batch_at(topic, partition, from_position + count)
            if not len(batch):
                break
            start = from_position + count - int(batch.positions[0])
            parts.append(batch[start : start + max_records - count])
            count += len(parts[-1])
        return parts

    def _batch_at(self, topic: str, partition: int, position: int) -> Records:
        """Return the batch that holds a position, verified; empty at the end of the partition."""
        batch = self._last_batch.get((topic, partition))
        if batch is not None and 0 <= position - int(batch.positions[0]) < len(batch):
            return batch
        topic_id = self._topic(topic)[0]
        with self._named_errors(f"{topic}/{partition} position {position}"):
            row = self._db.execute(_BATCH_AT, (topic_id, partition, position)).fetchone()
        if row is None:
            if position == 0:
                return Records.of([])
            self._refuse_gap(topic, partition, position)
            return Records.of([])
        base, count, crc, body = row
        if position >= base + count:
            self._refuse_gap(topic, partition, position)
            return Records.of([])
        if checksum(topic, partition, base, count, body) != crc:
            hint = "restore the log from a back-up; earlier positions are intact"
            raise damaged(topic, partition, base, count, hint)
        batch = decode_batch(body, count, topic, partition, base)
        if not self._in_transaction:  # records that aren't committed may still be rolled back
            self._last_batch[topic, partition] = batch
        return batch

    def _refuse_gap(self, topic: str, partition: int, position: int) -> None:
        """Raise `StateError` when a position without a batch is before the partition's end."""
        topic_id = self._topic(topic)[0]
        if position < self._end(topic_id, partition):
            # another process may have appended it between our two queries
            row = self._db.execute(_BATCH_AT, (topic_id, partition, position)).fetchone()
            if row is not None and position < row[0] + row[1]:
                return
            raise StateError(
                "a record batch is missing",
                where=f"{topic}/{partition} position {position}",
                hint="restore the log from a back-up",
            )

    def _version(self) -> tuple[int, int]:
        """Return a value that changes whenever this or another process commits."""
        with self._named_errors():
            others: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return others, self._commits
