"""Forgetting entities: numbers of those that nothing refers to any more are given out again.

Windows forget old events, but an index of ids alone would grow for as long as new phones and shops
appear. An entity is alive while an entry, a profile, a distinct column or a remembered claim refers
to it. When fewer than half of the numbers are, the living are numbered anew, 0, 1, 2 ... in their
old order, everywhere at once. No decision depends on a number, so none depends on when this runs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .interning import Ids

LEAST_NUMBERS: Final = 4096
"""Below this many there is nothing worth giving back."""

LARGEST_LIVING_SHARE: Final = 0.5
"""Above this share of living numbers it isn't worth the pass."""


def alive(count: int, referring: list[NDArray[np.integer]]) -> NDArray[np.bool_]:
    """bool[count]: which numbers occur in any of the columns (-1 refers to nothing).

    >>> alive(4, [np.array([2, -1]), np.array([0, 2])]).tolist()
    [True, False, True, False]
    """
    living = np.zeros(count, np.bool_)
    for column in referring:
        living[column[column >= 0]] = True
    return living


def new_numbers(living: NDArray[np.bool_]) -> Ids | None:
    """int64[count]: the new number of each old one, -1 for the dead; None when it isn't worth it.

    >>> new_numbers(np.ones(10_000, np.bool_)) is None
    True
    """
    most = LARGEST_LIVING_SHARE * living.size
    if living.size < LEAST_NUMBERS or np.count_nonzero(living) > most:
        return None
    numbers = np.cumsum(living, dtype=np.int64) - 1
    numbers[~living] = -1
    return numbers


def renumbered(column: NDArray[np.integer], numbers: Ids) -> None:
    """Bring a column of references to the new numbers, in place."""
    refers = column >= 0
    column[refers] = numbers[column[refers]]
