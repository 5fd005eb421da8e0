"""The Confluent frame: framing round-trips, and any bytes are recognised as framed or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.schemas.confluent_frame import (
    FRAME_BYTES,
    MAX_SCHEMA_ID,
    frame,
    schema_id,
)


@given(st.integers(0, MAX_SCHEMA_ID), st.binary(max_size=50))
def test_a_frame_comes_apart(number, payload):
    value = frame(number, payload)
    assert (schema_id(value), value[FRAME_BYTES:]) == (number, payload)


@given(st.binary(max_size=20))
def test_any_bytes_are_framed_or_not(value):
    framed = len(value) >= 5 and value[0] == 0
    assert (schema_id(value) is not None) == framed


@pytest.mark.parametrize("number", [-1, MAX_SCHEMA_ID + 1])
def test_an_id_that_nobody_gives_out_is_refused(number):
    with pytest.raises(ValueError, match="schema id"):
        frame(number, b"{}")
