"""Write the bytes of many decisions by one kernel: pieces of text, ids, numbers.

A decision is a fixed frame with about twenty values in it. Texts that decisions share are encoded
once and copied; whole numbers, of which there are many, are written digit by digit; other numbers
need the shortest digits that read back to the same float, for which msgspec encodes all of them in
one call. The layout of a decision is described in `stream.decisions.sealer`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.buffers.byte_strings import ByteStrings, bounds_of
from claimtrace.buffers.jit import kernel

_encode = msgspec.json.Encoder().encode
_WHOLE_BELOW: Final = 1e15
"""Whole numbers below this are written by the kernel; from 1e16 on msgspec writes an exponent."""

_NULL, _WHOLE, _OTHER = 0, 1, 2
"""Kinds of numbers: written as null, by the kernel, by msgspec."""
_LONGEST_FLOAT: Final = 26  # bytes, with a comma
_LONGEST_INTEGER: Final = 20  # bytes, with a sign

ID_CHARS: Final = 36
HASH_CHARS: Final = 32


class Texts:
    """A table of texts without repetitions, each referred to by its number.

    >>> texts = Texts()
    >>> texts.number(b"a"), texts.number(b"b"), texts.number(b"a")
    (0, 1, 0)
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def number(self, text: bytes) -> int:
        """Return the number of a text; a new text gets the next number."""
        return self._numbers.setdefault(text, len(self._numbers))

    def joined(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return all texts joined, and int64[texts + 1]: their starts, and the end of the last."""
        bounds = bounds_of([len(text) for text in self._numbers])
        return np.frombuffer(b"".join(self._numbers), np.uint8), bounds


class Columns(NamedTuple):
    """The values of some decisions, a row each.

    `pieces` int64[9] (P0 to P8) and `variants` int64[4 + others, n] (V0 to V3, then one text behind
    the score of each model that didn't decide) are numbers of texts; `id_hashes` uint8[n, 20] are
    SHA-1, `feature_hashes` uint8[n, 16]; `claims` are the ids as JSON has them between its quotes;
    `integers` int64[3, n] are position, event time and log time; `numbers` float64[n, 2 + features
    + others] are score, margin, the vector, and the scores of the other models.
    """

    texts: Texts
    pieces: NDArray[np.int64]
    variants: NDArray[np.int64]
    id_hashes: NDArray[np.uint8]
    feature_hashes: NDArray[np.uint8]
    claims: ByteStrings
    integers: NDArray[np.int64]
    numbers: NDArray[np.float64]


def write_decisions(
    columns: Columns, suffix: bytes, buffer: bytearray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write decisions without their chain; returns their starts and ends, int64[n] each.

    Args:
        columns: their values.
        suffix: written after the end of each.
        buffer: the output, extended as needed; no view of it may be alive then (`BufferError`). A
            buffer that is reused is faster than a new one, whose pages would have to be mapped.
    """
    rows, width = columns.numbers.shape
    kinds, others = _kinds(columns.numbers)
    text, bounds = columns.texts.joined()
    lengths = np.diff(bounds)
    # an upper bound of the size, so that the kernel needs no checks
    a_row = len(suffix) + lengths[columns.pieces].sum() + ID_CHARS + HASH_CHARS
    a_row += 4 * _LONGEST_INTEGER + width * _LONGEST_FLOAT
    needed = int(rows * a_row + lengths[columns.variants].sum() + columns.claims.sizes.sum())
    buffer.extend(bytes(max(needed - len(buffer), 0)))
    starts, ends = np.empty(rows, np.int64), np.empty(rows, np.int64)
    _write(
        np.frombuffer(buffer, np.uint8), np.frombuffer(suffix, np.uint8), text, bounds,
        columns.pieces, columns.variants, columns.id_hashes, columns.feature_hashes,
        columns.claims.content_alone(), columns.claims.bounds(), columns.integers,
        columns.numbers, kinds, others, starts, ends,
    )  # fmt: skip
    return starts, ends


def cut(written: NDArray[np.uint8], starts: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Copy the texts of one length that begin at `starts`, as uint8[n, width].

    >>> cut(np.frombuffer(b"ab.cd", np.uint8), np.array([0, 3]), 2).tobytes()
    b'abcd'
    """
    texts = ByteStrings(written, starts, np.full(len(starts), width, np.int64))
    return texts.copied().reshape(len(starts), width)


def _kinds(numbers: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the kind of each number, and the JSON array of those that msgspec writes."""
    kinds, others = np.empty(numbers.shape, np.uint8), np.empty(numbers.size)
    count = _classify(numbers, kinds, others)
    return kinds, np.frombuffer(_encode(others[:count].tolist()), np.uint8)


# Indexes in the kernels are unsigned: numba then doesn't test whether an index is negative, and the
# compiler turns the loops of `_copy` into wide moves (measured: an eighth of the time).
#
# `at` is always the next byte of `out`. Bytes are ASCII codes: 44 comma, 45 minus, 46 point,
# 48 zero, 53 five, 87 + 10 letter a, 93 closing bracket; 110 117 108 108 is null.


@njit(inline="always")
def _copy(out, at, text, start, end):  # type: ignore[no-untyped-def]
    begin = np.uint64(start)
    size = np.uint64(end) - begin
    for i in range(size):
        out[at + i] = text[begin + i]
    return at + size


@njit(inline="always")
def _put_integer(out, at, number):  # type: ignore[no-untyped-def]
    left = np.uint64(number)
    if number < 0:
        out[at] = 45
        at += np.uint64(1)
        left = np.uint64(-number)
    size = np.uint64(1)
    rest = left
    while rest >= np.uint64(10):
        rest //= np.uint64(10)
        size += np.uint64(1)
    for i in range(size):
        out[at + size - np.uint64(1) - i] = np.uint64(48) + left % np.uint64(10)
        left //= np.uint64(10)
    return at + size


@njit(inline="always")
def _put_hex(out, at, hashed, row, first, last):  # type: ignore[no-untyped-def]
    """Write the hex digits `[first, last)` of a row of hashes."""
    for i in range(first, last):
        byte = hashed[row, i >> 1]
        digit = byte & 15 if i & 1 else byte >> 4
        out[at] = digit + (48 if digit < 10 else 87)
        at += np.uint64(1)
    return at


@njit(inline="always")
def _put_id(out, at, hashed, row):  # type: ignore[no-untyped-def]
    """Write a UUID version 5: 128 bits of a SHA-1, six of them replaced by version and variant."""
    at = _put_hex(out, at, hashed, row, 0, 8)
    out[at] = 45
    at = _put_hex(out, at + np.uint64(1), hashed, row, 8, 12)
    out[at], out[at + np.uint64(1)] = 45, 53  # the version replaces hex digit 12
    at = _put_hex(out, at + np.uint64(2), hashed, row, 13, 16)
    # the variant replaces the two upper bits of hex digit 16
    variant = 8 + ((hashed[row, 8] >> 4) & 3)
    out[at], out[at + np.uint64(1)] = 45, variant + (48 if variant < 10 else 87)
    at = _put_hex(out, at + np.uint64(2), hashed, row, 17, 20)
    out[at] = 45
    return _put_hex(out, at + np.uint64(1), hashed, row, 20, 32)


@njit(inline="always")
def _put_number(out, at, number, kind, others, read):  # type: ignore[no-untyped-def]
    """Write a float; `read` is the index of the next number in `others`, msgspec's array."""
    one = np.uint64(1)
    if kind == _WHOLE:
        at = _put_integer(out, at, np.int64(number))
        out[at], out[at + one] = 46, 48
        return at + np.uint64(2), read
    if kind == _OTHER:
        # copied up to the comma or bracket that ends it; `read` moves past that
        while others[read] != 44 and others[read] != 93:
            out[at] = others[read]
            at += one
            read += one
        return at, read + one
    out[at], out[at + one] = 110, 117
    out[at + np.uint64(2)], out[at + np.uint64(3)] = 108, 108
    return at + np.uint64(4), read


@kernel
def _classify(numbers, kinds, others):  # type: ignore[no-untyped-def]
    """Set the kind of each number and copy those for msgspec to `others`; returns their count."""
    count = 0
    for row in range(numbers.shape[0]):
        for column in range(numbers.shape[1]):
            number = numbers[row, column]
            kind = _NULL
            if np.isfinite(number):
                is_whole = abs(number) < _WHOLE_BELOW and number == np.trunc(number)
                # -0.0 goes to msgspec, which keeps its sign; an integer would lose it
                kind = _WHOLE if is_whole and (number != 0 or not np.signbit(number)) else _OTHER
            if kind == _OTHER:
                others[count] = number
                count += 1
            kinds[row, column] = kind
    return count


@kernel
def _write(  # type: ignore[no-untyped-def]
    out, behind, text, bounds, pieces, variants, id_hashes, feature_hashes, claims,
    claim_bounds, integers, numbers, kinds, others, starts, ends,
):  # fmt: skip
    at, read = np.uint64(0), np.uint64(1)  # past the opening bracket of `others`
    models = variants.shape[0] - 4  # those that didn't decide
    behind_vector = numbers.shape[1] - models
    for row in range(starts.size):
        starts[row] = at
        at = _copy(out, at, text, bounds[pieces[0]], bounds[pieces[0] + 1])
        at = _put_id(out, at, id_hashes, row)
        at = _copy(out, at, text, bounds[pieces[1]], bounds[pieces[1] + 1])
        at = _copy(out, at, claims, claim_bounds[row], claim_bounds[row + 1])
        variant = variants[0, row]
        at = _copy(out, at, text, bounds[variant], bounds[variant + 1])
        at = _put_integer(out, at, integers[0, row])
        for i in range(3):  # event, log and known time; the log time is the known time, too
            at = _copy(out, at, text, bounds[pieces[2 + i]], bounds[pieces[2 + i] + 1])
            at = _put_integer(out, at, integers[min(1 + i, 2), row])
        for i in range(2):
            at = _copy(out, at, text, bounds[pieces[5 + i]], bounds[pieces[5 + i] + 1])
            at, read = _put_number(out, at, numbers[row, i], kinds[row, i], others, read)
        for i in range(1, 3):  # outcome texts, then reason texts
            variant = variants[i, row]
            at = _copy(out, at, text, bounds[variant], bounds[variant + 1])
        at = _copy(out, at, text, bounds[pieces[7]], bounds[pieces[7] + 1])
        for i in range(2, behind_vector):
            if i > 2:
                out[at] = 44
                at += np.uint64(1)
            at, read = _put_number(out, at, numbers[row, i], kinds[row, i], others, read)
        at = _copy(out, at, text, bounds[pieces[8]], bounds[pieces[8] + 1])
        at = _put_hex(out, at, feature_hashes, row, 0, 32)
        variant = variants[3, row]
        at = _copy(out, at, text, bounds[variant], bounds[variant + 1])
        for i in range(models):
            number, kind = numbers[row, behind_vector + i], kinds[row, behind_vector + i]
            at, read = _put_number(out, at, number, kind, others, read)
            variant = variants[4 + i, row]
            at = _copy(out, at, text, bounds[variant], bounds[variant + 1])
        ends[row] = at  # the suffix doesn't count
        at = _copy(out, at, behind, 0, behind.size)
