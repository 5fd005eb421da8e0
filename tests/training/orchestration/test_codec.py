"""The codec of results: what goes in comes out; strange bytes give an error and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from claimtrace.errors import StateError
from claimtrace.ids import digest
from training import run as run_module
from training.orchestration import codec
from training.orchestration.codec import (
    NoCodec,
    decode,
    encode,
    encode_kept,
    measure,
    types_of,
)
from training.run import TrainingRun

KINDS = st.sampled_from(["<f8", "<f4", "<i8", "<i4", "|u1", "|b1", "<U3", ">f8"])
ARRAYS = KINDS.flatmap(lambda kind: npst.arrays(kind, npst.array_shapes(min_dims=0, min_side=0)))


class Inner(msgspec.Struct, frozen=True):
    value: float
    words: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    matrix: NDArray[np.float64]
    inner: Inner | None
    parts: list[Inner]
    blob: bytes
    names: dict[str, int]
    lineage: dict[str, int]


OUTERS = st.builds(
    Outer,
    matrix=npst.arrays("<f8", npst.array_shapes(max_dims=2, min_side=0)),
    inner=st.none() | st.builds(Inner, st.floats(), st.text()),
    parts=st.lists(st.builds(Inner, st.floats(), st.text()), max_size=3),
    blob=st.binary(max_size=20),
    names=st.dictionaries(st.text(max_size=3), st.integers(-(2**63), 2**63 - 1), max_size=3),
    lineage=st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
)


@given(ARRAYS)
@settings(max_examples=60)
def test_arrays_come_back_bit_for_bit_and_writable(array: np.ndarray) -> None:
    again = decode(encode(array), np.ndarray)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable
    assert measure(again) == measure(array)


@given(OUTERS)
@settings(max_examples=60)
def test_dataclasses_of_arrays_and_structs_come_back(outer: Outer) -> None:
    content = encode_kept(outer, Outer)
    assert content is not None
    again = decode(content, Outer)
    assert encode(again) == encode(outer)
    assert type(again.parts) is list
    assert again.lineage == outer.lineage


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_strange_bytes_are_a_named_error(content: bytes) -> None:
    for kind in (Outer, np.ndarray, list[Inner], int):
        try:
            decode(content, kind)
        except StateError:
            continue


@given(OUTERS, st.data())
@settings(max_examples=60)
def test_a_damaged_value_is_an_error_or_a_value_of_its_type(
    outer: Outer, data: st.DataObject
) -> None:
    content = bytearray(encode(outer))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        again = decode(bytes(content), Outer)
    except StateError:
        return
    assert isinstance(again, Outer)
    assert isinstance(again.matrix, np.ndarray)


@pytest.mark.parametrize(
    "form",
    [
        {"kind": "|O", "shape": [1], "data": b"\0" * 8},
        {"kind": "<f8", "shape": [2**62], "data": b"\0" * 8},
        {"kind": "<f8", "shape": [-1], "data": b"\0" * 8},
        {"kind": "<f8", "shape": [1] * 99, "data": b"\0" * 8},
        {"kind": "<f8,<i4", "shape": [1], "data": b"\0" * 12},
        {"kind": "<f8", "shape": [1], "data": b"\0" * 8, "more": 1},
        {"kind": "<M8[ms]", "shape": [1], "data": b"\0" * 8},
        {"kind": "no kind", "shape": [1], "data": b""},
        [1, 2],
    ],
)
def test_arrays_of_objects_or_of_a_wrong_length_are_refused(form: object) -> None:
    with pytest.raises(StateError):
        decode(msgspec.msgpack.encode(form), np.ndarray)


def test_what_has_no_codec_is_not_kept() -> None:
    for value in (object(), {"f": lambda: 1}, np.array([object()]), {1, "a", object()}):
        with pytest.raises(NoCodec):
            measure(value)
        assert encode_kept(value, object) is None


def test_a_type_that_would_lose_something_is_not_kept() -> None:
    """An array in a dict of anything would come back as a dict."""
    assert encode_kept({"a": np.ones(3)}, dict[str, object]) is None
    assert encode_kept({"a": np.ones(3)}, dict[str, NDArray[np.float64]]) is not None


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_BYTES", 400)
    assert encode_kept(np.ones(20), np.ndarray) is not None
    assert encode_kept(np.ones(60), np.ndarray) is None


def test_digests_follow_content_and_not_lineage() -> None:
    one = Outer(np.ones(2), None, [], b"", {"a": 1, "b": 2}, {"version": 1})
    same = Outer(np.ones(2), None, [], b"", {"b": 2, "a": 1}, {"version": 2})
    other = Outer(np.array([1.0, -1.0]), None, [], b"", {"a": 1, "b": 2}, {"version": 1})
    assert measure(one).digest == measure(same).digest != measure(other).digest
    assert measure(np.float64(1.5)) == measure(1.5)
    assert measure(np.zeros((2, 3))).digest != measure(np.zeros((3, 2))).digest
    assert measure(b"a").digest != digest(b"a")


def test_the_types_of_a_run_are_known_without_its_imports() -> None:
    types = types_of(TrainingRun, vars(run_module))
    assert types["notes"] == list[str]
    assert types["at_ms"] is int
    assert set(types) >= {"dataset", "split", "published", "offline"}
