"""Read CSV and Parquet files in batches of rows, holding one batch at a time, and replay them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from claimtrace.clock import Clock
from claimtrace.errors import UsageError
from claimtrace.events import Outgoing

from ..replay.mapping import ReplayMapping, load_mapping
from ..replay.mapping_check import KnownEvents
from ..replay.order import merge_by_arrival, paced
from ..replay.replay import Replay
from ..replay.report import ReplayReport
from ..replay.rows import RowBatch
from ..sending.sink import Progress, Sink, no_progress
from .csv_files import csv_batches
from .parquet_files import parquet_batches

_SEND_RECORDS = 5_000
_FLUSH_DEADLINE_S = 30.0


def read_mapping(path: Path) -> ReplayMapping:
    """Read the mapping from a TOML file.

    Raises:
        UsageError: the file can't be read.
        ConfigError: the file isn't a valid mapping.
    """
    try:
        return load_mapping(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"can't read the mapping: {error.strerror}", where=str(path)) from error


def row_batches(path: Path, mapping: ReplayMapping) -> Iterator[RowBatch]:
    """Read the mapping's columns of a `.csv` (or `.csv.gz`) or a `.parquet` file, row by row.

    All values of a CSV file are text.

    Raises:
        ConfigError: a column of the mapping is missing.
        UsageError: the file is missing, of another format, or broken; names file and reason.
    """
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return parquet_batches(path, mapping.columns())
    if suffix in (".csv", ".gz"):
        return csv_batches(path, mapping)
    raise UsageError(
        f"a {suffix or 'file without suffix'} can't be replayed",
        where=str(path),
        hint="give a .csv or a .parquet file",
    )


class TableReplay:
    """The replay of some files, merged by arrival.

    Args:
        files: each with its mapping.
        known: the domain's event types.
        partitions: of the topics written, or `BY_KEY`.
        clock: for the pace, and for rows that are ahead of it.
        where: the mapping's file, for errors; the table's by default.

    Raises:
        ConfigError: a mapping doesn't fit the event types; no file was opened yet.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, ReplayMapping]],
        known: KnownEvents,
        partitions: int,
        clock: Clock,
        where: str = "",
    ) -> None:
        self._clock = clock
        self._files = files
        self._replays = [
            Replay(mapping, known, partitions, clock.now_ms, str(path), where)
            for path, mapping in files
        ]

    @property
    def reports(self) -> list[ReplayReport]:
        """The report of each file so far."""
        return [each.report for each in self._replays]

    @property
    def may_have_dead_letters(self) -> bool:
        """Whether rows that can't be read go to the dead-letter topic."""
        return any(mapping.on_bad_row == "dead" for _, mapping in self._files)

    def records(self, reading: Progress = no_progress) -> Iterator[Outgoing]:
        """Yield all records in order of arrival; `reading` is called with the rows of each batch.

        A table that is sorted is read to its end before its first record.
        """
        sources = [
            replay.records(_told(row_batches(path, mapping), reading))
            for replay, (path, mapping) in zip(self._replays, self._files, strict=True)
        ]
        return merge_by_arrival(*sources) if len(sources) != 1 else sources[0]

    def batches(
        self, speed: float = 0.0, reading: Progress = no_progress
    ) -> Iterator[list[Outgoing]]:
        """Yield the records in batches, at `speed` times real time; 0 doesn't wait."""
        return paced(self.records(reading), self._clock, speed, _SEND_RECORDS)


def _told(batches: Iterator[RowBatch], reading: Progress) -> Iterator[RowBatch]:
    for batch in batches:
        yield batch
        reading(len(next(iter(batch.columns.values()))))


def replay_files(
    files: Sequence[tuple[Path, ReplayMapping]],
    known: KnownEvents,
    sink: Sink,
    partitions: int,
    clock: Clock,
    speed: float = 0.0,
    progress: Progress = no_progress,
) -> list[ReplayReport]:
    """Send the events of some files, merged by arrival; returns the report of each file.

    Args:
        files: each with its mapping.
        known: the domain's event types.
        sink: flushed at the end, within 30 s.
        partitions: of the topics written.
        clock: for the pace, and for rows that are ahead of it.
        speed: times real time; 0 doesn't wait.
        progress: called with the number of records of each batch sent.
    """
    tables = TableReplay(files, known, partitions, clock)
    for batch in tables.batches(speed):
        sink.send(batch)
        progress(len(batch))
    sink.flush(_FLUSH_DEADLINE_S)
    return tables.reports
