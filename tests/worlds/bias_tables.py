"""Small count tables of bias, whose metrics can be computed by hand."""

from __future__ import annotations

import numpy as np

A_SIDE, D_SIDE = (80, 10, 4, 6), (30, 10, 2, 8)
"""Legitimate passed and referred, frauds passed and referred: 100 others, a group of 50."""


def table_of(*sides: tuple[int, ...]) -> np.ndarray:
    """Return the table of the others and the group, each as the counts of `A_SIDE`."""
    table = np.zeros((2, 1, 3, 2), np.int64)
    for side, counts in enumerate(sides):
        table[side, 0, :2] = np.reshape(counts, (2, 2))
    return table
