"""XGBoost's trees in flat arrays, and a kernel that computes XGBoost's margins bit for bit.

Two ideas make the walk through a tree short:

- Every row is laid out twice, once with missing values as -inf and once as +inf. A node that sends
  missing values to the left reads the first copy, other nodes the second, so that one comparison
  decides.
- A leaf is its own left child and its threshold is NaN: a walk of fixed length needs no branches,
  and the compiler can walk many rows at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.errors import ModelError

from .xgboost_json import read_model

_BLOCK: Final = 32
_BLOCK_WORTH: Final = 20
"""Rows from which on a whole block of 32 is faster than rows one by one (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """The trees of one binary classifier, stored level by level with siblings next to each other.

    Attributes:
        features: number of columns of the matrix.
        feature_names: names stored by XGBoost; empty when the model was fitted without names.
        base_margin: log-odds of `base_score`, float32, the start of every sum.
        column: uint32[nodes]; `feature` where missing values go left, `features + feature` where
            they go right.
        threshold: float32[nodes]; a value below the threshold goes left; NaN at leaves.
        left: uint32[nodes]; the left child, followed by the right child; a leaf points to itself.
        leaf: float32[nodes]; margin of a leaf, 0 at inner nodes.
        cover: float64[nodes]; sum of hessians of the training rows that reached the node.
        roots: uint32[trees + 1]; the first node of each tree, and the number of nodes.
        depths: int64[trees]; levels below each root.
    """

    features: int
    feature_names: tuple[str, ...]
    base_margin: np.float32
    column: NDArray[np.uint32]
    threshold: NDArray[np.float32]
    left: NDArray[np.uint32]
    leaf: NDArray[np.float32]
    cover: NDArray[np.float64]
    roots: NDArray[np.uint32]
    depths: NDArray[np.int64]

    @classmethod
    def from_xgboost_json(cls, document: bytes, where: str = "model.json") -> Forest:
        """Read the output of `Booster.save_raw("json")`.

        Supported are XGBoost 2 and 3 with `binary:logistic` and `gbtree`. All trees count, as in
        `Booster.predict`: slice a model that stopped early before saving it.

        Raises:
            ModelError: the document is damaged, or not a binary classifier with logistic loss.
            UnsupportedModelError: dart, categorical splits, or more than 16 levels.
        """
        model = read_model(document, where)
        return cls(
            features=model.features,
            feature_names=model.feature_names,
            base_margin=model.base_margin,
            column=_frozen(model.column, np.uint32),
            threshold=_frozen(model.threshold, np.float32),
            left=_frozen(model.left, np.uint32),
            leaf=_frozen(model.leaf, np.float32),
            cover=_frozen(model.cover, np.float64),
            roots=_frozen(model.roots, np.uint32),
            depths=_frozen(model.depths, np.int64),
        )

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.depths)

    def margins(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Compute the log-odds of each row before calibration: float64[n, features] -> float32[n].

        Values are rounded to float32 as XGBoost rounds them; NaN is missing. A row's margin doesn't
        depend on the other rows of the matrix.

        Raises:
            ModelError: the number of columns differs from `features`.
        """
        rows = as_rows(matrix, self.features)
        out = np.empty(len(rows), np.float32)
        _margins(
            rows, self.features, self.column, self.threshold, self.left, self.leaf,
            self.roots, self.depths, self.base_margin, out,
        )  # fmt: skip
        return out


def as_rows(matrix: NDArray[np.float64], features: int) -> NDArray[np.float64]:
    """Convert a matrix to contiguous, writable float64[n, features], the only layout kernels take.

    One layout means one compiled version of each kernel.

    Raises:
        ModelError: the matrix has another shape.
    """
    if matrix.ndim != 2 or matrix.shape[1] != features:
        raise ModelError(
            f"a matrix of shape {matrix.shape} for a model of {features} features",
            hint="pass one row per claim, in the order of the manifest's features",
        )
    return np.require(matrix, np.float64, ["C", "W"])


def _frozen(values: list[Any], dtype: Any) -> NDArray[Any]:
    """Return the values as a read-only array."""
    array = np.array(values, dtype)
    array.flags.writeable = False
    return array


@njit(cache=True)
def _margins(
    matrix: NDArray[np.float64],
    features: int,
    column: NDArray[np.uint32],
    threshold: NDArray[np.float32],
    left: NDArray[np.uint32],
    leaf: NDArray[np.float32],
    roots: NDArray[np.uint32],
    depths: NDArray[np.int64],
    base_margin: np.float32,
    out: NDArray[np.float32],
) -> None:
    count = matrix.shape[0]
    done = 0
    block = np.empty(2 * features * _BLOCK, np.float32)
    while count - done >= _BLOCK_WORTH:
        rows = min(_BLOCK, count - done)
        _lay_out(matrix, done, rows, features, _BLOCK, block)
        sums = _walk_block(block, column, threshold, left, leaf, roots, depths, base_margin)
        out[done : done + rows] = sums[:rows]
        done += rows
    for row in range(done, count):
        _lay_out(matrix, row, 1, features, 1, block)
        out[row] = _walk_row(block, column, threshold, left, leaf, roots, depths, base_margin)


@njit(cache=True)
def _lay_out(
    matrix: NDArray[np.float64],
    first: int,
    rows: int,
    features: int,
    stride: int,
    block: NDArray[np.float32],
) -> None:
    """Write rows column by column, missing values as -inf in the first copy and +inf in the second.

    Conversion to float32 comes before the test for NaN, as in XGBoost.
    """
    for row in range(rows):
        for feature in range(features):
            value = np.float32(matrix[first + row, feature])
            missing = value != value
            block[feature * stride + row] = np.float32(-np.inf) if missing else value
            block[(features + feature) * stride + row] = np.float32(np.inf) if missing else value


@njit(cache=True)
def _walk_block(
    block: NDArray[np.float32],
    column: NDArray[np.uint32],
    threshold: NDArray[np.float32],
    left: NDArray[np.uint32],
    leaf: NDArray[np.float32],
    roots: NDArray[np.uint32],
    depths: NDArray[np.int64],
    base_margin: np.float32,
) -> NDArray[np.float32]:
    """Walk all rows of a block side by side; returns float32[32] margins.

    Unsigned indices spare numba's check for negative ones.
    """
    at = np.empty(_BLOCK, np.uint32)
    sums = np.full(_BLOCK, base_margin, np.float32)
    for tree in range(depths.size):
        at[:] = roots[tree]
        for _ in range(depths[tree]):
            for row in range(_BLOCK):
                # At a leaf the comparison with NaN is false and the row stays where it is.
                node = at[row]
                cell = np.uint32(column[node] * np.uint32(_BLOCK) + np.uint32(row))
                at[row] = left[node] + np.uint32(block[cell] >= threshold[node])
        for row in range(_BLOCK):
            sums[row] += leaf[at[row]]
    return sums


@njit(cache=True)
def _walk_row(
    row: NDArray[np.float32],
    column: NDArray[np.uint32],
    threshold: NDArray[np.float32],
    left: NDArray[np.uint32],
    leaf: NDArray[np.float32],
    roots: NDArray[np.uint32],
    depths: NDArray[np.int64],
    base_margin: np.float32,
) -> np.float32:
    """Walk one row; the processor overlaps the trees by itself."""
    total = base_margin
    for tree in range(depths.size):
        node = roots[tree]
        for _ in range(depths[tree]):
            node = np.uint32(left[node] + np.uint32(row[column[node]] >= threshold[node]))
        total += leaf[node]
    return total
