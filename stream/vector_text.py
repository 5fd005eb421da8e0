"""Rows of numbers as JSON, many at a time: the bytes that msgspec writes for each as a list.

Most features are whole numbers, and those are written by a kernel; the others need the shortest
digits that read back to the same float, which is msgspec's art: it writes them all in one call.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

_encode = msgspec.json.Encoder().encode
_WHOLE_BELOW: Final = 1e15
"""From 1e16 on, msgspec writes a whole number with an exponent."""

_LONGEST: Final = 26
"""Bytes of a float and its comma."""


def rows_text(matrix: NDArray[np.float64]) -> list[str]:
    """Each row as JSON without its brackets; NaN and infinities are null.

    >>> rows_text(np.array([[1.0, 0.5], [np.nan, -20.0]]))
    ['1.0,0.5', 'null,-20.0']
    """
    finite = np.isfinite(matrix)
    whole = finite & (np.abs(matrix) < _WHOLE_BELOW) & (matrix == np.trunc(matrix))
    whole &= (matrix != 0) | ~np.signbit(matrix)  # -0.0 keeps its sign
    others = np.frombuffer(_encode(matrix[finite & ~whole].tolist()), np.uint8)
    out = np.empty(matrix.size * _LONGEST, np.uint8)
    ends = np.empty(len(matrix), np.int64)
    _write(matrix, finite, whole, others, out, ends)
    text = out[: ends[-1] if len(ends) else 0].tobytes().decode()
    starts = [0, *ends.tolist()][:-1]
    return [text[a : b - 1] for a, b in zip(starts, ends.tolist(), strict=True)]


@njit(cache=True)
def _write(matrix, finite, whole, others, out, ends):  # type: ignore[no-untyped-def]
    at, read = 0, 1  # behind the bracket
    digits = np.empty(20, np.uint8)
    for row in range(matrix.shape[0]):
        for column in range(matrix.shape[1]):
            if whole[row, column]:
                number = np.int64(matrix[row, column])
                if number < 0:
                    out[at] = 45
                    at += 1
                    number = -number
                count = 0
                while True:
                    digits[count] = 48 + number % 10
                    count += 1
                    number //= 10
                    if number == 0:
                        break
                for i in range(count):
                    out[at + i] = digits[count - 1 - i]
                out[at + count], out[at + count + 1] = 46, 48
                at += count + 2
            elif finite[row, column]:
                while others[read] != 44 and others[read] != 93:
                    out[at] = others[read]
                    at += 1
                    read += 1
                read += 1
            else:
                out[at], out[at + 1], out[at + 2], out[at + 3] = 110, 117, 108, 108
                at += 4
            out[at] = 44
            at += 1
        ends[row] = at
