"""Tables for notebooks as HTML; every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from training.page.markup import Markup, element, join

Rows = Sequence[Sequence[object]]


def card(title: str, tables: Sequence[tuple[str, Rows]], colour: str = "#444") -> Markup:
    """Return a title with tables below, each with its name on the left of its first row.

    >>> card("<b>", [("facts", [("score", 1)])])
    '<div...><strong style="color: #444">&lt;b&gt;</strong><table...<th...>facts</th><td...'
    """
    head = element("strong", title, style=f"color: {colour}")
    left = "text-align: left; vertical-align: top"
    rows = [
        element(
            "tr",
            element("th", name if not at else "", style=left),
            *(element("td", str(cell), style=left) for cell in row),
        )
        for name, listed in tables
        for at, row in enumerate(listed)
    ]
    return element("div", head, element("table", element("tbody", join(*rows))))
