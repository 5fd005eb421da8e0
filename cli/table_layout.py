"""The layout of tables: columns that fit the width, else wrapped, stacked or fewer of them.

Words, and so names and digests, are never broken: what is wider than the screen is left to the
terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from rich.text import Text

LEAST_WRAPPED: Final = 24
"""The least width of a column that wraps; with less the rows are stacked."""
MOST_CELL: Final = 60
"""Longer cells are cut where columns are left out."""
_GAP: Final = "  "
_INDENT: Final = 6

Row = Sequence[Text]


def lines_of(header: Row, rows: Sequence[Row], width: int, numbers: int, under: int) -> list[Text]:
    """Return the lines of a table.

    Args:
        header: the names of the columns.
        rows: with one cell a column.
        width: of the screen.
        numbers: how many of the last columns are right-aligned.
        under: how many of the last columns are put under each row when the table is too wide.
    """
    widths = _widths(header, rows)
    if _total(widths) <= width:
        return _grid(header, rows, widths, numbers)
    if under:
        return _with_notes(header, rows, width, under)
    last = len(widths) - numbers - 1
    room = width - _total([w for at, w in enumerate(widths) if at != last]) - len(_GAP)
    if last >= 0 and room >= min(LEAST_WRAPPED, widths[last]):
        return _wrapped(header, rows, widths, last, room, numbers)
    return stacked(header, rows, width)


def stacked(header: Row, rows: Sequence[Row], width: int) -> list[Text]:
    """Return a block of lines for each row: the name of a column and its value on a line each."""
    left = max((cell.cell_len for cell in header), default=0)
    lines: list[Text] = []
    for number, row in enumerate(rows):
        if number:
            lines.append(Text())
        for name, cell in zip(header, row, strict=True):
            first, *more = wrapped(cell, max(LEAST_WRAPPED, width - left - len(_GAP)))
            lines.append(Text.assemble(_padded(_dim(name), left), _GAP, first))
            lines += [Text(" " * left + _GAP) + line for line in more]
    return lines


def fitting_columns(header: Row, rows: Sequence[Row], width: int) -> int:
    """Return how many of the first columns fit the width, each cell cut at `MOST_CELL`; one at
    least."""
    used, count = 0, 0
    for each in _widths(header, rows):
        used += min(each, MOST_CELL) + (len(_GAP) if count else 0)
        if used > width and count:
            break
        count += 1
    return count


def cut(cell: Text) -> Text:
    """Return a cell of at most `MOST_CELL`, with dots where it was cut."""
    short = cell.copy()
    short.truncate(MOST_CELL, overflow="ellipsis")
    return short


def _grid(header: Row, rows: Sequence[Row], widths: list[int], numbers: int) -> list[Text]:
    named = [_dim(cell) for cell in header]
    return [_line(row, widths, numbers) for row in (named, *rows)]


def _wrapped(
    header: Row, rows: Sequence[Row], widths: list[int], at: int, room: int, numbers: int
) -> list[Text]:
    widths = [*widths[:at], min(room, widths[at]), *widths[at + 1 :]]
    lines = [_line([_dim(cell) for cell in header], widths, numbers)]
    for row in rows:
        first, *more = wrapped(row[at], widths[at])
        lines.append(_line([*row[:at], first, *row[at + 1 :]], widths, numbers))
        indent = _total(widths[:at]) + (len(_GAP) if at else 0)
        lines += [Text(" " * indent) + line for line in more]
    return lines


def _with_notes(header: Row, rows: Sequence[Row], width: int, under: int) -> list[Text]:
    """Return each row with its last columns below it."""
    upper, inner = [row[:-under] for row in rows], max(LEAST_WRAPPED, width - _INDENT)
    widths = _widths(header[:-under], upper)
    lines = [_line([_dim(cell) for cell in header[:-under]], widths, 0)]
    for row in rows:
        lines.append(_line(row[:-under], widths, 0))
        notes = dict.fromkeys(cell.plain for cell in row[-under:] if cell.plain)
        told = wrapped(Text(": ".join(notes)), inner)
        lines += [Text.assemble(" " * _INDENT, _dim(line)) for line in told]
    return lines


def _line(cells: Row, widths: list[int], numbers: int) -> Text:
    line = Text()
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        line.append(_GAP if at else "")
        line.append_text(_padded(cell, width, right=at >= len(widths) - numbers))
    line.rstrip()
    return line


def _padded(cell: Text, width: int, *, right: bool = False) -> Text:
    blanks = Text(" " * max(0, width - cell.cell_len))
    return blanks + cell if right else cell + blanks


def wrapped(cell: Text, width: int) -> list[Text]:
    """Return the lines of a cell, broken between words only."""
    if cell.cell_len <= width:
        return [cell]
    lines = textwrap.wrap(cell.plain, width, break_long_words=False, break_on_hyphens=False)
    return [Text(line, style=cell.style) for line in lines] or [Text()]


def _dim(cell: Text) -> Text:
    return Text(cell.plain, style="dim")


def _widths(header: Row, rows: Sequence[Row]) -> list[int]:
    return [max(cell.cell_len for cell in column) for column in zip(header, *rows, strict=True)]


def _total(widths: list[int]) -> int:
    return sum(widths) + len(_GAP) * max(0, len(widths) - 1)
