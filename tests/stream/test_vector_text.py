"""Rows of numbers are written as msgspec writes them."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.vector_text import rows_text

numbers = (
    st.floats()
    | st.integers(-(10**17), 10**17).map(float)
    | st.sampled_from([-0.0, 1e15, -1e15, 1e15 - 1, 1e16, 5e-324, 0.1, np.nan, np.inf, 1e22])
)


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n))))
def test_rows_are_those_of_msgspec(rows: list[list[float]]) -> None:
    matrix = np.array(rows, np.float64).reshape(len(rows), len(rows[0]) if rows else 1)
    assert rows_text(matrix) == [msgspec.json.encode(row)[1:-1].decode() for row in rows]
