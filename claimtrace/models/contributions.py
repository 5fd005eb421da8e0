"""Exact SHAP contributions by leaf tables: what each feature added to a row's margin.

Path-dependent TreeSHAP (Lundberg, Erion, Lee: "Consistent individualized feature attribution for
tree ensembles", arXiv 1802.03888) lets a leaf speak for itself. Let its path test m different
features; feature j of a row passes (o_j = 1) or not (o_j = 0), and r_j is the share of training
cover that goes this way at j's splits. The leaf's part of feature i is

    leaf * (o_i - r_i) * sum over s of  s! (m - 1 - s)! / m!  *  c_s

where c_s is the coefficient of z^s in the product of (r_j + o_j z) over the other features j. It
depends on the row only through the m bits o, so each leaf gets a table of 2^m rows, once, and
explaining a row is a look-up per leaf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .forest import Forest, as_rows
from .xgboost_json import UnsupportedModelError

MAX_PATH: Final = 7
"""Different features on one path. A table doubles with each: 3.5 kB at 7, 8 kB at 8."""

MAX_TABLE_BYTES: Final = 256 * 2**20
"""All tables together; 200 full trees of depth 7 take 92 MB."""

_BLOCK: Final = 64
_LANES: Final = 8
"""Rows that the processor takes at once; fewer cost as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """The leaf tables of a forest.

    Attributes:
        features: columns of the matrix.
        bias: the expected margin over the training cover.
        starts: int64[leaves + 1]; a leaf's first condition, and the end.
        column: uint32[conditions]; the feature a condition is about.
        low, high: float32[conditions]; it holds in `low <= value < high`; a NaN `high` is no bound.
        missing: bool[conditions]; whether it holds for a missing value.
        tables: int64[leaves]; where a leaf's table starts.
        table: float32; for each pattern of held conditions (bit j: condition j) m contributions.
    """

    features: int
    bias: float
    starts: NDArray[np.int64]
    column: NDArray[np.uint32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    missing: NDArray[np.bool_]
    tables: NDArray[np.int64]
    table: NDArray[np.float32]

    @classmethod
    def of(cls, forest: Forest, where: str = "model.json") -> Contributions:
        """Build the tables of a forest; about 0.1 s for 200 trees of depth 6.

        Raises:
            UnsupportedModelError: a path tests more than `MAX_PATH` features, the tables would
                exceed `MAX_TABLE_BYTES`, or a split has no cover, so that its shares are unknown.
        """
        leaves, parents = _leaves_and_parents(forest.column, forest.left)
        inner = forest.left != np.arange(len(forest.left))
        if not forest.cover[inner].all():
            raise UnsupportedModelError("a split has no cover", where=where)
        lengths = _path_lengths(leaves, parents, forest.column, forest.features)
        if lengths.max(initial=0) > MAX_PATH:
            raise UnsupportedModelError(
                f"a path tests {lengths.max()} features; tables are built up to {MAX_PATH}",
                where=where,
                hint=f"fit with max_depth <= {MAX_PATH}",
            )
        sizes = lengths << lengths
        if 4 * sizes.sum() > MAX_TABLE_BYTES:
            raise UnsupportedModelError(
                f"the tables would take {4 * sizes.sum() >> 20} MiB", where=where
            )
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        tables = np.cumsum(sizes) - sizes
        column = np.empty(starts[-1], np.uint32)
        low, high = np.empty(starts[-1], np.float32), np.empty(starts[-1], np.float32)
        missing = np.empty(starts[-1], np.bool_)
        table = np.empty(sizes.sum(), np.float32)
        expected = _fill(
            leaves, parents, forest.column, forest.threshold, forest.left, forest.leaf,
            forest.cover, forest.features, _weights(), starts, tables,
            column, low, high, missing, table,
        )  # fmt: skip
        bias = float(forest.base_margin) + float(expected)
        return cls(forest.features, bias, starts, column, low, high, missing, tables, table)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the margin: float64[n, features] -> float64[n, features + 1].

        The last column is the bias, the same for every row; a row sums to its margin, but for
        float32's rounding. A row's contributions don't depend on the rows around it. 64 rows at a
        time are cheapest.

        Raises:
            ModelError: the matrix has another number of columns.
        """
        rows = as_rows(matrix, self.features)
        out = np.empty((len(rows), self.features + 1), np.float64)
        _explain(
            rows, self.bias, self.starts, self.column, self.low, self.high, self.missing,
            self.tables, self.table, out,
        )  # fmt: skip
        return out


def _weights() -> NDArray[np.float64]:
    """`weights[m, s] = s! (m - 1 - s)! / m!`: the share of orders where s given ones come first."""
    factorials = [1]
    for number in range(1, MAX_PATH + 1):
        factorials.append(factorials[-1] * number)
    weights = np.zeros((MAX_PATH + 1, MAX_PATH), np.float64)
    for m in range(1, MAX_PATH + 1):
        for s in range(m):
            weights[m, s] = factorials[s] * factorials[m - 1 - s] / factorials[m]
    return weights


@njit(cache=True)
def _leaves_and_parents(
    column: NDArray[np.uint32], left: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The leaves in order, and each node's parent (-1 at roots)."""
    parents = np.full(column.size, -1, np.int64)
    leaves = np.empty(column.size, np.int64)
    count = 0
    for node in range(column.size):
        child = np.int64(left[node])
        if child == node:
            leaves[count] = node
            count += 1
        else:
            parents[child] = node
            parents[child + 1] = node
    return leaves[:count].copy(), parents


@njit(cache=True)
def _path_lengths(
    leaves: NDArray[np.int64],
    parents: NDArray[np.int64],
    column: NDArray[np.uint32],
    features: int,
) -> NDArray[np.int64]:
    """How many different features each leaf's path tests."""
    lengths = np.zeros(leaves.size, np.int64)
    seen = np.full(features, -1, np.int64)
    for number in range(leaves.size):
        node = parents[leaves[number]]
        while node >= 0:
            feature = np.int64(column[node]) % features
            if seen[feature] != number:
                seen[feature] = number
                lengths[number] += 1
            node = parents[node]
    return lengths


@njit(cache=True)
def _fill(
    leaves: NDArray[np.int64],
    parents: NDArray[np.int64],
    column: NDArray[np.uint32],
    threshold: NDArray[np.float32],
    left: NDArray[np.uint32],
    leaf: NDArray[np.float32],
    cover: NDArray[np.float64],
    features: int,
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    tables: NDArray[np.int64],
    out_column: NDArray[np.uint32],
    out_low: NDArray[np.float32],
    out_high: NDArray[np.float32],
    out_missing: NDArray[np.bool_],
    out_table: NDArray[np.float32],
) -> float:
    """Merge each leaf's path into conditions and fill its table; returns the expected leaf sum."""
    expected = 0.0
    ratios = np.empty(out_column.size, np.float64)
    for number in range(leaves.size):
        start, end = starts[number], starts[number]
        child = leaves[number]
        node = parents[child]
        reached = 1.0
        while node >= 0:
            feature = np.uint32(np.int64(column[node]) % features)
            at = start
            while at < end and out_column[at] != feature:
                at += 1
            if at == end:
                end += 1
                out_column[at] = feature
                out_low[at], out_high[at] = np.float32(-np.inf), np.float32(np.nan)
                out_missing[at], ratios[at] = True, 1.0
            right = child != np.int64(left[node])
            if right:
                out_low[at] = max(out_low[at], threshold[node])
            elif not out_high[at] <= threshold[node]:
                out_high[at] = threshold[node]
            out_missing[at] &= right == (np.int64(column[node]) >= features)
            ratio = cover[child] / cover[node]
            ratios[at] *= ratio
            reached *= ratio
            child, node = node, parents[node]
        value = np.float64(leaf[leaves[number]])
        expected += value * reached
        _fill_table(value, ratios[start:end], weights[end - start], out_table[tables[number] :])
    return expected


@njit(cache=True)
def _fill_table(
    leaf: float,
    ratios: NDArray[np.float64],
    weights: NDArray[np.float64],
    table: NDArray[np.float32],
) -> None:
    """One leaf's table; whether feature i itself passes only changes its factor, not its sum."""
    m = ratios.size
    coefficients = np.empty(m + 1, np.float64)
    for i in range(m):
        bit = 1 << i
        for pattern in range(1 << m):
            if pattern & bit:
                continue
            degree = 0
            coefficients[0] = 1.0
            for j in range(m):
                if j == i:
                    continue
                if pattern >> j & 1:
                    degree += 1
                    coefficients[degree] = coefficients[degree - 1]
                    for s in range(degree - 1, 0, -1):
                        coefficients[s] = ratios[j] * coefficients[s] + coefficients[s - 1]
                    coefficients[0] *= ratios[j]
                else:
                    for s in range(degree + 1):
                        coefficients[s] *= ratios[j]
            total = 0.0
            for s in range(degree + 1):
                total += weights[s] * coefficients[s]
            table[pattern * m + i] = leaf * (0.0 - ratios[i]) * total
            table[(pattern | bit) * m + i] = leaf * (1.0 - ratios[i]) * total


@njit(cache=True)
def _explain(
    matrix: NDArray[np.float64],
    bias: float,
    starts: NDArray[np.int64],
    column: NDArray[np.uint32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    missing: NDArray[np.bool_],
    tables: NDArray[np.int64],
    table: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    count, features = matrix.shape
    values = np.zeros((features, _BLOCK), np.float32)
    sums = np.empty((features, _BLOCK), np.float64)
    done = 0
    while done < count:
        rows = min(_BLOCK, count - done)
        for row in range(rows):
            for feature in range(features):
                values[feature, row] = np.float32(matrix[done + row, feature])
        sums[:] = 0.0
        width = (rows + _LANES - 1) // _LANES * _LANES
        _explain_block(width, values, starts, column, low, high, missing, tables, table, sums)
        out[done : done + rows, :features] = sums[:, :rows].T
        out[done : done + rows, features] = bias
        done += rows


@njit(cache=True)
def _explain_block(
    width: int,
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
    column: NDArray[np.uint32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    missing: NDArray[np.bool_],
    tables: NDArray[np.int64],
    table: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Leaf by leaf over rows side by side: conditions and table are read once for all of them."""
    places = np.empty(_BLOCK, np.uint32)
    for leaf in range(tables.size):
        start, end = starts[leaf], starts[leaf + 1]
        places[:] = 0
        step = np.uint32(end - start)
        for at in range(start, end):
            lowest, highest, if_missing = low[at], high[at], missing[at]
            row_values = values[column[at]]
            for row in range(width):
                value = row_values[row]
                inside = (value >= lowest) & (not (value >= highest))
                held = inside | ((value != value) & if_missing)
                places[row] += step if held else np.uint32(0)
            step = np.uint32(step + step)
        for at in range(start, end):
            part = table[tables[leaf] + at - start :]
            total = sums[column[at]]
            for row in range(width):
                total[row] += part[places[row]]
