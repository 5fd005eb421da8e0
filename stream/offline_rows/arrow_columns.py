"""Columns of rows: what lies in Python and numpy as Arrow arrays, each in the way that costs least.

Words that repeat become dictionaries: they are written to a file as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.batches.records import Records, TopicPartition
from claimtrace.buffers.byte_strings import ByteStrings

_MOST_BYTES = 2**31
"""More don't fit an array with 32-bit offsets."""


def table_of(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """A table with columns in the schema's order and of its types, or dictionaries of those."""
    arrays = []
    for field in schema:
        column = columns[field.name]
        made = isinstance(column, pa.Array)
        arrays.append(column if made else pa.array(column, field.type))
    fields = [field.with_type(array.type) for field, array in zip(schema, arrays, strict=True)]
    return pa.table(arrays, pa.schema(fields))


def chained(parts: Iterable[Iterable[Any]]) -> list[Any]:
    """Elements behind each other."""
    return list(chain.from_iterable(parts))


def topic_partitions(parts: Sequence[Records]) -> dict[str, Any]:
    """Topic, partition and position of each record."""
    found: dict[TopicPartition, int] = {}
    own = [[found.setdefault(each, len(found)) for each in part.topic_partitions] for part in parts]
    rows = np.concatenate(
        [np.array(new, np.int64)[part.parts] for new, part in zip(own, parts, strict=True)]
    )
    return {
        "topic": words([topic for topic, _ in found], rows),
        "partition": np.array([partition for _, partition in found], np.int32)[rows],
        "position": np.concatenate([part.positions for part in parts]),
    }


def words(values: Sequence[str | None], rows: NDArray[np.int64] | None = None) -> pa.Array:
    """Few different texts as a dictionary: `values[i]` for each i of `rows`, or each once.

    >>> words(["a", None, "a"]).to_pylist(), words(["x", "y"], np.array([1, 1])).to_pylist()
    (['a', None, 'a'], ['y', 'y'])
    """
    texts = [text for text in dict.fromkeys(values) if text is not None]
    if rows is not None and len(texts) == len(values):
        codes = rows.astype(np.int32)
    else:
        known: dict[str | None, int] = {text: i for i, text in enumerate(texts)}
        known[None] = -1
        codes = np.fromiter(map(known.__getitem__, values), np.int32, len(values))
        codes = codes if rows is None else codes[rows]
    is_missing = codes < 0
    if is_missing.any():
        indices = pa.array(np.maximum(codes, 0), mask=is_missing)
    else:
        indices = pa.array(codes)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts or [""]), safe=False)


def numbers(kind: pa.DataType, values: Sequence[float | None], rows: NDArray[np.int64]) -> pa.Array:
    """`values[i]` for each i of `rows`.

    >>> numbers(pa.int64(), [7, None], np.array([0, 0, 1])).to_pylist()
    [7, 7, None]
    """
    if len(values) == 1:
        return pa.repeat(pa.scalar(values[0], kind), len(rows))
    return pa.array(values, kind).take(pa.array(rows))


def texts_of(table: NDArray[np.uint8]) -> pa.Array:
    """Texts that are all of one length, from uint8[n, characters].

    >>> texts_of(np.frombuffer(b"0aff", np.uint8).reshape(2, 2)).to_pylist()
    ['0a', 'ff']
    """
    rows, width = table.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return _cut(pa.string(), np.ascontiguousarray(table), offsets)


def byte_strings(parts: Sequence[ByteStrings], kind: pa.DataType | None = None) -> pa.Array:
    """Bytes of some batches, or texts, null for none at all; copied once.

    >>> byte_strings([ByteStrings.of([b"x", None]), ByteStrings.of([b""])]).to_pylist()
    [b'x', None, b'']
    """
    kind = kind or pa.binary()
    joined = ByteStrings.joined(parts)
    is_missing, bounds = joined.sizes < 0, joined.bounds()
    if is_missing.all():
        return pa.nulls(len(joined), kind)
    if bounds[-1] >= _MOST_BYTES:
        return pa.array(list(joined), kind)  # which says what is wrong
    there = np.packbits(~is_missing, bitorder="little") if is_missing.any() else None
    return _cut(kind, joined.content, bounds.astype(np.int32), there)


def text_lists(rows: Sequence[Sequence[str]]) -> pa.Array:
    """Lists of texts; mostly all are empty.

    >>> text_lists([["late"], []]).to_pylist()
    [['late'], []]
    """
    if any(rows):
        return pa.array(rows, pa.list_(pa.string()))
    return pa.ListArray.from_arrays(np.zeros(len(rows) + 1, np.int32), pa.array([], pa.string()))


def vectors(matrix: NDArray[np.float64]) -> pa.Array:
    """The rows of a matrix as lists; not copied.

    >>> vectors(np.array([[1.0, np.nan]])).to_pylist()
    [[1.0, nan]]
    """
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(offsets, matrix.reshape(-1))


def _cut(
    kind: pa.DataType, written: Any, offsets: NDArray[np.int32], there: Any = None
) -> pa.Array:
    validity = None if there is None else pa.py_buffer(there)
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(written)]
    return pa.Array.from_buffers(kind, len(offsets) - 1, buffers)
