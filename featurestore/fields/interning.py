"""Strings to small dense numbers, a batch at a time, without keeping the strings.

A string is known by its 128-bit SipHash under a secret key, so the index needs about 40 bytes a
string, writes to a snapshot as plain arrays, and holds no personal data. Two strings share a number
only if their hashes collide: for a thousand million strings the chance is below 2**-68.
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

_FULL = 0.6  # longest probes stay short below this load
_SEPARATOR = "\0"  # events with NUL are refused before they get here
SLOTS_A_SLICE: Final = 16_384
SLOTS_A_UNIT: Final = 8
"""A unit of work is about 50 ns."""

Ids = NDArray[np.int64]


class Interner:
    """Gives each new string the next number, from 0; an empty string is -1 (no entity).

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
        self.kept = 0
        """How many strings were left when the dead were last forgotten."""
        self._vacant = np.zeros(1, np.int64)
        """A stack of numbers to give out again; the first element says how many there are."""
        self._living: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def used(self) -> int:
        """How many strings are known; numbers below `len` that nobody has are given out again."""
        return self._used

    def numbers(self, strings: Sequence[str]) -> Ids:
        """The number of each string; new ones are added."""
        return self.numbers_of(joined(strings), len(strings))

    def numbers_of(self, buffer: NDArray[np.uint8], parts: int) -> Ids:
        """The same for strings that are `joined` already."""
        self._make_room(parts)
        numbers = np.empty(parts, np.int64)
        before = self._count - int(self._vacant[0])
        self._count = self._look_up(buffer, self._count, numbers)
        self._used += self._count - int(self._vacant[0]) - before
        if self._living is not None:
            marked(self._living, numbers)
        return numbers

    def find(self, strings: Sequence[str]) -> Ids:
        """The number of each string, -1 for unknown ones; nothing is added."""
        numbers = np.empty(len(strings), np.int64)
        self._look_up(joined(strings), -1, numbers)
        return numbers

    def renumber(self, string: str) -> int:
        """Give a known string the next number instead of the one it has."""
        _renumber(joined([string]), self._key, self._hashes, self._numbers, self._count)
        self._count += 1
        return self._count - 1

    def forget_below(self, first: int) -> Iterator[int]:
        """Drop all strings whose number is smaller than `first`, a slice at a time."""
        yield from self._sweep(first, np.zeros(0, np.bool_), np.zeros(1, np.int64))

    def marking(self) -> NDArray[np.bool_]:
        """Begin to forget: bool[count], where the caller marks the numbers that must live.

        From here to the end of `forget_unmarked` each number that is looked up lives too.
        """
        self._living = np.zeros(self._count, np.bool_)
        return self._living

    def forget_unmarked(self) -> Iterator[int]:
        """Forget strings whose number wasn't marked, a slice at a time; their numbers are free."""
        assert self._living is not None
        vacant = np.zeros(self._count + 1, np.int64)
        vacant[: self._vacant.size] = self._vacant
        self._vacant = vacant
        yield from self._sweep(self._living.size, self._living, vacant)
        self._living = None
        self._vacant = vacant[: int(vacant[0]) + 1].copy()
        self.kept = self._used

    def _sweep(
        self, below: int, living: NDArray[np.bool_], vacant: NDArray[np.int64]
    ) -> Iterator[int]:
        at = 0
        while at < self._numbers.size:  # should it grow meanwhile, what lies behind us then waits
            until = min(at + SLOTS_A_SLICE, self._numbers.size)
            table = self._hashes, self._numbers
            self._used -= _forget(*table, below, living, vacant, at, until)
            at = until
            yield SLOTS_A_SLICE // SLOTS_A_UNIT

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        return {
            "hashes": self._hashes,
            "numbers": self._numbers,
            "count": np.array([self._count, self._used, self.kept], np.int64),
            "vacant": self._vacant[: int(self._vacant[0]) + 1],
        }

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        self._hashes = np.array(arrays["hashes"], np.uint64)
        self._numbers = np.array(arrays["numbers"], np.int64)
        self._count, self._used, self.kept = (int(each) for each in arrays["count"])
        self._vacant = np.array(arrays["vacant"], np.int64)
        self._living = None

    def _look_up(self, buffer: NDArray[np.uint8], count: int, out: Ids) -> int:
        wanted = np.empty((out.size, 2), np.uint64)
        table = self._hashes, self._numbers
        return int(_intern(buffer, self._key, *table, count, self._vacant, wanted, out))

    def _make_room(self, more: int) -> None:
        slots = self._numbers.size
        while self._used + more > slots * _FULL:
            slots *= 2
        if slots != self._numbers.size:
            self._rebuild(slots, self._numbers >= 0)

    def _rebuild(self, slots: int, kept: NDArray[np.bool_]) -> None:
        hashes = np.zeros((slots, 2), np.uint64)
        numbers = np.full(slots, -1, np.int64)
        _insert_all(self._hashes[kept], self._numbers[kept], hashes, numbers)
        self._hashes, self._numbers = hashes, numbers


def joined(strings: Sequence[str]) -> NDArray[np.uint8]:
    """UTF-8 bytes of strings without NUL, a NUL behind each."""
    text = _SEPARATOR.join(strings) + _SEPARATOR if strings else ""
    return np.frombuffer(text.encode(), np.uint8)


def parted(buffer: NDArray[np.uint8]) -> list[str]:
    """The strings that were joined.

    >>> parted(joined(["a", "", "b"]))
    ['a', '', 'b']
    """
    return buffer.tobytes().decode().split(_SEPARATOR)[:-1]


def as_byte_strings(buffer: NDArray[np.uint8]) -> ByteStrings:
    """The strings that were joined, where they lie.

    >>> list(as_byte_strings(joined(["a", "", "b"])))
    [b'a', b'', b'b']
    """
    ends = np.flatnonzero(buffer == 0)
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    return ByteStrings(buffer, starts, ends - starts)


@kernel
def _intern(buffer, key, hashes, numbers, count, vacant, wanted, out):  # type: ignore[no-untyped-def]
    """Fill `out`; `count` is the next number to give when none is vacant, or -1 to add nothing;
    returns the next.

    `wanted` uint64[n, 2] is to work in.
    """
    mask = numbers.size - 1
    start = 0
    for i in range(out.size):
        end = start
        while buffer[end] != 0:
            end += 1
        out[i] = -1
        if end > start:
            wanted[i, 0], wanted[i, 1] = siphash128(buffer, start, end, key)
            out[i] = 0
        start = end + 1
    # a loop of its own, and a short one: the table is anywhere in memory, and looks at it that
    # don't wait for each other overlap
    for i in range(out.size):
        if out[i] < 0:
            continue
        high, low = wanted[i, 0], wanted[i, 1]
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
    mask = numbers.size - 1
    high, low = siphash128(buffer, 0, buffer.size - 1, key)
    slot = np.int64(high & np.uint64(mask))
    while not (hashes[slot, 0] == high and hashes[slot, 1] == low):
        slot = (slot + 1) & mask
    numbers[slot] = number


@kernel
def _insert_all(from_hashes, from_numbers, hashes, numbers):  # type: ignore[no-untyped-def]
    mask = numbers.size - 1
    for i in range(from_numbers.size):
        slot = np.int64(from_hashes[i, 0] & np.uint64(mask))
        while numbers[slot] >= 0:
            slot = (slot + 1) & mask
        hashes[slot, 0], hashes[slot, 1] = from_hashes[i, 0], from_hashes[i, 1]
        numbers[slot] = from_numbers[i]


@kernel
def _forget(hashes, numbers, below, living, vacant, first, last):  # type: ignore[no-untyped-def]
    """Forget, in the slots [first, last), strings with a number smaller than `below` that isn't
    living; put the numbers on `vacant` as far as it has room. Returns how many went."""
    gone = 0
    for slot in range(first, last):
        while 0 <= numbers[slot] < below:
            number = numbers[slot]
            if number < living.size and living[number]:
                break
            if vacant[0] + 1 < vacant.size:
                vacant[0] += 1
                vacant[vacant[0]] = number
            _remove(hashes, numbers, slot)  # another one may have come to this slot
            gone += 1
    return gone


@kernel
def _remove(hashes, numbers, slot):  # type: ignore[no-untyped-def]
    """Empty a slot; what was put behind it because it was taken moves up. Source: Knuth, The Art
    of Computer Programming 3, 6.4, algorithm R."""
    mask = numbers.size - 1
    hole, at = slot, (slot + 1) & mask
    while numbers[at] >= 0:
        home = np.int64(hashes[at, 0] & np.uint64(mask))
        if (at - home) & mask >= (at - hole) & mask:
            hashes[hole, 0], hashes[hole, 1] = hashes[at, 0], hashes[at, 1]
            numbers[hole] = numbers[at]
            hole = at
        at = (at + 1) & mask
    numbers[hole] = -1


@kernel
def marked(living, numbers):  # type: ignore[no-untyped-def]
    """Mark numbers in `living`; -1 is none, and those beyond its end need no mark."""
    for i in range(numbers.size):
        if 0 <= numbers[i] < living.size:
            living[numbers[i]] = True
