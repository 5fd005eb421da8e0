"""The splits of a forest as flat tables, in the order in which the SHAP kernel reads them.

A tree's splits are numbered level by level, siblings next to each other; their numbers, called
slots, start at 1, and slot 0 means "no split". A leaf whose sibling is a split is stored as a split
between two equal leaves, so that the children of a split are either two slots or two leaves. Both
tables hold one record of fixed width for each split, because the kernel loads several neighbouring
numbers of a record at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .forest import Forest
from .simd import POINTS
from .xgboost_json import UnsupportedModelError

MAX_PATH: Final = 2 * POINTS
"""Most distinct features on one path for which a quadrature of `POINTS` points is exact."""

MAX_TABLE_BYTES: Final = 256 * 2**20
"""Size limit of both tables together; 200 trees of depth 6 take 1 MB."""

_ROUNDING: Final = 1e-5
"""Tolerated relative error of covers: in float32, two branches may miss their sum by about 1e-7."""

LEFT: Final = 1
RIGHT: Final = -1
"""The branches of a split; a row that has left the path before has the number 0."""

LINKS: Final = 4
"""Width of a split's record in `links`, int32 each:

- `COLUMN`: `feature` where missing values go left, `features + feature` where they go right.
- `CHILD`: slot of the left child; the right child has the next one. 0: both children are leaves.
- `BEFORE`, `SIDE`: slot of the last split above on the same feature and the branch the path took
  there; slot 0 and `LEFT` if there is no such split.
"""

COLUMN, CHILD, BEFORE, SIDE = (np.uintp(index) for index in range(LINKS))

NUMBERS: Final = 4 + 3 * POINTS
"""Width of a split's record in `numbers`, float32 each:

- `THRESHOLD`: a value below the threshold goes left.
- `COVER`: the left child's share of the cover.
- `LEFT_LEAF`, `RIGHT_LEAF`: margins of the two leaves, where `CHILD` is 0.
- `HELD`, `FAILED`: for each quadrature point, the probability of going left if the row itself goes
  left, and if the row goes right.
- `SCALE`: for each quadrature point, the factor of the contribution.
"""

THRESHOLD, COVER, LEFT_LEAF, RIGHT_LEAF = (np.uintp(index) for index in range(4))
HELD, FAILED, SCALE = (np.uintp(4 + index * POINTS) for index in range(3))


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The splits of all trees.

    Attributes:
        trees: int64[trees + 1]; the first split of each tree, and the number of splits.
        slots: number of slots of the largest tree, slot 0 included.
        links: int32[splits * LINKS].
        numbers: float32[splits * NUMBERS].
        expected: expected sum of leaves over the training cover.
    """

    trees: NDArray[np.int64]
    slots: int
    links: NDArray[np.int32]
    numbers: NDArray[np.float32]
    expected: float

    @classmethod
    def of(cls, forest: Forest, points: NDArray[np.float64], where: str) -> Splits:
        """Build the tables of a forest for a quadrature at `points`, float64[POINTS] in 0..1.

        Raises:
            UnsupportedModelError: a path tests more than `MAX_PATH` features, the tables would
                exceed `MAX_TABLE_BYTES`, a split has no cover, so that its shares are unknown, or
                the shares of its branches don't add up to one.
        """
        inner = np.flatnonzero(forest.left != np.arange(len(forest.left)))
        cover, left = forest.cover[inner], forest.left[inner]
        if not cover.all():
            raise UnsupportedModelError("a split has no cover", where=where)
        if (np.abs(forest.cover[left] + forest.cover[left + 1] - cover) > _ROUNDING * cover).any():
            raise UnsupportedModelError(
                "a split's cover is not the sum of its branches' covers", where=where
            )
        parents = _parents(forest.left)
        longest = _longest_path(parents, forest.column, forest.left, forest.features)
        if longest > MAX_PATH:
            raise UnsupportedModelError(
                f"a path tests {longest} features; contributions are exact up to {MAX_PATH}",
                where=where,
                hint=f"fit with max_depth <= {MAX_PATH}",
            )
        slot, trees = _slots(parents, forest.left, forest.roots)
        splits, slots = int(trees[-1]), int(np.diff(trees).max(initial=0)) + 1
        size = 4 * splits * (LINKS + NUMBERS)
        if size > MAX_TABLE_BYTES:
            raise UnsupportedModelError(f"the tables would take {size >> 20} MiB", where=where)
        links = np.empty(splits * LINKS, np.int32)
        numbers = np.empty(splits * NUMBERS, np.float32)
        expected = _fill(
            parents, slot, forest.column, forest.threshold, forest.left, forest.leaf,
            forest.cover, forest.features, points, links, numbers,
        )  # fmt: skip
        return cls(trees, slots, links, numbers, float(expected))


@njit(cache=True)
def _parents(left: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the parent of each node, -1 at roots."""
    parents = np.full(left.size, -1, np.int64)
    for node in range(left.size):
        child = np.int64(left[node])
        if child != node:
            parents[child] = node
            parents[child + 1] = node
    return parents


@njit(cache=True)
def _longest_path(
    parents: NDArray[np.int64],
    column: NDArray[np.uint32],
    left: NDArray[np.uint32],
    features: int,
) -> int:
    """Return the largest number of distinct features that the path to a leaf tests."""
    longest = 0
    seen = np.full(features, -1, np.int64)
    for leaf in range(left.size):
        if left[leaf] != leaf:
            continue
        length = 0
        node = parents[leaf]
        while node >= 0:
            feature = np.int64(column[node]) % features
            if seen[feature] != leaf:
                seen[feature] = leaf
                length += 1
            node = parents[node]
        longest = max(longest, length)
    return longest


@njit(cache=True)
def _slots(
    parents: NDArray[np.int64], left: NDArray[np.uint32], roots: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each node's slot in its tree (0: no slot), and the splits before each tree."""
    slot = np.zeros(left.size, np.int64)
    trees = np.zeros(roots.size, np.int64)
    for tree in range(roots.size - 1):
        count = 0
        for node in range(roots[tree], roots[tree + 1]):
            takes_part = left[node] != node
            if not takes_part and parents[node] >= 0:
                first = np.int64(left[parents[node]])
                takes_part = left[first] != first or left[first + 1] != first + 1
            if takes_part:
                count += 1
                slot[node] = count
        trees[tree + 1] = trees[tree] + count
    return slot, trees


@njit(cache=True)
def _fill(
    parents: NDArray[np.int64],
    slot: NDArray[np.int64],
    column: NDArray[np.uint32],
    threshold: NDArray[np.float32],
    left: NDArray[np.uint32],
    leaf: NDArray[np.float32],
    cover: NDArray[np.float64],
    features: int,
    points: NDArray[np.float64],
    links: NDArray[np.int32],
    numbers: NDArray[np.float32],
) -> float:
    """Write the records of all splits; returns the expected sum of leaves."""
    expected = 0.0
    at = 0
    reached = np.ones(left.size, np.float64)
    for node in range(left.size):
        if parents[node] >= 0:
            reached[node] = reached[parents[node]] * (cover[node] / cover[parents[node]])
        child = np.int64(left[node])
        is_leaf = child == node
        if is_leaf:
            expected += np.float64(leaf[node]) * reached[node]
        if slot[node] == 0:
            continue
        link, number = links[at * LINKS :], numbers[at * NUMBERS :]
        at += 1
        # A leaf here is one with a slot: a split between two equal leaves, which adds nothing.
        before, side, ratio = (-1, LEFT, 1.0) if is_leaf else _before(
            node, parents, column, left, cover, features
        )  # fmt: skip
        link[COLUMN] = 0 if is_leaf else column[node]
        link[CHILD] = 0 if is_leaf else slot[child]
        link[BEFORE] = 0 if before < 0 else slot[before]
        link[SIDE] = side
        share = 0.0 if is_leaf else cover[child] / cover[node]
        number[THRESHOLD], number[COVER] = threshold[node], share
        number[LEFT_LEAF] = leaf[child]
        number[RIGHT_LEAF] = leaf[node] if is_leaf else leaf[child + 1]
        # `known` is u of the formula in `shap`; with ratio 1 (no earlier split) it is t itself.
        for q in range(POINTS):
            whole = points[q] + (1.0 - points[q]) * ratio
            known, unknown = points[q] / whole, (1.0 - points[q]) * ratio / whole
            number[HELD + q] = known + unknown * share
            number[FAILED + q] = unknown * share
            number[SCALE + q] = ratio / (whole * whole)
    return expected


@njit(cache=True)
def _before(
    split: int,
    parents: NDArray[np.int64],
    column: NDArray[np.uint32],
    left: NDArray[np.uint32],
    cover: NDArray[np.float64],
    features: int,
) -> tuple[int, int, float]:
    """Find the last split above on the same feature (-1: none), the branch taken, and the ratio.

    The ratio is the product of the cover shares of the branches that the path took at all earlier
    splits on the feature.
    """
    feature = np.int64(column[split]) % features
    found, side, ratio = -1, LEFT, 1.0
    child, node = split, parents[split]
    while node >= 0:
        if np.int64(column[node]) % features == feature:
            ratio *= cover[child] / cover[node]
            if found < 0:
                found, side = node, LEFT if np.int64(left[node]) == child else RIGHT
        child, node = node, parents[node]
    return found, side, ratio
