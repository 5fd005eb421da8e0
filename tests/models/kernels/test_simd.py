"""The vector operations inside kernels, each against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError
from numpy.typing import NDArray

from models.kernels.simd import (
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

COUNT = POINTS * ROWS
TWO = np.uintp(2)
ANY = st.lists(st.floats(width=32), min_size=COUNT, max_size=COUNT)


@njit
def arithmetic(a: NDArray, b: NDArray, out: NDArray) -> None:
    one, other, start = load_points(a, np.uintp(0)), load_points(b, np.uintp(0)), np.uintp(0)
    row = load_row(b, np.uintp(ROWS))
    store(out, start, one * other + row)
    store(out, start + COUNT, row - one)
    store(out, start + 2 * COUNT, total(one * other))


@njit
def selection(a: NDArray, b: NDArray, out: NDArray) -> None:
    one, other = load_row(a, np.uintp(0)), load_row(b, np.uintp(0))
    points = load_points(b, np.uintp(0))
    store(out, np.uintp(0), choose(below(one, other), spread(1), points))
    store(out, np.uintp(COUNT), choose(same(one, other), spread(-1), spread(0.5)))


@njit
def spreading(a: NDArray, sums: NDArray, out: NDArray) -> None:
    store(out, np.uintp(0), spread_points(a, TWO))
    store(out, np.uintp(COUNT), spread_row(a, TWO))
    add_to(sums, TWO, load_row(a, TWO))


def as_points(numbers: list[float]) -> np.ndarray:
    return np.array(numbers, np.float32).reshape(POINTS, ROWS)


@settings(max_examples=100, deadline=None)
@given(ANY, ANY)
def test_operators_round_once_each_as_numpy_does(a: list[float], b: list[float]) -> None:
    one, other = as_points(a), as_points(b)
    out = np.empty(2 * COUNT + ROWS, np.float32)
    arithmetic(one.ravel(), other.ravel(), out)
    with np.errstate(all="ignore"):
        product = one * other
        expected = [product + other[1], other[1] - one, product[0]]
        for q in range(1, POINTS):
            expected[2] = expected[2] + product[q]
    np.testing.assert_array_equal(out, np.concatenate([part.ravel() for part in expected]))


@settings(max_examples=100, deadline=None)
@given(ANY, ANY)
def test_a_choice_follows_the_row_and_nan_is_neither_below_nor_the_same(
    a: list[float], b: list[float]
) -> None:
    one, other = as_points(a), as_points(b)
    one[0, 3], other[0, 4] = other[0, 3], np.nan
    out = np.empty(COUNT + ROWS, np.float32)
    selection(one.ravel(), other.ravel(), out)
    np.testing.assert_array_equal(
        out[:COUNT].reshape(POINTS, ROWS), np.where(one[0] < other[0], np.float32(1), other)
    )
    np.testing.assert_array_equal(out[COUNT:], np.where(one[0] == other[0], -1.0, 0.5))


def test_spreading_and_adding_touch_only_their_elements() -> None:
    a = np.arange(COUNT, dtype=np.float32) + np.float32(0.1)
    sums = np.full(ROWS + 4, 1e9)
    out = np.full(COUNT + ROWS + 1, -1, np.float32)
    spreading(a, sums, out)
    np.testing.assert_array_equal(out[:COUNT].reshape(POINTS, ROWS).T, [a[2 : 2 + POINTS]] * ROWS)
    np.testing.assert_array_equal(out[COUNT:-1], a[2])
    assert out[-1] == -1
    added = np.zeros(ROWS + 4)
    added[2:-2] = a[2 : 2 + ROWS]
    np.testing.assert_array_equal(sums, 1e9 + added)


def test_lanes_go_with_lanes_only() -> None:
    @njit
    def mixed(a: NDArray) -> None:
        store(a, np.uintp(0), load_row(a, np.uintp(0)) + 1.0)

    with pytest.raises(TypingError):
        mixed(np.zeros(ROWS, np.float32))
