"""Hints that name the nearest of some known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known name, or an empty text.

    >>> nearest("total_claim_cent", ["claim_id", "total_claim_cents"])
    'did you mean total_claim_cents?'
    """
    names = {each.casefold(): each for each in sorted(known)}
    found = difflib.get_close_matches(name.strip().casefold(), names, n=1)
    return f"did you mean {names[found[0]]}?" if found else ""
