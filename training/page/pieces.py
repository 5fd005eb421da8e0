"""Pieces of a page: sections, tables, figures, key figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..tables import Table
from .markup import Markup, element, join

MOST_ROWS: Final = 200
"""Rows of a table that the page shows; the rest is counted."""
_MOST_CHARACTERS: Final = 2_000
_LONG: Final = re.compile(r"\S{30}")
_SHORT: Final = 14
"""A table with so few rows isn't broken over two sheets."""
_NUMBER: Final = re.compile(
    r"(?:[-+]?[\d,.]+(?: ?%)?|-|)(?: \([\d.,+-]+ \.\. [\d.,+-]+\))?"
    r"|missing|-?[\d.]+ \.\. -?[\d.]+"
)


def section(identity: str, title: str, *parts: str) -> Markup:
    """Build a section with its heading; parts are markup, or plain paragraphs."""
    held = [part if isinstance(part, Markup) else element("p", part) for part in parts if part]
    return element("section", element("h2", title), *held, id=identity)


def table_of(table: Table, caption: bool = True, total_last: bool = False) -> Markup:
    """Build a table; columns of numbers are set flush right.

    Args:
        caption: whether the table's title stands above it.
        total_last: whether the last row is a sum.
    """
    rows = table.rows[:MOST_ROWS]
    numeric = [
        any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)
        for cells in ([row[at] for row in rows if at < len(row)] for at in range(len(table.header)))
    ]
    if numeric:
        numeric[0] = False
    head = element("tr", *(_cell("th", name, right) for name, right in
                           zip(table.header, numeric, strict=True)))  # fmt: skip
    lines = [
        _row(row, numeric, is_sum=total_last and number == len(rows) - 1)
        for number, row in enumerate(rows)
    ]
    if len(table.rows) > len(rows):
        more = f"and {len(table.rows) - len(rows):,} further rows"
        lines.append(element("tr", element("td", more, colspan=str(len(table.header)))))
    short = {"class_": "short"} if len(rows) <= _SHORT else {}
    whole = element(
        "table",
        element("caption", table.title) if caption and table.title else Markup(),
        element("thead", head),
        element("tbody", *lines),
        **short,
    )
    return element("div", whole, class_="wide")


def figure_of(picture: Markup, words: str) -> Markup:
    """Put a picture above a sentence that says how to read it."""
    return element("figure", picture, element("figcaption", words)) if picture else Markup()


def key_figures(figures: Sequence[tuple[str, str]]) -> Markup:
    """Show a few numbers large, each with what it is."""
    return element("ul", *(element("li", element("b", number), element("span", words))
                           for number, words in figures), class_="key")  # fmt: skip


def paragraphs(*sentences: str) -> Markup:
    """Put each text into a paragraph; empty ones are left out."""
    return join(*(element("p", words) for words in sentences if words))


def _row(row: Sequence[str], numeric: Sequence[bool], is_sum: bool) -> Markup:
    cells = [
        _cell("th" if at == 0 else "td", words[:_MOST_CHARACTERS], right)
        for at, (words, right) in enumerate(zip(row, numeric, strict=False))
    ]
    return element("tr", *cells, **({"class_": "sum"} if is_sum else {}))


def _cell(kind: str, words: str, right: bool) -> Markup:
    if right:
        return element(kind, words, class_="num")
    if words in ("passed", "failed"):
        return element(kind, words, class_=words)
    # A digest has no place for a break, and would push the table out of the sheet.
    return element(kind, words, **({"class_": "long"} if _LONG.search(words) else {}))
