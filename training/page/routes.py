"""Which section of the page a table of the report belongs to; unknown tables have a section too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..tables import Table

FURTHER: Final = "further"

_ROUTES: Final = (
    ("gate", "gates"),
    ("waiver", "gates"),
    ("bias", "bias"),
    ("mitigat", "bias"),
    ("facet", "bias"),
    ("contract", "data"),
    ("leak", "data"),
    ("verdicts", "data"),
    ("parts", "data"),
    ("doesn't learn from", "data"),
    ("threshold", "thresholds"),
    ("calibration", "calibration"),
    ("settings tried", "making"),
    ("direction", "explanations"),
    ("influence", "explanations"),
    ("claims explained", "explanations"),
    ("quality", "quality"),
    ("test claims", "quality"),
)
"""A word of a table's title in lower case, and the section; the first that fits counts."""


def routed(tables: Sequence[Table]) -> dict[str, list[Table]]:
    """Return the tables of each section, in their order; those that nobody expected in `further`.

    >>> sorted(routed([Table("Bias of gender", [], []), Table("New", [], [])]))
    ['bias', 'further']
    """
    found: dict[str, list[Table]] = {}
    for table in tables:
        title = table.title.lower()
        place = next((to for word, to in _ROUTES if word in title), FURTHER)
        found.setdefault(place, []).append(table)
    return found
