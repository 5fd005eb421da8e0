"""Interning: small dense numbers for strings, a batch at a time, without storing the strings.

A string is identified by its 128-bit SipHash under a secret key, so the index takes about 40 bytes
a string, is written to a snapshot as plain arrays, and holds no personal data. Two strings share a
number only if their hashes collide: for a thousand million strings the chance is below 2**-68.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.buffers.jit import kernel
from claimtrace.buffers.siphash import Key, siphash128

from ..state_arrays import Arrays

_MAX_LOAD = 0.6  # of the hash table; below it even the longest probe sequences are short
_SEPARATOR = "\0"  # no id contains it: events with NUL are refused by the decoder
SLOTS_A_SLICE: Final = 16_384
SLOTS_A_UNIT: Final = 8
"""Slots swept in one unit of work, which is about 50 ns."""

Ids = NDArray[np.int64]


class Interner:
    """An index that gives each new string the next number, from 0.

    An empty string has the number -1 (no entity).

    Strings can be dropped by age (`drop_below`) or by mark and sweep (`start_marking`, then
    `sweep_unmarked`); only swept numbers are given out again.

    >>> from claimtrace.buffers.siphash import hash_key
    >>> ids = Interner(hash_key("secret"))
    >>> ids.numbers(["a", "b", "", "a"]).tolist()
    [0, 1, -1, 0]
    >>> ids.find(["b", "never seen"]).tolist(), len(ids)
    ([1, -1], 2)
    """

    def __init__(self, key: Key, slots: int = 1024) -> None:
        self._key = key
        self._count = 0
        self._hashes = np.zeros((slots, 2), np.uint64)
        self._numbers = np.full(slots, -1, np.int64)
        self._used = 0
        self.used_after_sweep = 0
        """The number of strings that the last sweep left."""
        self._vacant = np.zeros(1, np.int64)
        """A stack of numbers to give out again; the first element is the size of the stack."""
        self._live: NDArray[np.bool_] | None = None
        """The marks of a running mark and sweep; None between two."""

    def __len__(self) -> int:
        return self._count

    @property
    def used(self) -> int:
        """The number of known strings; `len` also counts vacant numbers, which are reused first."""
        return self._used

    def numbers(self, strings: Sequence[str]) -> Ids:
        """Return the number of each string; new strings are added."""
        return self.numbers_of_joined(join_strings(strings), len(strings))

    def numbers_of_joined(self, buffer: NDArray[np.uint8], count: int) -> Ids:
        """Return the number of each of `count` strings that are joined (see `join_strings`)."""
        self._reserve(count)
        numbers = np.empty(count, np.int64)
        before = self._count - int(self._vacant[0])
        self._count = self._look_up(buffer, self._count, numbers)
        self._used += self._count - int(self._vacant[0]) - before
        if self._live is not None:  # between marking and sweeping every string in use stays
            mark_live(self._live, numbers)
        return numbers

    def find(self, strings: Sequence[str]) -> Ids:
        """Return the number of each string, -1 for unknown strings; nothing is added."""
        return self.find_joined(join_strings(strings), len(strings))

    def find_joined(self, buffer: NDArray[np.uint8], count: int) -> Ids:
        """Return the number of each of `count` joined strings, -1 for unknown; adds nothing."""
        numbers = np.empty(count, np.int64)
        self._look_up(buffer, -1, numbers)
        return numbers

    def renumber(self, string: str) -> int:
        """Give a known string the next number in place of its present number."""
        _renumber(join_strings([string]), self._key, self._hashes, self._numbers, self._count)
        self._count += 1
        return self._count - 1

    def drop_below(self, first: int) -> Iterator[int]:
        """Drop all strings whose number is smaller than `first`; yields after each slice.

        The yielded numbers are units of work. The dropped numbers are not given out again.
        """
        yield from self._sweep(first, np.zeros(0, np.bool_), np.zeros(1, np.int64))

    def start_marking(self) -> NDArray[np.bool_]:
        """Start a mark and sweep; returns bool[count] for the caller to mark live numbers in.

        From here to the end of `sweep_unmarked`, every number that is looked up is marked too.
        """
        self._live = np.zeros(self._count, np.bool_)
        return self._live

    def sweep_unmarked(self) -> Iterator[int]:
        """Drop strings whose number isn't marked; yields the units of work after each slice.

        A dropped number is available to new strings at once.
        """
        assert self._live is not None
        vacant = np.zeros(self._count + 1, np.int64)
        vacant[: self._vacant.size] = self._vacant
        self._vacant = vacant
        yield from self._sweep(self._live.size, self._live, vacant)
        self._live = None
        self._vacant = vacant[: int(vacant[0]) + 1].copy()
        self.used_after_sweep = self._used

    def _sweep(
        self, below: int, live: NDArray[np.bool_], vacant: NDArray[np.int64]
    ) -> Iterator[int]:
        at = 0
        # the table may grow between two slices: strings then move, and those that land in slots
        # already swept wait for the next sweep
        while at < self._numbers.size:
            until = min(at + SLOTS_A_SLICE, self._numbers.size)
            table = self._hashes, self._numbers
            self._used -= _drop(*table, below, live, vacant, at, until)
            at = until
            yield SLOTS_A_SLICE // SLOTS_A_UNIT

    def arrays(self) -> Arrays:
        """Return all state, for a snapshot."""
        return {
            "hashes": self._hashes,
            "numbers": self._numbers,
            "count": np.array([self._count, self._used, self.used_after_sweep], np.int64),
            "vacant": self._vacant[: int(self._vacant[0]) + 1],
        }

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot; marks of an unfinished sweep are discarded."""
        self._hashes = np.array(arrays["hashes"], np.uint64)
        self._numbers = np.array(arrays["numbers"], np.int64)
        self._count, self._used, self.used_after_sweep = map(int, arrays["count"])
        self._vacant = np.array(arrays["vacant"], np.int64)
        self._live = None

    def _look_up(self, buffer: NDArray[np.uint8], count: int, out: Ids) -> int:
        hashes_of_strings = np.empty((out.size, 2), np.uint64)
        table = self._hashes, self._numbers
        return int(_intern(buffer, self._key, *table, count, self._vacant, hashes_of_strings, out))

    def _reserve(self, more: int) -> None:
        """Grow the hash table, if needed, to take `more` strings below the maximal load."""
        slots = self._numbers.size
        while self._used + more > slots * _MAX_LOAD:
            slots *= 2
        if slots != self._numbers.size:
            self._rebuild(slots, self._numbers >= 0)

    def _rebuild(self, slots: int, kept: NDArray[np.bool_]) -> None:
        hashes = np.zeros((slots, 2), np.uint64)
        numbers = np.full(slots, -1, np.int64)
        _insert_all(self._hashes[kept], self._numbers[kept], hashes, numbers)
        self._hashes, self._numbers = hashes, numbers


class PassingIds:
    """Numbers for strings as `Interner` gives them, without adding any to it.

    An unknown string has a number above all known ones, the same each time that it is asked for.
    Such numbers hold as long as this object and the interner isn't changed; then the interner
    gives them to whatever string comes next.

    >>> from claimtrace.buffers.siphash import hash_key
    >>> ids = Interner(hash_key("secret"))
    >>> _ = ids.numbers(["a", "b"])
    >>> passing = PassingIds(ids)
    >>> passing.numbers(["b", "new", "", "other", "new"]).tolist(), len(passing), len(ids)
    ([1, 2, -1, 3, 2], 4, 2)
    """

    def __init__(self, ids: Interner) -> None:
        self._ids = ids
        self._unknown: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._ids) + len(self._unknown)

    def numbers(self, strings: Sequence[str]) -> Ids:
        """Return the number of each string."""
        return self.numbers_of_joined(join_strings(strings), len(strings))

    def numbers_of_joined(self, buffer: NDArray[np.uint8], count: int) -> Ids:
        """Return the number of each of `count` joined strings (see `join_strings`)."""
        numbers = self._ids.find_joined(buffer, count)
        missing = np.flatnonzero(numbers < 0)
        if missing.size:
            written = buffer.tobytes().split(b"\0")
            for i in missing.tolist():
                if written[i]:  # an empty string has no number
                    numbers[i] = self._unknown.setdefault(written[i], len(self))
        return numbers


def join_strings(strings: Sequence[str]) -> NDArray[np.uint8]:
    """Join strings that contain no NUL: their UTF-8 bytes, each terminated by NUL."""
    text = _SEPARATOR.join(strings) + _SEPARATOR if strings else ""
    return np.frombuffer(text.encode(), np.uint8)


def split_strings(buffer: NDArray[np.uint8]) -> list[str]:
    """Split joined strings; the inverse of `join_strings`.

    >>> split_strings(join_strings(["a", "", "b"]))
    ['a', '', 'b']
    """
    return buffer.tobytes().decode().split(_SEPARATOR)[:-1]


def as_byte_strings(buffer: NDArray[np.uint8]) -> ByteStrings:
    """Return joined strings as byte strings that share the buffer, without copying.

    >>> list(as_byte_strings(join_strings(["a", "", "b"])))
    [b'a', b'', b'b']
    """
    ends = np.flatnonzero(buffer == 0)
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    return ByteStrings(buffer, starts, ends - starts)


@kernel
def _intern(buffer, key, hashes, numbers, count, vacant, own_hashes, out):  # type: ignore[no-untyped-def]
    """Fill `out` with the number of each string; returns the next new number.

    `count` is the new number to give when none is vacant, or -1 to add nothing. `own_hashes`
    uint64[n, 2] is work space.
    """
    mask = numbers.size - 1
    start = 0
    for i in range(out.size):
        end = start
        while buffer[end] != 0:
            end += 1
        out[i] = -1
        if end > start:
            own_hashes[i, 0], own_hashes[i, 1] = siphash128(buffer, start, end, key)
            out[i] = 0
        start = end + 1
    # a second, short loop: the slots are scattered over memory, and cache misses overlap only if
    # the processor reaches the next look-up while the one before it still waits
    for i in range(out.size):
        if out[i] < 0:
            continue
        high, low = own_hashes[i, 0], own_hashes[i, 1]
        slot = np.int64(high & np.uint64(mask))
        while numbers[slot] >= 0 and not (hashes[slot, 0] == high and hashes[slot, 1] == low):
            slot = (slot + 1) & mask
        if numbers[slot] < 0 and count >= 0:
            hashes[slot, 0], hashes[slot, 1] = high, low
            if vacant[0]:
                numbers[slot] = vacant[vacant[0]]
                vacant[0] -= 1
            else:
                numbers[slot] = count
                count += 1
        out[i] = numbers[slot]
    return count


@kernel
def _renumber(buffer, key, hashes, numbers, number):  # type: ignore[no-untyped-def]
    """Change the number of the one string in `buffer`, which must be in the table."""
    mask = numbers.size - 1
    high, low = siphash128(buffer, 0, buffer.size - 1, key)
    slot = np.int64(high & np.uint64(mask))
    while not (hashes[slot, 0] == high and hashes[slot, 1] == low):
        slot = (slot + 1) & mask
    numbers[slot] = number


@kernel
def _insert_all(from_hashes, from_numbers, hashes, numbers):  # type: ignore[no-untyped-def]
    """Insert entries into an empty table that is large enough; all hashes differ."""
    mask = numbers.size - 1
    for i in range(from_numbers.size):
        slot = np.int64(from_hashes[i, 0] & np.uint64(mask))
        while numbers[slot] >= 0:
            slot = (slot + 1) & mask
        hashes[slot, 0], hashes[slot, 1] = from_hashes[i, 0], from_hashes[i, 1]
        numbers[slot] = from_numbers[i]


@kernel
def _drop(hashes, numbers, below, live, vacant, first, last):  # type: ignore[no-untyped-def]
    """Drop strings in the slots [first, last) whose number is below `below` and not live.

    Pushes their numbers on the stack `vacant` while it has capacity. Returns how many strings were
    dropped.
    """
    dropped = 0
    for slot in range(first, last):
        while 0 <= numbers[slot] < below:
            number = numbers[slot]
            if number < live.size and live[number]:
                break
            if vacant[0] + 1 < vacant.size:
                vacant[0] += 1
                vacant[vacant[0]] = number
            _remove(hashes, numbers, slot)  # may move another string into this slot: look again
            dropped += 1
    return dropped


@kernel
def _remove(hashes, numbers, slot):  # type: ignore[no-untyped-def]
    """Empty a slot and move up the entries that were displaced behind it.

    Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.
    """
    mask = numbers.size - 1
    hole, at = slot, (slot + 1) & mask
    while numbers[at] >= 0:
        home = np.int64(hashes[at, 0] & np.uint64(mask))
        # an entry stays where it is if its home slot is, cyclically, in (hole, at]; any other entry
        # must move, or a look-up would end at the hole before it reaches the entry
        if (at - home) & mask >= (at - hole) & mask:
            hashes[hole, 0], hashes[hole, 1] = hashes[at, 0], hashes[at, 1]
            numbers[hole] = numbers[at]
            hole = at
        at = (at + 1) & mask
    numbers[hole] = -1


@kernel
def mark_live(live, numbers):  # type: ignore[no-untyped-def]
    """Mark numbers as live; -1 is no number.

    Numbers beyond the end of `live` were given after marking began and need no mark.
    """
    for i in range(numbers.size):
        if 0 <= numbers[i] < live.size:
            live[numbers[i]] = True
