"""The kernel of `claimtrace.encoding.json_columns`: one pass over the bytes of each record."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..buffers.byte_kernels import eight_bytes
from ..buffers.jit import kernel

MISSING: Final = -1
"""Value of `second` where a field is absent or null."""

TEXT, ID, INTEGER, TIME, OTHER = range(5)
MAX_FIELDS: Final = 63
"""The fields seen in a record are bits of one int64, whose sign must stay free."""

_MAX_DIGITS: Final = 18
_YEARS: Final = (1900, 2200)

Numbers = NDArray[np.int64]


class Fields(NamedTuple):
    """The fields of an event type as arrays for the kernel.

    `names[starts[f]:starts[f + 1]]` is the name of field f; `low` and `high` bound its number of
    characters or its value; `required` has a bit for each field; `default_first` and
    `default_second` are the values of absent fields, texts as offsets into `defaults`.
    """

    names: NDArray[np.uint8]
    starts: Numbers
    kinds: Numbers
    low: Numbers
    high: Numbers
    nullable: NDArray[np.bool_]
    default_first: Numbers
    default_second: Numbers
    defaults: NDArray[np.uint8]
    required: np.int64


@kernel
def gather_texts(buffer, first, second, chosen, out):  # type: ignore[no-untyped-def]
    """Copy the texts of the chosen rows, each followed by a NUL; returns the end of the last."""
    # unsigned: numba then needn't check whether an index is negative, and the copy is a wide move
    at = np.uint64(0)
    for row in range(first.size):
        if chosen[row] and second[row] != MISSING:
            begin = np.uint64(first[row])
            size = np.uint64(second[row]) - begin
            for i in range(size):
                out[at + i] = buffer[begin + i]
            at += size
        out[at] = 0
        at += np.uint64(1)
    return at


@kernel
def read_flat(buffer, bounds, rows, fields, first, second, plain):  # type: ignore[no-untyped-def]
    """Fill `first` and `second` [fields, rows] and `plain` [rows]; see `JsonColumns`.

    The buffer ends with the texts of the defaults.
    """
    # Taken out of the tuple once: each access to an array in a tuple costs a reference count
    names, starts, kinds = fields.names, fields.starts, fields.kinds
    low, high, nullable = fields.low, fields.high, fields.nullable
    default_first, default_second = fields.default_first, fields.default_second
    base = buffer.size - fields.defaults.size
    for row in range(rows.size):
        start, end = bounds[rows[row]], bounds[rows[row] + 1]
        seen = _read_one(buffer, start, end, row, names, starts, kinds, low, high, nullable,
                         first, second)  # fmt: skip
        plain[row] = seen >= 0 and seen & fields.required == fields.required
        for field in range(kinds.size):
            if not plain[row]:
                first[field, row], second[field, row] = 0, MISSING
            elif not seen >> field & 1:
                shift = base if default_second[field] > 0 else 0  # a text: its offset in the buffer
                first[field, row] = default_first[field] + shift
                second[field, row] = default_second[field] + shift


@kernel
def _read_one(  # type: ignore[no-untyped-def]
    buffer, start, end, row, names, starts, kinds, low, high, nullable, first, second
):
    """Return the fields that were seen, as bits; -1 when the record isn't plain."""
    at = _spaces(buffer, start, end)
    if at >= end or buffer[at] != 123:  # {
        return np.int64(-1)
    at = _spaces(buffer, at + 1, end)
    seen, expected = np.int64(0), 0
    while at < end and buffer[at] == 34:  # "
        field = _field(buffer, at + 1, end, names, starts, expected)
        if field < 0 or seen >> field & 1:
            return np.int64(-1)
        seen |= np.int64(1) << field
        expected = field + 1
        at = _spaces(buffer, at + 2 + starts[field + 1] - starts[field], end)
        if at >= end or buffer[at] != 58:  # :
            return np.int64(-1)
        at = _spaces(buffer, at + 1, end)
        if at < end and buffer[at] == 110:  # null
            at = _null(buffer, at, end) if nullable[field] else -1
            first[field, row], second[field, row] = 0, MISSING
        else:
            at, a, b = _value(buffer, at, end, kinds[field], low[field], high[field])
            first[field, row], second[field, row] = a, b
        if at < 0:
            return np.int64(-1)
        at = _spaces(buffer, at, end)
        if at < end and buffer[at] == 44:  # ,
            at = _spaces(buffer, at + 1, end)
        elif at < end and buffer[at] == 125:  # }
            return seen if _spaces(buffer, at + 1, end) == end else np.int64(-1)
        else:
            return np.int64(-1)
    return np.int64(-1)


@njit(cache=True, inline="always")
def _spaces(buffer, at, end):  # type: ignore[no-untyped-def]
    """Return the offset of the first byte that isn't white space."""
    while at < end and (
        buffer[at] == 32 or buffer[at] == 10 or buffer[at] == 13 or buffer[at] == 9
    ):
        at += 1
    return at


@kernel
def _field(buffer, at, end, names, starts, expected):  # type: ignore[no-untyped-def]
    """Return the field whose name and closing quote are at `at`, -1 for none.

    Names are compared from `expected` on: fields mostly come in the order of the type.
    """
    count = starts.size - 1
    for step in range(count):
        field = expected + step
        if field >= count:
            field -= count
        start, size = starts[field], starts[field + 1] - starts[field]
        if at + size >= end or buffer[at + size] != 34:
            continue
        if _are_same(buffer, np.uint64(at), names, np.uint64(start), np.uint64(size)):
            return field
    return -1


@njit(cache=True, inline="always")
def _are_same(buffer, at, names, start, size):  # type: ignore[no-untyped-def]
    """Whether `buffer[at:at + size]` equals `names[start:start + size]`, eight bytes at a time."""
    eight = np.uint64(8)
    if size < eight:
        count = np.uint64(0)
        while count < size and buffer[at + count] == names[start + count]:
            count += np.uint64(1)
        return count == size
    for i in range(np.uint64(0), size - eight, eight):
        if eight_bytes(buffer, at + i) != eight_bytes(names, start + i):
            return False
    # the last eight bytes, which may overlap those compared before
    return eight_bytes(buffer, at + size - eight) == eight_bytes(names, start + size - eight)


@kernel
def _null(buffer, at, end):  # type: ignore[no-untyped-def]
    """Return the offset behind `null`, -1 when the token is something else."""
    if at + 4 > end or buffer[at + 1] != 117 or buffer[at + 2] != 108 or buffer[at + 3] != 108:
        return -1
    return at + 4


@kernel
def _value(buffer, at, end, kind, low, high):  # type: ignore[no-untyped-def]
    """Return the offset behind a field's value (-1: not plain), and its `first` and `second`."""
    nothing = -1, np.int64(0), np.int64(MISSING)
    if at >= end:
        return nothing
    if kind == INTEGER:
        number, behind = _integer(buffer, at, end)
        fits = behind >= 0 and low <= number <= high
        return (behind, number, np.int64(0)) if fits else nothing
    if kind == OTHER or buffer[at] != 34:
        return nothing
    opening = at + 1
    close = _text(buffer, opening, end)
    if close < 0:
        return nothing
    if kind == TIME:
        is_time, moment_ms = _time(buffer, opening, close)
        return (close + 1, moment_ms, np.int64(0)) if is_time else nothing
    if close - opening < low or close - opening > high:
        return nothing
    if kind == ID and not _is_id(buffer, opening, close):
        return nothing
    return close + 1, opening, close


@kernel
def _text(buffer, at, end):  # type: ignore[no-untyped-def]
    """Return the offset of the closing quote of an ASCII string without escapes; -1 for others."""
    offset, last = np.uint64(at), np.uint64(end)
    while offset + np.uint64(8) <= last and not _has_other(eight_bytes(buffer, offset)):
        offset += np.uint64(8)
    while offset < last:
        byte = buffer[offset]
        if byte == 34:
            return np.int64(offset)
        if byte == 92 or byte < 32 or byte > 127:
            return np.int64(-1)
        offset += np.uint64(1)
    return np.int64(-1)


@njit(cache=True, inline="always")
def _has_other(word):  # type: ignore[no-untyped-def]
    """Whether one of eight bytes is a quote, a backslash, below a space, or not ASCII.

    Bit trick: in a word whose bytes are all below 128, `x - 0x0101..` sets a byte's top bit first
    where that byte of x is zero; a borrow can only set top bits above such a byte. XOR with a
    repeated character makes its occurrences zero.
    """
    ones, tops = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    quotes, slashes = word ^ ones * np.uint64(34), word ^ ones * np.uint64(92)
    found = (quotes - ones) | (slashes - ones) | (word - ones * np.uint64(32)) | word
    return found & tops != 0


@kernel
def _integer(buffer, at, end):  # type: ignore[no-untyped-def]
    """Return a whole number in its usual form and the offset behind it; -1 for another form.

    At most `_MAX_DIGITS` digits, so that int64 can't overflow; no `-0`, leading zero, fraction or
    exponent.
    """
    negative = buffer[at] == 45
    at += negative
    start, number = at, np.int64(0)
    while at < end and 48 <= buffer[at] <= 57:
        if at - start == _MAX_DIGITS:
            return np.int64(0), -1
        number = number * 10 + (np.int64(buffer[at]) - 48)
        at += 1
    digits = at - start
    if digits == 0 or (buffer[start] == 48 and (digits > 1 or negative)):
        return np.int64(0), -1
    if at < end and (buffer[at] == 46 or buffer[at] == 101 or buffer[at] == 69):  # . e E
        return np.int64(0), -1
    return -number if negative else number, at


@kernel
def _is_id(buffer, start, end):  # type: ignore[no-untyped-def]
    """Whether a text matches `ID_PATTERN`: letters, digits and `._:-`, these not first, no `..`."""
    for at in range(start, end):
        byte = buffer[at]
        is_word = 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122
        if not is_word:
            if at == start or not (byte == 46 or byte == 95 or byte == 58 or byte == 45):
                return False
            if byte == 46 and buffer[at - 1] == 46:
                return False
    return end > start


@kernel
def _two(buffer, at):  # type: ignore[no-untyped-def]
    """Return two digits as a number; 1000, which is out of every range, when they are none."""
    high, low = np.int64(buffer[at]) - 48, np.int64(buffer[at + 1]) - 48
    return high * 10 + low if 0 <= high <= 9 and 0 <= low <= 9 else 1000


@kernel
def _time(buffer, start, end):  # type: ignore[no-untyped-def]  # noqa: C901 - one form, read in order
    """Parse `2026-03-01T12:00:00.123456Z` or with `+01:00`; returns success and ms since 1970."""
    if end - start < 20 or buffer[start + 4] != 45 or buffer[start + 7] != 45:
        return False, np.int64(0)
    if buffer[start + 10] != 84 or buffer[start + 13] != 58 or buffer[start + 16] != 58:
        return False, np.int64(0)
    year = 100 * _two(buffer, start) + _two(buffer, start + 2)
    month, day = _two(buffer, start + 5), _two(buffer, start + 8)
    hour, minute = _two(buffer, start + 11), _two(buffer, start + 14)
    second = _two(buffer, start + 17)
    if year < _YEARS[0] or year > _YEARS[1] or month < 1 or month > 12 or day < 1:
        return False, np.int64(0)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = 29 if leap else 28
    if month != 2:
        last = 30 if month in (4, 6, 9, 11) else 31
    if day > last or hour > 23 or minute > 59 or second > 59:
        return False, np.int64(0)
    at, fraction, digits = start + 19, np.int64(0), 0
    if buffer[at] == 46:
        at += 1
        while at < end and 48 <= buffer[at] <= 57:
            fraction = fraction * 10 + (np.int64(buffer[at]) - 48)
            digits += 1
            at += 1
            if digits > 6:
                return False, np.int64(0)
        if digits == 0:
            return False, np.int64(0)
    milliseconds = fraction  # digits beyond the third are cut off, as `time_ms` does
    for _ in range(digits, 3):
        milliseconds *= 10
    for _ in range(3, digits):
        milliseconds //= 10
    offset = np.int64(0)
    if end - at == 6 and (buffer[at] == 43 or buffer[at] == 45) and buffer[at + 3] == 58:
        hours, minutes = _two(buffer, at + 1), _two(buffer, at + 4)
        if hours > 23 or minutes > 59 or (buffer[at] == 45 and hours + minutes == 0):
            return False, np.int64(0)
        offset = (hours * 60 + minutes) * (60 if buffer[at] == 43 else -60)
    elif end - at != 1 or buffer[at] != 90:  # Z
        return False, np.int64(0)
    # "days from civil" (H. Hinnant): March is the first month, so the leap day is a year's last day
    shifted = year - (month <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
    return True, seconds * 1000 + milliseconds
