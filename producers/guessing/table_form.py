"""The form of a table: what separates its cells, and how its numbers are written."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .column_facts import Column

SEPARATORS: Final = (",", ";", "\t", "|")
_COMMA_NUMBER: Final = re.compile(r"-?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)(,[0-9]+)?", re.ASCII)
_POINT_NUMBER: Final = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)


class TableForm(NamedTuple):
    """The form of a table, as a mapping has it; empty signs are the mapping's defaults."""

    delimiter: str = ","
    decimal: str = ""
    thousands: str = ""


def separator_of(header: str) -> str:
    """Return the sign that cuts a line of column names into most columns; a comma in doubt.

    >>> separator_of("claim;filed;amount"), separator_of('"a;b",c'), separator_of("claim")
    (';', ',', ',')
    """
    return max(SEPARATORS, key=lambda sign: _columns(header, sign))


def form_of(columns: Sequence[Column], delimiter: str) -> TableForm:
    """Return the form of a table of texts: a decimal comma, if numbers have one and none a point.

    >>> form_of([Column("Summe", "text", ["1.129,59", "7"])], ";")
    TableForm(delimiter=';', decimal=',', thousands='.')
    >>> form_of([Column("Amount", "text", ["1129.59"])], ",")
    TableForm(delimiter=',', decimal='', thousands='')
    """
    with_comma = [each for each in columns if _has_comma(each)]
    others = [each for each in columns if each not in with_comma]
    if not with_comma or any(_all(_POINT_NUMBER, each) for each in others):
        return TableForm(delimiter)
    points = any("." in cell for each in with_comma for cell in _filled(each))
    return TableForm(delimiter, ",", "." if points else "")


def in_plain_numbers(columns: Iterable[Column], form: TableForm) -> list[Column]:
    """Return the columns with numbers written as `1129.59`, so that facts about them hold."""
    if form.decimal != ",":
        return list(columns)
    return [
        each._replace(cells=[cell and _plain(cell) for cell in each.cells])
        if _all(_COMMA_NUMBER, each)
        else each
        for each in columns
    ]


def _columns(header: str, sign: str) -> int:
    try:
        return len(next(csv.reader([header], delimiter=sign), []))
    except csv.Error:  # such as a cell beyond the reader's limit
        return 0


def _plain(cell: str) -> str:
    return cell.strip().replace(".", "").replace(",", ".")


def _has_comma(column: Column) -> bool:
    return _all(_COMMA_NUMBER, column) and any("," in cell for cell in _filled(column))


def _all(pattern: re.Pattern[str], column: Column) -> bool:
    cells = _filled(column)
    return bool(cells) and all(map(pattern.fullmatch, cells))


def _filled(column: Column) -> list[str]:
    return [cell.strip() for cell in column.cells if cell is not None and cell.strip()]
