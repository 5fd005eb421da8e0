"""Folds: which claims a model is fitted on, and which ones it is then tried on.

Claims of one policy resemble each other, and claims of one time do too. So a claim is held out from
a fit that sees neither its policy nor anything as new as itself; where there are too few frauds for
both, only the policy is kept apart.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .split import row_at

Ints = NDArray[np.int64]

LATER_SHARE: Final = 0.25
"""The newest share of the rows that later windows hold."""

FEW_FRAUDS: Final = 100
"""With fewer frauds in a later window, all policies are held out in turn instead."""

_BLOCKS: Final = 4
_PARTS: Final = 2
_POLICY_FOLDS: Final = 4


class Fold(NamedTuple):
    """Row numbers, int64 and rising: those fitted on, and those held out."""

    fit: Ints
    held: Ints


def later_window(dataset: Dataset, rows: Ints) -> Fold:
    """Hold out the newest rows; those of one millisecond stay together.

    Args:
        rows: row numbers in order of time.
    """
    times = dataset.event_times_ms[rows]
    start = times[row_at(dataset.weights[rows], 1 - LATER_SHARE)]
    return Fold(rows[times < start], rows[times >= start])


def choice_folds(dataset: Dataset, rows: Ints, seed: int, *, by_time: bool = True) -> list[Fold]:
    """Return the folds on which settings are compared: a later window, if it has enough frauds."""
    if by_time and _has_later_frauds(dataset, rows):
        return [later_window(dataset, rows)]
    return policy_folds(dataset, rows, seed)


def margin_folds(dataset: Dataset, rows: Ints, seed: int, *, by_time: bool = True) -> list[Fold]:
    """Return the folds whose held-out rows together give margins to calibrate on."""
    if by_time and _has_later_frauds(dataset, rows):
        return forward_folds(dataset, rows, seed)
    return policy_folds(dataset, rows, seed)


def policy_folds(dataset: Dataset, rows: Ints, seed: int, count: int = _POLICY_FOLDS) -> list[Fold]:
    """Hold out every policy once, drawn into `count` folds."""
    part = _parts(dataset.groups[rows], count, seed)
    return [Fold(rows[part != number], rows[part == number]) for number in range(count)]


def forward_folds(dataset: Dataset, rows: Ints, seed: int) -> list[Fold]:
    """Hold out blocks of time, by halves of the policies; fits see older blocks, other policies.

    The oldest block is never held out.
    """
    times = dataset.event_times_ms[rows]
    weights = dataset.weights[rows]
    borders = times[[row_at(weights, block / _BLOCKS) for block in range(1, _BLOCKS)]]
    block = np.searchsorted(borders, times, side="right")
    part = _parts(dataset.groups[rows], _PARTS, seed)
    return [
        Fold(rows[(block < held) & (part != number)], rows[(block == held) & (part == number)])
        for held in range(1, _BLOCKS)
        for number in range(_PARTS)
    ]


def _has_later_frauds(dataset: Dataset, rows: Ints) -> bool:
    """Whether the newest rows have enough frauds to tell models apart."""
    held = later_window(dataset, rows).held
    return bool(np.sum(dataset.is_fraud[held]) >= FEW_FRAUDS)


def _parts(groups: Ints, count: int, seed: int) -> Ints:
    """Draw each policy into one of `count` parts of equal numbers of policies: int64[n]."""
    names, codes = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(len(names)) % count
    return np.asarray(drawn[codes], np.int64)
