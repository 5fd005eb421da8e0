"""Fields of a batch's claims from the fast JSON reader, without a Python object for each claim.

`ClaimColumns` has the methods of `event_columns.EventColumns` and returns the same bytes;
`tests/featurestore/fields/test_claim_columns.py` compares the two. If any id of a column isn't
printable ASCII, the column is normalised by `normalisation.normal_keys` instead of the kernel.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.buffers.siphash import Key, siphash128
from claimtrace.encoding.json_columns import JsonColumnReader, JsonColumns
from claimtrace.encoding.json_kernel import ID, INTEGER, MISSING, TEXT, TIME

from .event_columns import CategoryReader, Column
from .id_rules import IdRules, slot_of
from .interning import join_strings, split_strings
from .normalisation import LONGEST_PLACEHOLDER, Form

_FORMS: Final[dict[Form, int]] = {"id": 0, "code": 1, "phone": 2}
_CODE, _PHONE = 1, 2
_SLOTS: Final = 1024
_MAX_SPELLINGS: Final = _SLOTS // 2  # of one field: bounds the memory that hostile input can use
_UNKNOWN: Final = -2.0  # no code is cached in this slot; -1 is the code of an unseen category


class Spellings:
    """A cache of category codes for one field: spellings by their SipHash under a secret key."""

    def __init__(self, reader: CategoryReader, key: Key) -> None:
        self.reader = reader
        self._key = key
        self._hashes = np.zeros((_SLOTS, 2), np.uint64)
        self._codes = np.full(_SLOTS, _UNKNOWN)
        self._count = 0

    def codes(self, columns: JsonColumns, name: str) -> Column:
        """Return the code of the category in each row; see `CategoryReader.codes`."""
        first, second = columns.of(name)
        codes = np.empty(len(first), np.float64)
        _look_up(columns.buffer, first, second, self._key, self._hashes, self._codes, codes)
        for row in np.flatnonzero(codes == _UNKNOWN).tolist():
            spelling = columns.buffer[first[row] : second[row]]
            codes[row] = code = self.reader.code(spelling.tobytes().decode())
            if self._count < _MAX_SPELLINGS:
                self._count += _cache(spelling, self._key, self._hashes, self._codes, code)
        return codes


class ClaimColumns:
    """The fields of claims that were read into columns.

    Args:
        columns: the columns of the claims, in order.
        spellings: the cache of category codes of each category field, by the field's name.
    """

    def __init__(self, columns: JsonColumns, spellings: dict[str, Spellings]) -> None:
        self._columns = columns
        self._spellings = spellings

    def __len__(self) -> int:
        return int(self._columns.first.shape[1])

    def number(self, name: str) -> Column:
        """Return a field as float64, NaN for missing; times in ms since 1970."""
        first, second = self._columns.of(name)
        column = first.astype(np.float64)
        column[second == MISSING] = np.nan
        return column

    def codes(self, name: str, reader: CategoryReader) -> Column:
        """Return the category codes of a field."""
        spellings = self._spellings[name]
        assert spellings.reader is reader
        return spellings.codes(self._columns, name)

    def texts(self, name: str) -> list[str | None]:
        """Return a field as texts, None for missing; integers as decimal digits."""
        first, second = (column.tolist() for column in self._columns.of(name))
        buffer = self._columns.buffer
        return [
            None if b == MISSING else str(a) if b == 0 else buffer[a:b].tobytes().decode()
            for a, b in zip(first, second, strict=True)
        ]

    def keys(self, name: str, rules: IdRules) -> tuple[NDArray[np.uint8], list[int]]:
        """Return normalised ids as `join_strings` does, and the rows that held placeholders."""
        first, second = self._columns.of(name)
        capacity = int(np.maximum(second - first, 0).sum()) + len(first)
        keys, suspects = np.empty(capacity, np.uint8), np.zeros(len(first), np.bool_)
        buffer, longest = self._columns.buffer, LONGEST_PLACEHOLDER if rules.is_first else 0
        end = _normalise(buffer, first, second, _FORMS[rules.form], longest, bool(rules.deny),
                         rules.filter, keys, suspects)  # fmt: skip
        if end < 0:  # a byte that isn't printable ASCII: normalise the column as Unicode text
            found, placeholders = rules.keys(self.texts(name))
            return join_strings(found), placeholders
        keys = keys[:end]
        if suspects.any():
            found = split_strings(keys)
            rows = np.flatnonzero(suspects).tolist()
            placeholders = [
                i
                for i in rows
                if rules.is_placeholder(buffer[first[i] : second[i]].tobytes().decode(), found[i])
            ]
            for i in placeholders:
                found[i] = ""
            return (join_strings(found) if placeholders else keys), placeholders
        return keys, []


def can_be_read(
    reader: JsonColumnReader,
    *,
    numbers: set[str],
    categories: set[str],
    keys: set[str],
    texts: set[str],
) -> bool:
    """Whether the fast reader delivers every field that features read, with a type they accept."""
    wanted: list[tuple[str, tuple[int, ...]]] = [(name, (INTEGER, TIME)) for name in numbers]
    wanted += [(name, (TEXT, ID)) for name in categories | keys]
    wanted += [(name, (TEXT, ID, INTEGER)) for name in texts]
    wanted += [(reader.kind.time_field, (TIME,)), (reader.kind.id_field, (TEXT, ID))]
    return reader.is_able and all(reader.kind_of(name) in kinds for name, kinds in wanted)


@kernel
def _normalise(buffer, first, second, form, longest, has_deny, hashes, keys, suspects):  # type: ignore[no-untyped-def]  # noqa: C901
    """Write the key of each printable ASCII id to `keys`, each terminated by NUL.

    Returns the end of the last key, or -1 at the first byte that isn't printable ASCII. Sets
    `suspects` for keys that may be placeholders: keys that repeat one character; under edition 1
    (`longest` > 0) short keys, and all keys of an entity with a deny list; since edition 2 keys
    whose hash is in `hashes`, and keys of zeros and punctuation.
    """
    is_first = longest > 0
    one, end = np.uint64(1), np.uint64(0)  # unsigned: see `json_kernel.gather_texts`
    for i in range(first.size):
        start = end
        if second[i] != MISSING:
            at, stop = np.uint64(first[i]), np.uint64(second[i])
            if form != _CODE and form != _PHONE:
                while at < stop and buffer[at] == 32:
                    at += one
                while at < stop and buffer[stop - one] == 32:
                    stop -= one
            for j in range(at, stop):
                byte = buffer[j]
                if byte < 32 or byte > 126:
                    return np.int64(-1)
                if form == _PHONE:
                    keep = 48 <= byte <= 57
                elif form == _CODE:
                    # the same characters as `normalisation._NOT_IN_CODES`
                    keep = not (byte == 32 or 44 <= byte <= 47 or byte == 58 or byte == 95)
                    byte = byte - np.uint8(32) if 97 <= byte <= 122 else byte
                else:
                    # since edition 2 a run of spaces is one
                    keep = is_first or byte != 32 or keys[end - one] != 32
                    byte = byte + np.uint8(32) if 65 <= byte <= 90 else byte
                if keep:
                    keys[end] = byte
                    end += one
        size = end - start
        if size > 0:
            same = True
            for j in range(start + one, end):
                if keys[j] != keys[start]:
                    same = False
                    break
            if is_first:
                suspects[i] = same or has_deny or size <= longest
            else:
                middle = keys[start + size // np.uint64(2)]
                slot = slot_of(size, keys[start], middle, keys[end - one])
                suspects[i] = same or hashes[slot] or _is_blank(keys, start, end)
        keys[end] = 0
        end += one
    return np.int64(end)


@njit(cache=True, inline="always")
def _is_blank(keys, start, end):  # type: ignore[no-untyped-def]
    """Whether a key consists of zeros, punctuation and spaces only."""
    for j in range(start, end):
        byte = keys[j] | 32
        if 49 <= keys[j] <= 57 or 97 <= byte <= 122:
            return False
    return True


@kernel
def _look_up(buffer, first, second, key, hashes, codes, out):  # type: ignore[no-untyped-def]
    """Fill `out` with cached codes: NaN where the field is missing, _UNKNOWN where none is cached.

    Open addressing with linear probing; `codes.size` is a power of two.
    """
    mask = codes.size - 1
    for i in range(first.size):
        if second[i] == MISSING:
            out[i] = np.nan
            continue
        high, low = siphash128(buffer, first[i], second[i], key)
        slot = np.int64(high & np.uint64(mask))
        while codes[slot] != _UNKNOWN and not (hashes[slot, 0] == high and hashes[slot, 1] == low):
            slot = (slot + 1) & mask
        out[i] = codes[slot]


@kernel
def _cache(spelling, key, hashes, codes, code):  # type: ignore[no-untyped-def]
    """Cache the code of a spelling; returns 1 if the spelling is new, else 0."""
    mask = codes.size - 1
    high, low = siphash128(spelling, 0, spelling.size, key)
    slot = np.int64(high & np.uint64(mask))
    while codes[slot] != _UNKNOWN:
        if hashes[slot, 0] == high and hashes[slot, 1] == low:
            return 0
        slot = (slot + 1) & mask
    hashes[slot, 0], hashes[slot, 1], codes[slot] = high, low, code
    return 1
