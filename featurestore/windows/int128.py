"""128-bit integers in numba, for exact sums of squares.

A variance needs n * sum(v^2) - sum(v)^2, which exceeds 63 bits long before amounts do. Values are
at most 2**40 in absolute value and a window has at most 2**22 of them, so that all numbers below
fit in 126 bits. A number is a pair (high, low) of uint64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from claimtrace.buffers.jit import kernel


@njit(cache=True, inline="always")
def multiply(a, b):  # type: ignore[no-untyped-def]
    """Return (high, low) of the product of two uint64."""
    # schoolbook multiplication in 32-bit digits; no partial sum exceeds 64 bits
    mask = uint64(0xFFFFFFFF)
    a0, a1 = a & mask, a >> uint64(32)
    b0, b1 = b & mask, b >> uint64(32)
    low = a0 * b0
    middle = a1 * b0 + (low >> uint64(32))
    other = a0 * b1 + (middle & mask)
    high = a1 * b1 + (middle >> uint64(32)) + (other >> uint64(32))
    return high, (other << uint64(32)) | (low & mask)


@njit(cache=True, inline="always")
def square(value):  # type: ignore[no-untyped-def]
    """Return (high, low) of the square of an int64."""
    size = uint64(abs(value))
    if size < uint64(1 << 32):  # true of nearly all amounts
        return uint64(0), size * size
    return multiply(size, size)


@njit(cache=True, inline="always")
def add(high, low, more_high, more_low):  # type: ignore[no-untyped-def]
    """Return (high, low) of the sum of two 128-bit numbers."""
    total = low + more_low
    carry = uint64(1) if total < low else uint64(0)
    return high + more_high + carry, total


@kernel
def to_float(high, low):  # type: ignore[no-untyped-def]
    """Return the nearest float64, ties to even, as Python's `float(int)` does."""
    if high == uint64(0):
        return np.float64(low)
    shift = 0
    top = high
    while not top >> uint64(63):
        top <<= uint64(1)
        shift += 1
    # the 64 leading bits; the lowest also serves as a sticky bit for the bits that are cut off
    if shift:
        lead = (high << uint64(shift)) | (low >> uint64(64 - shift))
        rest = low << uint64(shift)
    else:
        lead, rest = high, low
    if rest:
        lead |= uint64(1)
    value = np.float64(lead)
    for _ in range(64 - shift):
        value *= 2.0
    return value


@kernel
def deviation(count, total, squares_high, squares_low):  # type: ignore[no-untyped-def]
    """Return the sample standard deviation of `count` >= 2 integers from sum and sum of squares.

    sqrt((n * sum(v^2) - sum(v)^2) / (n * (n - 1))), with an exact integer numerator.
    """
    n = uint64(count)
    high, low = multiply(squares_low, n)
    high += squares_high * n
    size = uint64(abs(total))
    minus_high, minus_low = multiply(size, size)
    borrow = uint64(1) if low < minus_low else uint64(0)
    numerator = to_float(high - minus_high - borrow, low - minus_low)
    return np.sqrt(numerator / (np.float64(count) * np.float64(count - 1)))
