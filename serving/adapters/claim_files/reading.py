"""Read a file of claims row by row, with bounds on lines and cells."""

from __future__ import annotations

import csv
import gzip
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from claimtrace.errors import UsageError
from claimtrace.events import Event
from claimtrace.limits import MAX_VALUE_BYTES
from producers.adapters.parquet_files import cells_of

from ...batches.rows import Row, TableRows, row_of_json
from .form import form_of

_BATCH_ROWS: Final = 5_000
_MAX_LINE_BYTES: Final = MAX_VALUE_BYTES + 1
"""One byte more than a value may have: a longer line is cut there, and refused as too large."""
_MAX_LINE_CHARS: Final = 1 << 20
_MAX_COLUMNS: Final = 2_000
_BLOCK: Final = 1 << 20


class ClaimFile:
    """A file of claims; the form is that of its name.

    Args:
        path: the file.
        kind: the domain's event type of claims.

    Raises:
        UsageError: the file can't be read, or its name doesn't say its form.
    """

    def __init__(self, path: Path, kind: type[Event]) -> None:
        self._path, self._kind = path, kind
        self.form, self._gzip = form_of(path)
        with _told(path), self._opened() as file:
            self.columns = self._columns(file)
            """The columns of a table; of NDJSON the fields of the event."""

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes."""
        with _told(self._path), self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def lines(self) -> int | None:
        """Return about how many rows there are, for a progress bar; None where that takes long."""
        with _told(self._path):
            if self.form == "parquet":
                with self._opened() as file, pq.ParquetFile(file) as table:
                    return int(table.metadata.num_rows)
            if self._gzip:
                return None
            with self._path.open("rb") as file:
                blocks = iter(lambda: file.read(_BLOCK), b"")
                return sum(block.count(b"\n") for block in blocks)

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; blank lines aren't rows.

        Raises:
            UsageError: the file is broken; names the line.
        """
        with _told(self._path), self._opened() as file:
            if self.form == "ndjson":
                yield from _json_rows(file)
            elif self.form == "csv":
                yield from self._csv_rows(file)
            else:
                yield from self._parquet_rows(file)

    def schema(self) -> pa.Schema | None:
        """Return the types of the columns of a Parquet file; None for other forms."""
        if self.form != "parquet":
            return None
        with _told(self._path), self._opened() as file, pq.ParquetFile(file) as table:
            return table.schema_arrow

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """Open the file, decompressed; one of Parquet is read from its end, so it is copied."""
        if not self._gzip:
            with self._path.open("rb") as file:
                yield file
            return
        with gzip.open(self._path, "rb") as packed:
            if self.form != "parquet":
                yield packed  # type: ignore[misc]
                return
            with tempfile.TemporaryFile() as whole:
                shutil.copyfileobj(packed, whole, _BLOCK)
                whole.seek(0)
                yield whole

    def _columns(self, file: IO[bytes]) -> list[str]:
        if self.form == "ndjson":
            return list(self._kind.__struct_fields__)
        if self.form == "parquet":
            with pq.ParquetFile(file) as table:
                names = list(table.schema_arrow.names)
        else:
            names = next(self._csv_records(file), [])
        self._check_columns(names)
        return names

    def _check_columns(self, names: list[str]) -> None:
        wanted, where = self._kind.id_field, str(self._path)
        if wanted not in names:
            raise UsageError(
                f"there is no column {wanted}", where=where,
                hint="name the columns as the event's fields, or put the file on the log with "
                "`claimtrace replay` and a mapping",
            )  # fmt: skip
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None or len(names) > _MAX_COLUMNS:
            what = f"two columns are named {twice!r}" if twice else f"{len(names):,} columns"
            raise UsageError(what, where=where, hint="is it a table of claims?")

    def _csv_rows(self, file: IO[bytes]) -> Iterator[Row]:
        records = self._csv_records(file)
        table = TableRows(next(records, []), self._kind)
        yield from map(table.row, records)

    def _csv_records(self, file: IO[bytes]) -> Iterator[list[str]]:
        """Yield the header and the rows that aren't blank."""
        rows = csv.reader(_text_lines(file, str(self._path)), strict=True)
        try:
            for row in rows:
                if row:
                    yield row
        except csv.Error as error:
            raise UsageError(
                f"line {rows.line_num}: {error}", where=str(self._path),
                hint="separate cells by commas, and close each quote",
            ) from None  # fmt: skip

    def _parquet_rows(self, file: IO[bytes]) -> Iterator[Row]:
        with pq.ParquetFile(file) as table:
            rows = TableRows(table.schema_arrow.names, self._kind)
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                columns = [cells_of(batch.column(i)) for i in range(batch.num_columns)]
                yield from map(rows.row, zip(*columns, strict=True))


def _json_rows(file: IO[bytes]) -> Iterator[Row]:
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) >= _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(_BLOCK)) and not rest.endswith(b"\n"):
                pass
        if line.strip():
            yield row_of_json(line.rstrip(b"\r\n"))


def _text_lines(file: IO[bytes], where: str) -> Iterator[str]:
    """Yield the lines of a file in UTF-8, each of a bounded length."""
    number = 0
    while line := file.readline(_MAX_LINE_CHARS):
        number += 1
        if len(line) >= _MAX_LINE_CHARS and not line.endswith(b"\n"):
            raise UsageError(f"line {number} has more than {_MAX_LINE_CHARS:,} characters",
                             where=where, hint="is it a CSV file?")  # fmt: skip
        yield line.decode("utf-8-sig" if number == 1 else "utf-8")


_UNREADABLE: Final[dict[type[Exception], Callable[[Any], str]]] = {
    UnicodeDecodeError: lambda error: f"it isn't in UTF-8: byte 0x{error.object[error.start]:02x}",
    EOFError: lambda _: "it ends too early",
}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the errors of reading a file into one for its owner."""
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pa.ArrowException) as error:
        words = _UNREADABLE.get(type(error))
        reason = words(error) if words else (
            getattr(error, "strerror", None) or str(error).split("\n", maxsplit=1)[0])  # fmt: skip
        raise UsageError(f"can't read the claims: {reason}", where=str(path)) from error
