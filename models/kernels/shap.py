"""Exact SHAP contributions: the part of a row's margin that each feature adds.

Path-dependent TreeSHAP (Lundberg, Erion, Lee: "Consistent individualized feature attribution for
tree ensembles", arXiv 1802.03888) averages over all orders in which features become known. Where a
split's feature is unknown, the row follows both branches, weighted by their shares of the training
cover. Let each feature become known at a random time, independent and uniform in 0..1: all orders
are then equally likely, and the contribution of a feature is an integral over the time t at which
it becomes known, when each other feature is known with probability t. For m features on a path the
integrand is a polynomial of degree m - 1 in t, so Gauss-Legendre quadrature with four points is
exact up to m = 8 (Quadrature TreeSHAP, arXiv 2605.04497).

For a given t the kernel walks a tree once down and once up, all rows of a block together. Let a
split send the share r of its cover to the left, and let o be 1 if the row goes left too, else 0.
Let `reach` be the probability of arriving at the split, `left` and `right` the expected values of
its two branches. Then

    share = t o + (1 - t) r             is the probability of going left from the split,
    share left + (1 - share) right      is the expected value of the split,
    (o - r) (left - right) reach        is the contribution of its feature.

A path may test a feature again. Let R be the product of the cover shares of the branches taken at
the earlier splits on it. If the row itself would have left the path at one of them, it can only
arrive here while the feature is unknown: it goes left with probability r, and the feature
contributes nothing. Otherwise the feature is known on arrival with probability

    u = t / (t + (1 - t) R)

which replaces t above, and the contribution is multiplied by u (1 - u) / (t (1 - t)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .forest import Forest, as_rows
from .simd import (
    POINTS,
    ROWS,
    add_to,
    below,
    choose,
    load_points,
    load_row,
    same,
    spread,
    spread_points,
    spread_row,
    store,
    total,
)
from .splits import (
    BEFORE,
    CHILD,
    COLUMN,
    COVER,
    FAILED,
    HELD,
    LEFT,
    LEFT_LEAF,
    LINKS,
    NUMBERS,
    RIGHT,
    RIGHT_LEAF,
    SCALE,
    SIDE,
    THRESHOLD,
    Splits,
)

_SLOT: Final = (2 * POINTS + 2) * ROWS
"""Floats of working memory for a split in one block of rows.

For each row and quadrature point the reach (overwritten by the expected value on the way up) and
the share; then for each row the step (o - r) and the way it went (`LEFT`, `RIGHT` or 0).
"""

_REACH, _SHARE = np.uintp(0), np.uintp(POINTS * ROWS)
_STEP, _WAY = np.uintp(2 * POINTS * ROWS), np.uintp((2 * POINTS + 1) * ROWS)
"""Offsets of these four in a slot."""


def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the points float64[4] and weights float32[4] of Gauss-Legendre quadrature on 0..1.

    Computed by their closed formula, so they are the same on every machine. Source: Abramowitz,
    Stegun: Handbook of Mathematical Functions, 25.4.29 and table 25.4.
    """
    root = np.sqrt(1.2)
    outer, inner = np.sqrt((3 + 2 * root) / 7) / 2, np.sqrt((3 - 2 * root) / 7) / 2
    small, large = (18 - np.sqrt(30.0)) / 72, (18 + np.sqrt(30.0)) / 72
    points = np.array([0.5 - outer, 0.5 - inner, 0.5 + inner, 0.5 + outer])
    return points, np.array([small, large, large, small], np.float32)


_MOMENTS, _WEIGHTS = _quadrature()


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """The SHAP explainer of one forest.

    Attributes:
        features: number of columns of the matrix.
        bias: expected margin over the training cover.
        splits: the tables that the kernel reads.
    """

    features: int
    bias: float
    splits: Splits

    @classmethod
    def of(cls, forest: Forest, where: str = "model.json") -> Contributions:
        """Build the tables of a forest; takes milliseconds.

        Raises:
            UnsupportedModelError: a path tests more than 8 features, the tables would take
                more than 256 MiB, or the covers don't determine the shares.
        """
        splits = Splits.of(forest, _MOMENTS, where)
        return cls(forest.features, float(forest.base_margin) + splits.expected, splits)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute SHAP contributions: float64[n, features] -> float64[n, features + 1].

        The last column is the bias, the same for every row; a row sums to its margin within
        float32's rounding. A row's contributions don't depend on the other rows of the matrix.
        Eight rows cost little more than one.

        Raises:
            ModelError: the number of columns differs from `features`.
        """
        rows = as_rows(matrix, self.features)
        out = np.empty((len(rows), self.features + 1), np.float64)
        _explain(
            rows, self.bias, self.splits.trees, self.splits.slots, self.splits.links,
            self.splits.numbers, _WEIGHTS, out,
        )  # fmt: skip
        return out


@njit(cache=True)
def _explain(
    matrix: NDArray[np.float64],
    bias: float,
    trees: NDArray[np.int64],
    slots: int,
    links: NDArray[np.int32],
    numbers: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Explain rows block by block, laid out twice for missing values as in the forest's kernel."""
    count, features = matrix.shape
    values = np.zeros(2 * features * ROWS, np.float32)
    sums = np.empty(2 * features * ROWS, np.float64)
    work = np.empty(slots * _SLOT, np.float32)
    work[_WAY : _WAY + ROWS] = LEFT
    for done in range(0, count, ROWS):
        rows = min(ROWS, count - done)
        for row in range(rows):
            for feature in range(features):
                value = np.float32(matrix[done + row, feature])
                missing = value != value
                low, high = feature * ROWS + row, (features + feature) * ROWS + row
                values[low] = np.float32(-np.inf) if missing else value
                values[high] = np.float32(np.inf) if missing else value
        sums[:] = 0.0
        for tree in range(trees.size - 1):
            _walk_down(trees[tree], trees[tree + 1], links, numbers, weights, values, work, sums)
            _walk_up(trees[tree], trees[tree + 1], links, numbers, work, sums)
        for row in range(rows):
            for feature in range(features):
                low, high = feature * ROWS + row, (features + feature) * ROWS + row
                out[done + row, feature] = sums[low] + sums[high]
            out[done + row, features] = bias


@njit(cache=True)
def _walk_down(
    first: int,
    end: int,
    links: NDArray[np.int32],
    numbers: NDArray[np.float32],
    weights: NDArray[np.float32],
    values: NDArray[np.float32],
    work: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Compute the reach of each split; finish the splits whose children are both leaves.

    Such a split's expected value and contribution need nothing from below. Parents come before
    children in the tables, so one forward loop visits them in order.
    """
    left, right, neither = spread(LEFT), spread(RIGHT), spread(0)
    rows, slot = np.uintp(ROWS), np.uintp(_SLOT)
    if first < end:
        store(work, slot + _REACH, spread_points(weights, np.uintp(0)))
    for at in range(first, end):
        here = np.uintp(at - first + 1) * slot
        link, number = np.uintp(at) * np.uintp(LINKS), np.uintp(at) * np.uintp(NUMBERS)
        column = np.uintp(links[link + COLUMN]) * rows
        goes_left = below(load_row(values, column), spread_row(numbers, number + THRESHOLD))
        share = choose(
            goes_left,
            spread_points(numbers, number + HELD),
            spread_points(numbers, number + FAILED),
        )
        cover = spread_row(numbers, number + COVER)
        step = choose(goes_left, left, neither) - cover
        before = np.uintp(links[link + BEFORE]) * slot
        # Whether the row itself took the path's branch at the earlier split on this feature. Slot 0
        # stands for "no earlier split": its way is always LEFT, and so is SIDE then.
        passed = same(load_row(work, before + _WAY), spread(links[link + SIDE]))
        share = choose(passed, share, cover)
        step = choose(passed, step, neither)
        reach = load_points(work, here + _REACH)
        child = np.uintp(links[link + CHILD]) * slot
        if child != 0:
            store(work, here + _SHARE, share)
            store(work, here + _STEP, step)
            store(work, here + _WAY, choose(passed, choose(goes_left, left, right), neither))
            to_left = reach * share
            store(work, child + _REACH, to_left)
            store(work, child + slot + _REACH, reach - to_left)
        else:
            other = spread_row(numbers, number + RIGHT_LEAF)
            gap = spread_row(numbers, number + LEFT_LEAF) - other
            scale = spread_points(numbers, number + SCALE)
            add_to(sums, column, total(reach * scale) * (step * gap))
            store(work, here + _REACH, other + share * gap)


@njit(cache=True)
def _walk_up(
    first: int,
    end: int,
    links: NDArray[np.int32],
    numbers: NDArray[np.float32],
    work: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Compute the contributions of all other splits, children before parents.

    A split's expected value overwrites its reach, which is no longer needed then.
    """
    rows, slot = np.uintp(ROWS), np.uintp(_SLOT)
    for at in range(end - 1, first - 1, -1):
        link, number = np.uintp(at) * np.uintp(LINKS), np.uintp(at) * np.uintp(NUMBERS)
        child = np.uintp(links[link + CHILD]) * slot
        if child == 0:
            continue
        here = np.uintp(at - first + 1) * slot
        other = load_points(work, child + slot + _REACH)
        gap = load_points(work, child + _REACH) - other
        scale = spread_points(numbers, number + SCALE)
        added = total(load_points(work, here + _REACH) * (scale * gap))
        column = np.uintp(links[link + COLUMN]) * rows
        add_to(sums, column, added * load_row(work, here + _STEP))
        store(work, here + _REACH, other + load_points(work, here + _SHARE) * gap)
