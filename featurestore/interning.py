"""Strings to small dense numbers, a batch at a time, without keeping the strings.

A string is known by its 128-bit SipHash under a secret key, so the index needs about 40 bytes a
string, writes to a snapshot as plain arrays, and holds no personal data. Two strings share a number
only if their hashes collide: for a thousand million strings the chance is below 2**-68.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.siphash import Key, siphash128

from .arrays import Arrays

_FULL = 0.6  # longest probes stay short below this load
_SEPARATOR = "\0"  # events with NUL are refused before they get here

Ids = NDArray[np.int64]


class Interner:
    """Gives each new string the next number, from 0; an empty string is -1 (no entity).

    >>> from claimtrace.siphash import hash_key
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

    def __len__(self) -> int:
        return self._count

    def numbers(self, strings: Sequence[str]) -> Ids:
        """The number of each string; new ones are added."""
        return self.numbers_of(joined(strings), len(strings))

    def numbers_of(self, buffer: NDArray[np.uint8], parts: int) -> Ids:
        """The same for strings that are `joined` already."""
        self._make_room(parts)
        numbers = np.empty(parts, np.int64)
        self._count = _intern(buffer, self._key, self._hashes, self._numbers, self._count, numbers)
        return numbers

    def find(self, strings: Sequence[str]) -> Ids:
        """The number of each string, -1 for unknown ones; nothing is added."""
        numbers = np.empty(len(strings), np.int64)
        _intern(joined(strings), self._key, self._hashes, self._numbers, -1, numbers)
        return numbers

    def renumber(self, string: str) -> int:
        """Give a known string the next number instead of the one it has."""
        _renumber(joined([string]), self._key, self._hashes, self._numbers, self._count)
        self._count += 1
        return self._count - 1

    def forget_below(self, first: int) -> None:
        """Drop all strings whose number is smaller than `first`; the others keep theirs."""
        kept = self._numbers >= first
        self._rebuild(_slots_for(int(np.count_nonzero(kept))), kept)

    def keep(self, numbers: Ids) -> None:
        """Give each string its new number, `numbers[old]`; those with -1 are forgotten."""
        kept = self._numbers >= 0
        self._numbers[kept] = numbers[self._numbers[kept]]
        self._count = int(numbers.max(initial=-1)) + 1
        self._rebuild(_slots_for(self._count), self._numbers >= 0)

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        return {
            "hashes": self._hashes,
            "numbers": self._numbers,
            "count": np.array([self._count], np.int64),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        self._hashes = np.array(arrays["hashes"], np.uint64)
        self._numbers = np.array(arrays["numbers"], np.int64)
        self._count = int(arrays["count"][0])

    def _make_room(self, more: int) -> None:
        used = int(np.count_nonzero(self._numbers >= 0)) if self._needs_count(more) else 0
        slots = self._numbers.size
        while used + more > slots * _FULL:
            slots *= 2
        if slots != self._numbers.size:
            self._rebuild(slots, self._numbers >= 0)

    def _needs_count(self, more: int) -> bool:
        # counting the used slots costs a pass; numbers given so far bound it from above
        return self._count + more > self._numbers.size * _FULL

    def _rebuild(self, slots: int, kept: NDArray[np.bool_]) -> None:
        hashes = np.zeros((slots, 2), np.uint64)
        numbers = np.full(slots, -1, np.int64)
        _insert_all(self._hashes[kept], self._numbers[kept], hashes, numbers)
        self._hashes, self._numbers = hashes, numbers


def _slots_for(count: int) -> int:
    """Slots that leave a rebuilt table room to grow by as much again."""
    slots = 1024
    while count > slots * _FULL / 2:
        slots *= 2
    return slots


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


@njit(cache=True)
def _intern(buffer, key, hashes, numbers, count, out):  # type: ignore[no-untyped-def]
    """Fill `out`; `count` is the next number to give, or -1 to add nothing; returns the next."""
    mask = numbers.size - 1
    wanted = np.empty((out.size, 2), np.uint64)
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
            hashes[slot, 0], hashes[slot, 1], numbers[slot] = high, low, count
            count += 1
        out[i] = numbers[slot]
    return count


@njit(cache=True)
def _renumber(buffer, key, hashes, numbers, number):  # type: ignore[no-untyped-def]
    mask = numbers.size - 1
    high, low = siphash128(buffer, 0, buffer.size - 1, key)
    slot = np.int64(high & np.uint64(mask))
    while not (hashes[slot, 0] == high and hashes[slot, 1] == low):
        slot = (slot + 1) & mask
    numbers[slot] = number


@njit(cache=True)
def _insert_all(from_hashes, from_numbers, hashes, numbers):  # type: ignore[no-untyped-def]
    mask = numbers.size - 1
    for i in range(from_numbers.size):
        slot = np.int64(from_hashes[i, 0] & np.uint64(mask))
        while numbers[slot] >= 0:
            slot = (slot + 1) & mask
        hashes[slot] = from_hashes[i]
        numbers[slot] = from_numbers[i]
