"""Exact SHAP contributions: what each feature added to a row's margin.

Path-dependent TreeSHAP (Lundberg, Erion, Lee: "Consistent individualized feature attribution for
tree ensembles", arXiv 1802.03888) averages over the orders in which features become known; where a
split's feature is not known, the row goes both ways, by their share of the training cover. Let each
feature become known at a moment of its own, uniform in 0..1: all orders are as likely, and what a
feature adds is an integral over the moment t when it does, others being known with probability t.
For m features on a path this is a polynomial of degree m - 1 in t, so four points of Gauss and
Legendre give the integral itself, up to m = 8 (Quadrature TreeSHAP, arXiv 2605.04497).

At a given t a tree is walked once down and once up, all rows of a block together. Let a split send
the share r of the cover to the left, and the row too (o = 1) or not (o = 0). Then

    share = t o + (1 - t) r             of what reaches the split goes to the left,
    share left + (1 - share) right      is its worth, from the worths of its two sides,
    (o - r) (left - right) reach        is what its feature adds.

Where the path has split on the feature before, with R of the cover on the row's side in all: a row
that was turned away then is here because the feature isn't known, so r of it goes to the left, and
the feature adds nothing. A row that wasn't is here knowing it with probability

    u = t / (t + (1 - t) R)

which takes the place of t above, and the feature adds u (1 - u) / (t (1 - t)) times as much.
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
"""Floats that a walk keeps of a split, for each row: at each point its reach, later its worth, and
its share; then step and way."""

_REACH, _SHARE = np.uintp(0), np.uintp(POINTS * ROWS)
_STEP, _WAY = np.uintp(2 * POINTS * ROWS), np.uintp((2 * POINTS + 1) * ROWS)


def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points and weights of Gauss and Legendre on 0..1; by their formula, to be the same anywhere.

    Abramowitz, Stegun: Handbook of Mathematical Functions, 25.4.29 and table 25.4.
    """
    root = np.sqrt(1.2)
    outer, inner = np.sqrt((3 + 2 * root) / 7) / 2, np.sqrt((3 - 2 * root) / 7) / 2
    small, large = (18 - np.sqrt(30.0)) / 72, (18 + np.sqrt(30.0)) / 72
    points = np.array([0.5 - outer, 0.5 - inner, 0.5 + inner, 0.5 + outer])
    return points, np.array([small, large, large, small], np.float32)


_MOMENTS, _WEIGHTS = _quadrature()


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Explains a forest's margins.

    Attributes:
        features: columns of the matrix.
        bias: the expected margin over the training cover.
        splits: what the kernel reads.
    """

    features: int
    bias: float
    splits: Splits

    @classmethod
    def of(cls, forest: Forest, where: str = "model.json") -> Contributions:
        """Prepare a forest; milliseconds.

        Raises:
            UnsupportedModelError: a path tests more than 8 features, the splits would take
                more than 256 MiB, or the covers don't tell the shares.
        """
        splits = Splits.of(forest, _MOMENTS, where)
        return cls(forest.features, float(forest.base_margin) + splits.expected, splits)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the margin: float64[n, features] -> float64[n, features + 1].

        The last column is the bias, the same for every row; a row sums to its margin, but for
        float32's rounding. A row's contributions don't depend on the rows around it. Eight rows
        cost little more than one.

        Raises:
            ModelError: the matrix has another number of columns.
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
    """Block by block; a column's two halves are missing as -inf and as +inf, as in the forest."""
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
    """What reaches each split; the worth of those between leaves, and what they add."""
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
    """What all other splits add; a split's worth takes the place of what reached it."""
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
