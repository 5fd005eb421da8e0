"""Write the output of a batch: aside, and under its name when it is whole."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from claimtrace.adapters.files.atomic_files import sync_folder
from claimtrace.errors import StateError

from ...batches.fields import PREFIX, Kind, kind_of
from ...batches.joining import Joined, json_line, table_columns, table_row
from .form import form_of

_GROUP_ROWS: Final = 20_000
_TOLD_LINES: Final = 1_000
_ARROW: Final[dict[Kind, Any]] = {
    "boolean": pa.bool_(), "float": pa.float64(), "integer": pa.int64(), "text": pa.string(),
    "json": pa.string(),
}  # fmt: skip


def write_output(
    path: Path,
    aside: Path,
    lines: Iterable[Joined],
    cells: Sequence[str],
    fields: Sequence[str],
    schema: pa.Schema | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the lines of the output in the form that its name says; the same lines, same bytes.

    Args:
        path: the output; it is replaced when everything is written.
        aside: where it is written first, on the same disk.
        lines: in order.
        cells: the columns of the input that a table keeps.
        fields: of the answers.
        schema: the types of the input's columns, where it has any.
        progress: called with the number of lines written.

    Raises:
        StateError: the disk is full or read-only; the old output is untouched.
    """
    form, is_packed = form_of(path)
    lines = _counted(lines, progress)
    try:
        with _opened(aside, is_packed=is_packed) as file:
            if form == "ndjson":
                for line in lines:
                    file.write(json_line(line) + b"\n")
            elif form == "csv":
                _write_csv(file, lines, table_columns(cells, fields))
            else:
                _write_parquet(file, lines, table_columns(cells, fields), schema)
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"can't write the output: {error.strerror}", where=str(path)) from error


def _counted(lines: Iterable[Joined], progress: Callable[[int], None]) -> Iterator[Joined]:
    for number, line in enumerate(lines, 1):
        yield line
        if number % _TOLD_LINES == 0:
            progress(_TOLD_LINES)


@contextmanager
def _opened(aside: Path, *, is_packed: bool) -> Iterator[IO[bytes]]:
    """Open a new file, which is synced at the end; no time or name goes into its compression."""
    with aside.open("wb") as file:
        if is_packed:
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        else:
            yield file
        file.flush()
        os.fsync(file.fileno())


def _write_csv(file: IO[bytes], lines: Iterable[Joined], columns: Sequence[str]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        writer.writerow([_shown(cell) for cell in table_row(line, columns)])
    text.detach()


def _shown(cell: Any) -> Any:
    return str(cell).lower() if isinstance(cell, bool) else cell


def _write_parquet(
    file: IO[bytes], lines: Iterable[Joined], columns: Sequence[str], schema: pa.Schema | None
) -> None:
    types = schema.remove_metadata() if schema is not None else None
    fields = [_field(name, types) for name in columns]
    whole = pa.schema(fields)
    rows: list[list[Any]] = []
    with pq.ParquetWriter(file, whole, compression="zstd") as writer:
        for line in lines:
            rows.append(table_row(line, columns))
            if len(rows) >= _GROUP_ROWS:
                writer.write_table(_table(rows, whole))
                rows.clear()
        writer.write_table(_table(rows, whole))


def _field(name: str, types: pa.Schema | None) -> pa.Field:
    if types is not None and name in types.names:
        return types.field(name)
    if name.startswith(PREFIX):
        return pa.field(name, _ARROW[kind_of(name.removeprefix(PREFIX))])
    return pa.field(name, pa.string())


def _table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [
        pa.array([_fitting(cell, field.type) for cell in column], field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _fitting(cell: Any, kind: pa.DataType) -> Any:
    return str(cell) if cell is not None and kind == pa.string() else cell
