"""The fields of a batch's claims as they came from the fast reader: nothing becomes an object.

It answers as `columns.EventColumns` does, with the same bytes;
`tests/featurestore/fields/test_claim_columns.py` compares the two. Ids that are not plain printable
ASCII are normalised by `keys`, one by one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.buffers.siphash import Key, siphash128
from claimtrace.encoding.json_columns import JsonColumnReader, JsonColumns
from claimtrace.encoding.json_kernel import ID, INTEGER, MISSING, TEXT, TIME

from .event_columns import CategoryReader, Column
from .interning import joined, parted
from .normalisation import LONGEST_PLACEHOLDER, Form, is_placeholder, normal_keys

_FORMS: Final[dict[Form, int]] = {"id": 0, "code": 1, "phone": 2}
_CODE, _PHONE = 1, 2
_SLOTS: Final = 1024
_FULL: Final = _SLOTS // 2  # spellings of one field that are kept; hostile input can't fill more
_UNKNOWN: Final = -2.0


class Spellings:
    """The codes of the spellings of one field's categories, by their hash under a secret key."""

    def __init__(self, reader: CategoryReader, key: Key) -> None:
        self.reader = reader
        self._key = key
        self._hashes = np.zeros((_SLOTS, 2), np.uint64)
        self._codes = np.full(_SLOTS, _UNKNOWN)
        self._count = 0

    def codes(self, columns: JsonColumns, name: str) -> Column:
        """As `CategoryReader.codes`."""
        first, second = columns.of(name)
        codes = np.empty(len(first), np.float64)
        _look_up(columns.buffer, first, second, self._key, self._hashes, self._codes, codes)
        for row in np.flatnonzero(codes == _UNKNOWN).tolist():
            written = columns.buffer[first[row] : second[row]]
            codes[row] = code = self.reader.code(written.tobytes().decode())
            if self._count < _FULL:
                self._count += _keep(written, self._key, self._hashes, self._codes, code)
        return codes


class ClaimColumns:
    """The fields of claims that lie in columns.

    Args:
        columns: of the claims, in order.
        spellings: for each field with categories.
    """

    def __init__(self, columns: JsonColumns, spellings: dict[str, Spellings]) -> None:
        self._columns = columns
        self._spellings = spellings

    def __len__(self) -> int:
        return int(self._columns.first.shape[1])

    def number(self, name: str) -> Column:
        """Numbers as they are; times in ms since 1970."""
        first, second = self._columns.of(name)
        column = first.astype(np.float64)
        column[second == MISSING] = np.nan
        return column

    def codes(self, name: str, reader: CategoryReader) -> Column:
        """Categories as codes."""
        spellings = self._spellings[name]
        assert spellings.reader is reader
        return spellings.codes(self._columns, name)

    def texts(self, name: str) -> list[str | None]:
        """The values as texts, None for missing; whole numbers in digits."""
        first, second = (column.tolist() for column in self._columns.of(name))
        buffer = self._columns.buffer
        return [
            None if b == MISSING else str(a) if b == 0 else buffer[a:b].tobytes().decode()
            for a, b in zip(first, second, strict=True)
        ]

    def keys(
        self, name: str, form: Form, deny: frozenset[str]
    ) -> tuple[NDArray[np.uint8], list[int]]:
        """Normalised ids, joined, and where placeholders were."""
        first, second = self._columns.of(name)
        room = int(np.maximum(second - first, 0).sum()) + len(first)
        keys, suspects = np.empty(room, np.uint8), np.zeros(len(first), np.bool_)
        end = _normalise(self._columns.buffer, first, second, _FORMS[form], LONGEST_PLACEHOLDER,
                         bool(deny), keys, suspects)  # fmt: skip
        if end < 0:
            found, placeholders = normal_keys(self.texts(name), form, deny)
            return joined(found), placeholders
        keys = keys[:end]
        if suspects.any():
            found = parted(keys)
            places = np.flatnonzero(suspects).tolist()
            placeholders = [i for i in places if is_placeholder(found[i], deny)]
            for i in placeholders:
                found[i] = ""
            return (joined(found) if placeholders else keys), placeholders
        return keys, []


def can_be_read(
    reader: JsonColumnReader,
    *,
    numbers: set[str],
    categories: set[str],
    keys: set[str],
    texts: set[str],
) -> bool:
    """Whether the fields that features read come out of the fast reader."""
    wanted: list[tuple[str, tuple[int, ...]]] = [(name, (INTEGER, TIME)) for name in numbers]
    wanted += [(name, (TEXT, ID)) for name in categories | keys]
    wanted += [(name, (TEXT, ID, INTEGER)) for name in texts]
    wanted += [(reader.kind.time_field, (TIME,)), (reader.kind.id_field, (TEXT, ID))]
    return reader.is_able and all(reader.kind_of(name) in kinds for name, kinds in wanted)


@kernel
def _normalise(buffer, first, second, form, longest, has_deny, keys, suspects):  # type: ignore[no-untyped-def]  # noqa: C901
    """`normal_key` of printable ASCII, a NUL behind each; returns their end, -1 for other bytes.

    `suspects` are keys that may be placeholders: short ones, one character again and again, all
    where the entity has a list of its own.
    """
    one, end = np.uint64(1), np.uint64(0)  # unsigned: see `flat_kernel.gather_texts`
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
                    # space , - . / : _ are no part of a code
                    keep = not (byte == 32 or 44 <= byte <= 47 or byte == 58 or byte == 95)
                    byte = byte - np.uint8(32) if 97 <= byte <= 122 else byte
                else:
                    keep = True
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
            suspects[i] = same or has_deny or size <= longest
        keys[end] = 0
        end += one
    return np.int64(end)


@kernel
def _look_up(buffer, first, second, key, hashes, codes, out):  # type: ignore[no-untyped-def]
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
def _keep(written, key, hashes, codes, code):  # type: ignore[no-untyped-def]
    """Keep the code of a spelling; returns 1 if it is new, else 0."""
    mask = codes.size - 1
    high, low = siphash128(written, 0, written.size, key)
    slot = np.int64(high & np.uint64(mask))
    while codes[slot] != _UNKNOWN:
        if hashes[slot, 0] == high and hashes[slot, 1] == low:
            return 0
        slot = (slot + 1) & mask
    hashes[slot, 0], hashes[slot, 1], codes[slot] = high, low, code
    return 1
