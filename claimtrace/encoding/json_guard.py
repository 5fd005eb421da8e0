"""Refuse hostile JSON before any parser sees it: one pass over the bytes of a whole batch.

Parsers disagree on duplicate keys, NUL and lone surrogates, and depth costs them memory or the
stack. The guard checks structure only; a record that passes still goes through a strict, typed
decoder. It is total: any bytes give a code. It costs about one nanosecond a byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..buffers.jit import kernel
from ..limits import MAX_DEPTH, MAX_FIELDS

PASSED, TOO_DEEP, TOO_MANY_FIELDS, DUPLICATE_KEY, BAD_STRING, NOT_AN_OBJECT = range(6)

_SLOTS = 2048  # of the table of keys; at least twice MAX_FIELDS
assert _SLOTS >= 2 * MAX_FIELDS

Codes = NDArray[np.int8]


def inspect(
    buffer: NDArray[np.uint8], bounds: NDArray[np.int64]
) -> tuple[Codes, NDArray[np.int64]]:
    """Return a code and a byte offset (within the record) for each `buffer[bounds[i]:bounds[i+1]]`.

    >>> document = b'{"a":1,"a":2}'
    >>> codes, at = inspect(np.frombuffer(document, np.uint8), np.array([0, len(document)]))
    >>> codes[0] == DUPLICATE_KEY, at[0]
    (np.True_, np.int64(7))
    """
    codes = np.zeros(bounds.size - 1, np.int8)
    offsets = np.zeros(bounds.size - 1, np.int64)
    # A hash table of keys: stamp, start, end. The stamp is the record's number, so that the table
    # needn't be cleared between records.
    slots = np.zeros((_SLOTS, 3), np.int64)
    _inspect(buffer, bounds, codes, offsets, slots)
    return codes, offsets


@kernel
def _inspect(buffer, bounds, codes, offsets, slots):  # type: ignore[no-untyped-def]
    for i in range(codes.size):
        codes[i], at = _inspect_one(buffer, bounds[i], bounds[i + 1], slots, i + 1)
        offsets[i] = at - bounds[i]


@kernel
def _inspect_one(buffer, start, end, slots, stamp):  # type: ignore[no-untyped-def]  # noqa: C901 - one automaton
    at = start
    while at < end and (buffer[at] == 32 or 9 <= buffer[at] <= 13):
        at += 1
    if at >= end or buffer[at] != 123:  # {
        return NOT_AN_OBJECT, at
    depth = 0
    fields = 0
    expects_key = False  # only ever true directly inside the outermost object
    while at < end:
        byte = buffer[at]
        if byte == 34:  # "
            code, close = _string(buffer, at, end)
            if code != PASSED:
                return code, close
            if depth == 1 and expects_key:
                if not _first_time(buffer, at + 1, close, slots, stamp):
                    return DUPLICATE_KEY, at
                expects_key = False
            at = close
        elif byte == 123 or byte == 91:  # { [
            depth += 1
            if depth > MAX_DEPTH:
                return TOO_DEEP, at
            fields += 1
            expects_key = depth == 1
        elif byte == 125 or byte == 93:  # } ]
            depth -= 1
            if depth <= 0:
                return PASSED, at
        elif byte == 44:  # ,
            fields += 1
            expects_key = depth == 1
            if fields > MAX_FIELDS:
                return TOO_MANY_FIELDS, at
        at += 1
    return PASSED, at  # truncated: the decoder says where


@kernel
def _string(buffer, at, end):  # type: ignore[no-untyped-def]
    """Check the string that opens at `at`; returns a code and the offset of its closing quote."""
    i = at + 1
    while i < end:
        byte = buffer[i]
        if byte == 34:
            return PASSED, i
        if byte == 92:  # backslash
            if i + 1 < end and buffer[i + 1] == 117:  # u
                unit = _hex4(buffer, i + 2, end)
                if unit == 0 or 0xDC00 <= unit <= 0xDFFF:
                    return BAD_STRING, i
                if 0xD800 <= unit <= 0xDBFF:
                    paired = i + 7 < end and buffer[i + 6] == 92 and buffer[i + 7] == 117
                    low = _hex4(buffer, i + 8, end) if paired else -1
                    if low < 0xDC00 or low > 0xDFFF:
                        return BAD_STRING, i
                    i += 6
                i += 4
            i += 1
        i += 1
    return PASSED, end


@kernel
def _hex4(buffer, at, end):  # type: ignore[no-untyped-def]
    """Return four hex digits as a number; -1 when there aren't four."""
    if at + 4 > end:
        return -1
    unit = 0
    for i in range(at, at + 4):
        byte = buffer[i]
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 65 <= byte <= 70:
            digit = byte - 55
        elif 97 <= byte <= 102:
            digit = byte - 87
        else:
            return -1
        unit = unit * 16 + digit
    return unit


@kernel
def _first_time(buffer, start, end, slots, stamp):  # type: ignore[no-untyped-def]
    """Add a key of the outermost object to the table; false if it is a duplicate or has escapes."""
    code = np.uint64(14695981039346656037)  # FNV-1a
    for i in range(start, end):
        if buffer[i] == 92:
            return False  # an escaped key could equal a plain one after decoding
        code = (code ^ np.uint64(buffer[i])) * np.uint64(1099511628211)
    slot = np.int64(code % np.uint64(_SLOTS))
    while slots[slot, 0] == stamp:
        known, stop = slots[slot, 1], slots[slot, 2]
        if stop - known == end - start:
            same = True
            for i in range(end - start):
                if buffer[known + i] != buffer[start + i]:
                    same = False
                    break
            if same:
                return False
        slot = (slot + 1) % _SLOTS
    slots[slot, 0], slots[slot, 1], slots[slot, 2] = stamp, start, end
    return True
