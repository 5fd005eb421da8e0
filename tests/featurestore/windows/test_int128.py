"""Arithmetic in 128 bits equals Python's integers, to the last bit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from featurestore.windows import int128 as exact

WORD = st.integers(0, 2**64 - 1)
AMOUNT = st.integers(-(2**40), 2**40)


@njit
def multiply(a, b):
    return exact.multiply(a, b)


@njit
def square(value):
    return exact.square(value)


@njit
def add(a, b, c, d):
    return exact.add(a, b, c, d)


@njit
def to_float(high, low):
    return exact.to_float(high, low)


@njit
def deviation(count, total, high, low):
    return exact.deviation(count, total, high, low)


def whole(pair: tuple[int, int]) -> int:
    return (int(pair[0]) << 64) | int(pair[1])


def halves(number: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(number >> 64), np.uint64(number & (2**64 - 1))


@given(WORD, WORD)
@example(2**64 - 1, 2**64 - 1)
@settings(deadline=None)
def test_products(a, b):
    assert whole(multiply(np.uint64(a), np.uint64(b))) == a * b


@given(AMOUNT)
@example(2**32 - 1)
@example(-(2**32))
@settings(deadline=None)
def test_squares(value):
    assert whole(square(np.int64(value))) == value**2


@given(st.integers(0, 2**127 - 1), st.integers(0, 2**127 - 1))
@settings(deadline=None)
def test_sums(a, b):
    assert whole(add(*halves(a), *halves(b))) == a + b


NEAR_POWERS = st.builds(
    lambda size, low: ((1 << size) + low) & (2**128 - 1), st.integers(0, 127), st.integers(-3, 3)
)


@given(st.one_of(st.integers(0, 2**128 - 1), NEAR_POWERS))
@example(2**64 - 1)
@example(2**64)
@example((2**53 + 1) << 60)
@example(((2**53 + 1) << 60) + 1)
@example(((2**54 + 2) << 64) - 1)
@settings(deadline=None)
def test_the_nearest_float_ties_to_even(number):
    assert to_float(*halves(number)) == float(number)


def sample_deviation(values: list[int]) -> float:
    n = len(values)
    numerator = n * sum(v * v for v in values) - sum(values) ** 2
    return math.sqrt(float(numerator) / (float(n) * float(n - 1)))


@given(st.lists(AMOUNT, min_size=2, max_size=40))
@example([10**11, 10**11 - 1])
@example([0, 0])
@settings(deadline=None)
def test_deviations(values):
    squares = halves(sum(v * v for v in values))
    found = deviation(np.int64(len(values)), np.int64(sum(values)), *squares)
    assert found == sample_deviation(values)


def test_a_spread_of_one_cent_on_large_amounts_is_seen():
    """Floating sums of squares say 0 here: the reason for the 128 bits."""
    values = [10**11] * 1000 + [10**11 + 1] * 1000
    found = deviation(2000, sum(values), *halves(sum(v * v for v in values)))
    assert found == sample_deviation(values)
    assert 0.5 < found < 0.5003


def test_the_largest_window_still_fits():
    n, value = 2**22, 2**40
    assert deviation(np.int64(n), np.int64(n * value), *halves(n * value * value)) == 0.0
