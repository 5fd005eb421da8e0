"""A table of texts, as a report is laid out for people."""

from __future__ import annotations

import msgspec


class Table(msgspec.Struct, frozen=True):
    """A table of texts for a console or a page; the first column names the row."""

    title: str
    header: list[str]
    rows: list[list[str]]
