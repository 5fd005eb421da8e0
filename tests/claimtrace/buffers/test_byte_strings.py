"""Byte strings in one buffer, compared with a list of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.buffers import byte_strings
from claimtrace.buffers.byte_strings import ByteStrings

lists = st.lists(st.none() | st.binary(max_size=5), max_size=12)


def content_of(values: list[bytes | None]) -> bytes:
    return b"".join(value for value in values if value)


@pytest.mark.parametrize("few", [0, 256], ids=["by the kernel", "one by one"])
@given(lists, st.data())
@settings(deadline=None)
def test_they_are_what_a_list_of_them_is(few: int, values: list[bytes | None], data) -> None:
    many = ByteStrings.of(values)
    rows = data.draw(st.permutations(range(len(values))))[: data.draw(st.integers(0, 12))]
    some = [values[row] for row in rows]
    taken = many.take(np.array(rows, np.int64))
    start, end = sorted(data.draw(st.tuples(st.integers(0, 12), st.integers(0, 12))))
    before, byte_strings._FEW = byte_strings._FEW, few
    try:
        assert list(many) == many == values
        assert [many[i] for i in range(len(many))] == values
        assert list(many[start:end]) == values[start:end]
        assert list(taken) == some
        assert taken.content_alone().tobytes() == content_of(some)
        assert taken.copied(b"end").tobytes() == content_of(some) + b"end"
        joined = ByteStrings.joined([taken, many[start:end], ByteStrings.none(1)])
        assert list(joined) == [*some, *values[start:end], None]
        sizes = [len(value or b"") for value in some]
        assert np.diff(taken.bounds()).tolist() == sizes
    finally:
        byte_strings._FEW = before


def test_what_is_taken_of_much_is_no_view_of_the_rest() -> None:
    many = ByteStrings.of([b"a" * 1000, b"b", b"c"])
    assert ByteStrings.joined([many[1:]]).content.nbytes == 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=6))
def test_texts_are_utf_8(texts: list[str]) -> None:
    assert list(ByteStrings.of_texts(texts)) == [text.encode() for text in texts]
