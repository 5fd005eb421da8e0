"""Build Arrow arrays from Python and numpy values, each in the cheapest way.

Texts that repeat become dictionary arrays, which are written to Parquet without being expanded.
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
"""An array with 32-bit offsets holds fewer bytes than this."""


def table_of(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """Make a table of columns in the schema's order.

    A column that is an Arrow array keeps its type (it may be a dictionary array); others get the
    type of the schema.
    """
    arrays = []
    for field in schema:
        column = columns[field.name]
        is_array = isinstance(column, pa.Array)
        arrays.append(column if is_array else pa.array(column, field.type))
    fields = [field.with_type(array.type) for field, array in zip(schema, arrays, strict=True)]
    return pa.table(arrays, pa.schema(fields))


def concatenated(parts: Iterable[Iterable[Any]]) -> list[Any]:
    """Put the elements of all parts into one list."""
    return list(chain.from_iterable(parts))


def topic_partitions(parts: Sequence[Records]) -> dict[str, Any]:
    """Make the columns `topic`, `partition` and `position` of some batches of records."""
    # each batch numbers its topic-partitions by itself: renumber them over all batches
    found: dict[TopicPartition, int] = {}
    renumbered = [
        [found.setdefault(each, len(found)) for each in part.topic_partitions] for part in parts
    ]
    rows = np.concatenate(
        [np.array(new, np.int64)[part.parts] for new, part in zip(renumbered, parts, strict=True)]
    )
    return {
        "topic": dictionary_texts([topic for topic, _ in found], rows),
        "partition": np.array([partition for _, partition in found], np.int32)[rows],
        "position": np.concatenate([part.positions for part in parts]),
    }


def dictionary_texts(
    values: Sequence[str | None], rows: NDArray[np.int64] | None = None
) -> pa.Array:
    """Make a dictionary array of a few distinct texts.

    Args:
        values: texts, None for null.
        rows: int64[n], picks `values[i]` for each i; None: each value once, in order.

    >>> dictionary_texts(["a", None, "a"]).to_pylist()
    ['a', None, 'a']
    >>> dictionary_texts(["x", "y"], np.array([1, 1])).to_pylist()
    ['y', 'y']
    """
    # dict.fromkeys keeps the order, so equal inputs give equal dictionaries
    texts = [text for text in dict.fromkeys(values) if text is not None]
    if rows is not None and len(texts) == len(values):
        codes = rows.astype(np.int32)  # the values are distinct: rows are the codes already
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


def picked_numbers(
    kind: pa.DataType, values: Sequence[float | None], rows: NDArray[np.int64]
) -> pa.Array:
    """Make a number array of `values[i]` for each i of `rows`, null for None.

    >>> picked_numbers(pa.int64(), [7, None], np.array([0, 0, 1])).to_pylist()
    [7, 7, None]
    """
    if len(values) == 1:
        return pa.repeat(pa.scalar(values[0], kind), len(rows))
    return pa.array(values, kind).take(pa.array(rows))


def fixed_texts(table: NDArray[np.uint8]) -> pa.Array:
    """Make a text array of texts of one length, from uint8[n, characters] in ASCII.

    >>> fixed_texts(np.frombuffer(b"0aff", np.uint8).reshape(2, 2)).to_pylist()
    ['0a', 'ff']
    """
    rows, width = table.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return _cut(pa.string(), np.ascontiguousarray(table), offsets)


def byte_strings(parts: Sequence[ByteStrings], kind: pa.DataType | None = None) -> pa.Array:
    """Make one array of the byte strings of some batches, null for missing ones; copied once.

    Args:
        parts: the byte strings of each batch.
        kind: binary by default; `pa.string()` for bytes that are UTF-8.

    >>> byte_strings([ByteStrings.of([b"x", None]), ByteStrings.of([b""])]).to_pylist()
    [b'x', None, b'']
    """
    kind = kind or pa.binary()
    joined = ByteStrings.joined(parts)
    is_missing, bounds = joined.sizes < 0, joined.bounds()
    if is_missing.all():
        return pa.nulls(len(joined), kind)
    if bounds[-1] >= _MOST_BYTES:
        return pa.array(list(joined), kind)  # raises a clear error where the kind can't hold it
    validity = np.packbits(~is_missing, bitorder="little") if is_missing.any() else None
    return _cut(kind, joined.content, bounds.astype(np.int32), validity)


def text_lists(rows: Sequence[Sequence[str]]) -> pa.Array:
    """Make an array of lists of texts; the usual case, all empty, is built without a loop.

    >>> text_lists([["late"], []]).to_pylist()
    [['late'], []]
    """
    if any(rows):
        return pa.array(rows, pa.list_(pa.string()))
    return pa.ListArray.from_arrays(np.zeros(len(rows) + 1, np.int32), pa.array([], pa.string()))


def float_lists(matrix: NDArray[np.float64]) -> pa.Array:
    """Make an array of lists from the rows of a matrix, without a copy.

    >>> float_lists(np.array([[1.0, np.nan]])).to_pylist()
    [[1.0, nan]]
    """
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(offsets, matrix.reshape(-1))


def _cut(
    kind: pa.DataType, content: Any, offsets: NDArray[np.int32], validity: Any = None
) -> pa.Array:
    """Make an array over `content`, cut at `offsets`; `validity` has a bit for each value."""
    bits = None if validity is None else pa.py_buffer(validity)
    buffers = [bits, pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(kind, len(offsets) - 1, buffers)
