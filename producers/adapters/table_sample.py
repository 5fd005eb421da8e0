"""A sample of a table: the first rows of a CSV or Parquet file, as texts, within limits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from claimtrace.errors import UsageError

from ..guessing.column_facts import CellKind, Column
from ..guessing.names import plain
from ..guessing.table_form import TableForm, form_of, in_plain_numbers, separator_of

SAMPLE_ROWS: Final = 5_000
MOST_COLUMNS: Final = 1_000
_BLOCK_BYTES: Final = 8 << 20
_MOST_CELL_CHARS: Final = 200
_MOST_HEADER_BYTES: Final = 1 << 20


class Sample(NamedTuple):
    """The columns of a file with the cells of its first rows, and its form."""

    columns: list[Column]
    form: TableForm


def read_sample(path: Path) -> Sample:
    """Return the columns of a file with the cells of its first rows.

    Raises:
        UsageError: the file can't be read, has no row, too many columns, or a name twice.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            sample = Sample(_parquet(path), TableForm())
        elif suffix in (".csv", ".gz"):
            sample = _csv(path)
        else:
            raise UsageError(f"a {suffix or 'file without suffix'} can't be read", where=str(path),
                             hint="give a .csv or a .parquet file")  # fmt: skip
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:  # not UTF-8, a year
        reason = plain(str(error).split("\n", maxsplit=1)[0], 200)
        raise UsageError(f"can't read the table: {reason}", where=str(path),
                         hint="the file is UTF-8, with a line of column names first",
                         ) from error  # fmt: skip
    if not sample.columns or not sample.columns[0].cells:
        raise UsageError("the table has no rows", where=str(path))
    return sample


def _csv(path: Path) -> Sample:
    options = csv.ReadOptions(block_size=_BLOCK_BYTES)
    delimiter = separator_of(_first_line(path))
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with csv.open_csv(path, read_options=options, parse_options=parsing) as probe:
        names = probe.schema.names
    _check_columns(names, path)
    converting = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    with csv.open_csv(
        path, read_options=options, parse_options=parsing, convert_options=converting
    ) as reader:
        batch = next(iter(reader), None)
    if batch is None:
        return Sample([], TableForm(delimiter))
    rows = batch.slice(0, SAMPLE_ROWS)
    columns = [
        Column(name, "text", [_cut(cell) or None for cell in rows.column(at).to_pylist()])
        for at, name in enumerate(names)
    ]
    form = form_of(columns, delimiter)
    return Sample(in_plain_numbers(columns, form), form)


def _first_line(path: Path) -> str:
    with pa.input_stream(str(path), compression="detect") as file:
        head: bytes = file.read(_MOST_HEADER_BYTES)
    return head.decode("utf-8-sig", errors="replace").partition("\n")[0].rstrip("\r")


def _parquet(path: Path) -> list[Column]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_columns(schema.names, path)
        batch = next(file.iter_batches(batch_size=SAMPLE_ROWS), None)
    if batch is None:
        return []
    return [
        _column(name, schema.field(at).type, batch.column(at))
        for at, name in enumerate(batch.schema.names)
    ]


def _check_columns(names: list[str], path: Path) -> None:
    if len(names) > MOST_COLUMNS:
        raise UsageError(f"the table has more than {MOST_COLUMNS:,} columns", where=str(path))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"a column is there twice: {plain(twice[0])}", where=str(path),
                         hint="give each column another name")  # fmt: skip


def _column(name: str, kind: pa.DataType, cells: Any) -> Column:
    """Return a column of a Parquet file as `replay` reads it."""
    if pa.types.is_dictionary(kind):
        kind, cells = kind.value_type, cells.dictionary_decode()
    if pa.types.is_timestamp(kind):
        cells = cells.cast(pa.timestamp("us", kind.tz), safe=False)
    told = _kind(kind)
    if told == "other":
        return Column(name, told, [None] * len(cells))
    values = cells.to_pylist()
    if told == "time":
        return Column(
            name, told, [None if value is None else value.isoformat() for value in values]
        )
    shown = [None if value is None or value != value else _cut(str(value)) for value in values]
    return Column(name, told, shown)


def _kind(kind: pa.DataType) -> CellKind:
    types = pa.types
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return "other"


def _cut(cell: str) -> str:
    return cell[:_MOST_CELL_CHARS]
