"""Read a Parquet file in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from claimtrace.errors import UsageError

from ..replay.cells import BadCell
from ..replay.rows import RowBatch
from .table_header import check_header

_BATCH_ROWS: Final = 20_000


def parquet_batches(path: Path, wanted: Sequence[str]) -> Iterator[RowBatch]:
    """Yield the columns that are wanted, with the values that Python has for their types.

    Raises:
        ConfigError: a column is missing.
        UsageError: the file is missing, broken, or has two columns of one name.
    """
    try:
        with pq.ParquetFile(path) as file:
            check_header(file.schema_arrow.names, wanted, str(path))
            row = 1
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
                columns = {name: cells_of(batch[name]) for name in batch.schema.names}
                yield RowBatch(row, columns)
                row += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UsageError(f"can't read the file: {reason}", where=str(path)) from error


def cells_of(column: Any) -> list[Any]:
    """Return the values of an Arrow column; `BadCell` for those that Python can't hold."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":  # would become pandas' own type
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        # the shortest decimal of the narrow type: 0.1, not the 0.10000000149 of its double
        narrow = column.to_numpy(False)
        return [None if each != each else float(str(each)) for each in narrow]
    try:
        cells: list[Any] = column.to_pylist()
        return cells
    except (ValueError, ArithmeticError, pa.ArrowException):
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, ArithmeticError, pa.ArrowException):
        return BadCell(f"a {scalar.type} that Python can't hold")
