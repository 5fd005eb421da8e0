"""Read a CSV file in batches of rows: strict, in any encoding, with bounds on lines and cells."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TextIO

from claimtrace.errors import UsageError

from ..replay.mapping import ReplayMapping
from ..replay.rows import RowBatch
from .table_header import check_header

_BATCH_ROWS: Final = 20_000
_BATCH_CHARS: Final = 16 << 20
_MAX_LINE_CHARS: Final = 1 << 20
_OTHER_DELIMITERS: Final = ";\t|,"


def csv_batches(path: Path, mapping: ReplayMapping) -> Iterator[RowBatch]:
    """Yield the mapping's columns as texts. Line breaks within cells stay as they are.

    Rows with too few or too many cells are faults of the batch. An unclosed quote is an error: the
    rows that it swallows would be lost.

    Raises:
        ConfigError: a column of the mapping is missing.
        UsageError: the file is missing, broken, or of another encoding or delimiter; names a line
            and the cause.
    """
    try:
        with _opened(path, mapping) as file:
            yield from _Table(file, path, mapping).batches()
    except (UnicodeError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, UnicodeError):
            raise _encoding_error(error, path, mapping.encoding) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"can't read the file: {reason}", where=str(path)) from error


def _opened(path: Path, mapping: ReplayMapping) -> TextIO:
    """Open the file as text; a byte order mark of UTF-8 is skipped."""
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as probe:
        start = probe.read(4)
    encoding = mapping.encoding.lower().replace("_", "-")
    if encoding in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
            raise UsageError("the file is in UTF-16", where=str(path),
                             hint="say encoding = 'utf-16' in the mapping")  # fmt: skip
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return open(path, encoding=encoding, newline="")


class _Table:
    """The rows of an open CSV file."""

    def __init__(self, file: TextIO, path: Path, mapping: ReplayMapping) -> None:
        self._file, self._path, self._mapping = file, path, mapping
        self._chars = 0
        self._row_line = 1  # where the row begins that is read
        self._rows = csv.reader(self._lines(), delimiter=mapping.delimiter, strict=True)

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows after the header."""
        header = next(self._records(), None)
        if header is None:
            raise UsageError("the file is empty", where=str(self._path))
        wanted = self._mapping.columns()
        self._check_delimiter(header, wanted)
        check_header(header, wanted, str(self._path))
        places = [header.index(name) for name in wanted]
        width, first_row = len(header), 1
        pick = itemgetter(*places) if len(places) > 1 else None
        picked: list[Any] = []
        faults: dict[int, str] = {}
        for row in self._records():
            if len(row) != width:
                faults[len(picked)] = f"has {len(row)} cells, the header has {width}"
                row += [""] * (width - len(row))
            picked.append(pick(row) if pick else (row[places[0]],))
            if len(picked) >= _BATCH_ROWS or self._chars > _BATCH_CHARS:
                yield RowBatch(first_row, self._columns(wanted, picked), faults)
                first_row, picked, faults, self._chars = first_row + len(picked), [], {}, 0
        if picked:
            yield RowBatch(first_row, self._columns(wanted, picked), faults)

    def _columns(self, wanted: list[str], picked: list[Any]) -> dict[str, list[Any]]:
        return dict(zip(wanted, map(list, zip(*picked, strict=True)), strict=True))

    def _records(self) -> Iterator[list[str]]:
        """Yield the rows that aren't blank."""
        try:
            for row in self._rows:
                self._row_line = self._rows.line_num + 1
                if row:
                    yield row
        except csv.Error as error:
            raise UsageError(
                f"the row at line {self._row_line} has a quote that isn't closed, or isn't "
                f"doubled: {error}",
                where=str(self._path),
                hint="close the quote in the file; a quote within a quoted cell is written twice",
            ) from None

    def _lines(self) -> Iterator[str]:
        """Yield the lines with their ends, each of a bounded length."""
        readline = self._file.readline
        while line := readline(_MAX_LINE_CHARS):
            self._chars += len(line)
            if len(line) >= _MAX_LINE_CHARS and line[-1] not in "\r\n":
                raise UsageError(
                    f"line {self._rows.line_num + 1} has more than {_MAX_LINE_CHARS:,} characters",
                    where=str(self._path), hint="is it a CSV file?",
                )  # fmt: skip
            yield line

    def _check_delimiter(self, header: list[str], wanted: list[str]) -> None:
        """Name the delimiter when the header has the columns only by another one."""
        if len(header) > 1 or header[0] in wanted:
            return
        for other in _OTHER_DELIMITERS:
            if other != self._mapping.delimiter and len(header[0].split(other)) > 1:
                shown = "\\t" if other == "\t" else other
                raise UsageError(
                    f"the columns are separated by {shown!r}, not {self._mapping.delimiter!r}",
                    where=str(self._path),
                    hint=f'say delimiter = "{shown}" in the mapping; see also decimal',
                )


def _encoding_error(error: UnicodeError, path: Path, encoding: str) -> UsageError:
    """Return the error of a file that is not in the encoding of the mapping."""
    at = ""
    if isinstance(error, UnicodeDecodeError):
        found = bytes(error.object[error.start : error.start + 1])
        at = f": it has the byte 0x{found.hex()}"
    if "8" in encoding:
        hint = "say its encoding in the mapping, such as latin-1, cp1252 or utf-16"
    else:
        hint = "say another encoding in the mapping, or leave it out for UTF-8"
    return UsageError(f"the file is not in {encoding}{at}", where=str(path), hint=hint)
