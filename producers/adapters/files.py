"""Read CSV and Parquet files in batches of rows, holding one batch at a time, and replay them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from claimtrace.clock import Clock
from claimtrace.errors import UsageError

from ..replay.mapping import ReplayMapping, load_mapping
from ..replay.replay import Replay, RowBatch, merge_by_arrival, paced
from ..sending.sink import Progress, Sink, no_progress

_BATCH_ROWS: Final = 20_000
_BLOCK_BYTES: Final = 4 << 20
_FLUSH_DEADLINE_S: Final = 30.0


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


def row_batches(path: Path, columns: Sequence[str]) -> Iterator[RowBatch]:
    """Read columns of a `.csv` (or `.csv.gz`) or a `.parquet` file, in the order of its rows.

    All values of a CSV file are text, and only the empty text counts as missing.

    Args:
        path: the file; its suffix decides on the format.
        columns: names to read. Those that the file lacks are left out, for the caller to report.

    Raises:
        UsageError: the file is missing, of another format, or broken; names file and reason.
    """
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            batches = _parquet(path, columns)
        elif path.suffix.lower() in (".csv", ".gz"):
            batches = _csv(path, columns)
        else:
            raise UsageError(
                f"a {path.suffix or 'file without suffix'} can't be replayed",
                where=str(path),
                hint="give a .csv or a .parquet file",
            )
        row = 1
        for batch in batches:
            yield RowBatch(row, {name: _cells(batch[name]) for name in batch.schema.names})
            row += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UsageError(f"can't read the file: {reason}", where=str(path)) from error


def replay_files(
    files: Sequence[tuple[Path, ReplayMapping]],
    sink: Sink,
    partitions: int,
    clock: Clock,
    speed: float = 0.0,
    progress: Progress = no_progress,
) -> int:
    """Send the events of some files, merged by arrival; returns the number of records sent.

    Args:
        files: each with its mapping.
        sink: flushed at the end, within 30 s.
        partitions: of the topics written.
        clock: for the pace.
        speed: times real time; 0 doesn't wait.
        progress: called with the number of records of each batch sent.
    """
    sources = [
        Replay(mapping, partitions, str(path)).records(row_batches(path, mapping.columns()))
        for path, mapping in files
    ]
    sent = 0
    for batch in paced(merge_by_arrival(*sources), clock, speed, _BATCH_ROWS // 4):
        sink.send(batch)
        sent += len(batch)
        progress(len(batch))
    sink.flush(_FLUSH_DEADLINE_S)
    return sent


def _cells(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):  # nanoseconds would become pandas' own type
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    cells: list[Any] = column.to_pylist()
    return cells


def _csv(path: Path, columns: Sequence[str]) -> Iterable[Any]:
    # opened twice: every column is forced to text, for which the names must be known
    with csv.open_csv(path) as probe:
        there = probe.schema.names
    return csv.open_csv(  # type: ignore[no-any-return]
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(there, pa.string()),
            strings_can_be_null=False,
            include_columns=[name for name in columns if name in there] or there,
        ),
    )


def _parquet(path: Path, columns: Sequence[str]) -> Iterable[Any]:
    file = pq.ParquetFile(path)
    there = file.schema_arrow.names
    wanted = [name for name in columns if name in there] or there
    return file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted)  # type: ignore[no-any-return]
