"""For each entity, its events in time order, in columns; and exact aggregates over any window.

The algorithm
    An entity's entries lie side by side, sorted by event time (ties in order of arrival), in a
    block of a pool. Each entry holds its time, the running sum of each value, a number for each
    distinct column, and one byte of marks. A window (t - delay - width, t - delay] is then two
    binary searches; counts and sums are one subtraction of integers, the others a scan of the
    entries. No aggregate is stored, so nothing can drift, a late event is simply put in its
    place, and a new window over the same value needs no new state.

The shape
    time[P], prefix[K, P], distinct[M, P], marks[P] are pools; start, head, length, size_class say
    which part of them an entity E owns: entries start+head .. start+head+length. Blocks of one size
    that are free form a list through `time`. base[K, E] is the running sum before the first entry.

Costs: 8 + 8 K + 4 M + 1 bytes an entry plus unused room in its block (a seventh on average). Blocks
that an entity has outgrown wait for smaller ones; `featurestore.windows.compaction` gives their
room back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel

OUTCOME_BITS = 3
"""The part of a mark that holds the outcome: 0 unknown, 1 legit, 2 fraud."""
UNKNOWN, LEGIT, FRAUD = 0, 1, 2
FIRST_MISSING_BIT = 4
"""Bit of a mark that says the first value is missing; the next value has the next bit."""


def _block_sizes() -> NDArray[np.int64]:
    sizes = [1, 2, 3]
    while sizes[-1] < 2**28:
        sizes.append(sizes[-2] * 2)
    return np.array(sizes, np.int64)


BLOCK_SIZES = _block_sizes()
"""1 2 3 4 6 8 12 16 24 ...: half as much again each time, so little room is unused."""


class Pool(NamedTuple):
    """The columns of all entities; see the head of the file for shapes."""

    start: NDArray[np.int64]
    head: NDArray[np.int32]
    length: NDArray[np.int32]
    size_class: NDArray[np.int8]
    base: NDArray[np.int64]
    time: NDArray[np.int64]
    prefix: NDArray[np.int64]
    distinct: NDArray[np.int32]
    marks: NDArray[np.uint8]
    free: NDArray[np.int64]
    meta: NDArray[np.int64]


TOP, LIVE, SETTLED = 0, 1, 2
"""Places in `meta`: the first slot never used, how many entries are live, and the first slot whose
blocks aren't given out again when they become free (they are being slid down)."""
EVERYWHERE = 2**62
"""`SETTLED` of a pool that nobody slides."""


def empty_pool(entities: int, slots: int, values: int, distincts: int) -> Pool:
    """A pool with room for so many entities and entries."""
    return Pool(
        start=np.zeros(entities, np.int64),
        head=np.zeros(entities, np.int32),
        length=np.zeros(entities, np.int32),
        size_class=np.full(entities, -1, np.int8),
        base=np.zeros((values, entities), np.int64),
        time=np.zeros(slots, np.int64),
        prefix=np.zeros((values, slots), np.int64),
        distinct=np.zeros((distincts, slots), np.int32),
        marks=np.zeros(slots, np.uint8),
        free=np.full(BLOCK_SIZES.size, -1, np.int64),
        meta=np.array([0, 0, EVERYWHERE], np.int64),
    )


def with_room(pool: Pool, entities: int, slots: int) -> Pool:
    """The same pool with room for at least so many entities and entries.

    Room that nothing was written to yet takes no memory: the system gives it page by page.
    """
    has_entities, has_slots = pool.start.size, pool.time.size
    if entities > has_entities:
        more = max(entities, has_entities + has_entities // 2)
        pool = pool._replace(
            start=_longer(pool.start, more),
            head=_longer(pool.head, more),
            length=_longer(pool.length, more),
            size_class=_longer(pool.size_class, more, -1),
            base=_longer(pool.base, more),
        )
    if slots > has_slots:
        more = max(slots, 2 * has_slots)
        pool = pool._replace(
            time=_longer(pool.time, more),
            prefix=_longer(pool.prefix, more),
            distinct=_longer(pool.distinct, more),
            marks=_longer(pool.marks, more),
        )
    return pool


def _longer(array: NDArray, length: int, fill: int = 0) -> NDArray:  # type: ignore[type-arg]
    longer = np.zeros((*array.shape[:-1], length), array.dtype)
    kept = min(length, array.shape[-1])
    longer[..., :kept] = array[..., :kept]
    if fill:
        longer[..., kept:] = fill
    return longer


@kernel
def upper_bound(time, first, last, at):  # type: ignore[no-untyped-def]
    """The first place in sorted `time[first:last]` whose time is later than `at`."""
    # most look-ups are for the newest entries: widen the search from the end
    step = 1
    low = last
    while low > first and time[max(first, low - step)] > at:
        low = max(first, low - step)
        step *= 2
    high = low
    low = max(first, low - step)
    while low < high:
        middle = (low + high) // 2
        if time[middle] <= at:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _take_block(pool, size):  # type: ignore[no-untyped-def]
    """A free block of this size class, or -1 when the pool must grow first."""
    block = pool.free[size]
    if block >= 0:
        pool.free[size] = pool.time[block]
        return block
    block = pool.meta[TOP]
    if block + BLOCK_SIZES[size] > pool.time.size:
        return -1
    pool.meta[TOP] = block + BLOCK_SIZES[size]
    return block


@kernel
def _give_block(pool, block, size):  # type: ignore[no-untyped-def]
    if block < pool.meta[SETTLED]:
        pool.time[block] = pool.free[size]
        pool.free[size] = block


@kernel
def copy_entries(pool, source, target, count):  # type: ignore[no-untyped-def]
    """Copy entries to another place of the pool, which may overlap theirs from below."""
    for i in range(count):
        pool.time[target + i] = pool.time[source + i]
        pool.marks[target + i] = pool.marks[source + i]
    for k in range(pool.prefix.shape[0]):
        for i in range(count):
            pool.prefix[k, target + i] = pool.prefix[k, source + i]
    for m in range(pool.distinct.shape[0]):
        for i in range(count):
            pool.distinct[m, target + i] = pool.distinct[m, source + i]


@kernel
def _make_room(pool, entity):  # type: ignore[no-untyped-def]
    """Room for one more entry at the end of the entity's block; False when the pool must grow."""
    size = pool.size_class[entity]
    length = pool.length[entity]
    if size >= 0:
        capacity = BLOCK_SIZES[size]
        head = pool.head[entity]
        if head + length < capacity:
            return True
        if head > capacity // 4:
            start = pool.start[entity]
            copy_entries(pool, start + head, start, length)
            pool.head[entity] = 0
            return True
    wanted = size + 1
    while BLOCK_SIZES[wanted] <= length:
        wanted += 1
    block = _take_block(pool, wanted)
    if block < 0:
        return False
    if size >= 0:
        copy_entries(pool, pool.start[entity] + pool.head[entity], block, length)
        _give_block(pool, pool.start[entity], size)
    pool.start[entity], pool.size_class[entity], pool.head[entity] = block, wanted, 0
    return True


@kernel
def insert(pool, entity, at, values, distincts, column, mark):  # type: ignore[no-untyped-def]
    """Put an entry in its place in time; False (and nothing changed) when the pool must grow.

    `values[K, n]` and `distincts[M, n]` are read at `column`.
    """
    if not _make_room(pool, entity):
        return False
    first = pool.start[entity] + pool.head[entity]
    end = first + pool.length[entity]
    place = upper_bound(pool.time, first, end, at)
    for i in range(end, place, -1):
        pool.time[i] = pool.time[i - 1]
        pool.marks[i] = pool.marks[i - 1]
    pool.time[place] = at
    pool.marks[place] = mark
    for k in range(pool.prefix.shape[0]):
        value = values[k, column]
        before = pool.base[k, entity] if place == first else pool.prefix[k, place - 1]
        for i in range(end, place, -1):
            pool.prefix[k, i] = pool.prefix[k, i - 1] + value
        pool.prefix[k, place] = before + value
    for m in range(pool.distinct.shape[0]):
        for i in range(end, place, -1):
            pool.distinct[m, i] = pool.distinct[m, i - 1]
        pool.distinct[m, place] = distincts[m, column]
    pool.length[entity] += 1
    pool.meta[LIVE] += 1
    return True


@kernel
def evict(pool, entity, until):  # type: ignore[no-untyped-def]
    """Drop the entity's entries of `until` and before: no window can reach them any more."""
    length = pool.length[entity]
    if length == 0:
        return
    first = pool.start[entity] + pool.head[entity]
    gone = 0
    while gone < length and pool.time[first + gone] <= until:
        gone += 1
    if gone == 0:
        return
    pool.meta[LIVE] -= gone
    if gone == length:
        _give_block(pool, pool.start[entity], pool.size_class[entity])
        pool.size_class[entity] = -1
        pool.head[entity], pool.length[entity] = 0, 0
        for k in range(pool.base.shape[0]):
            pool.base[k, entity] = 0
        return
    for k in range(pool.base.shape[0]):
        pool.base[k, entity] = pool.prefix[k, first + gone - 1]
    pool.head[entity] += gone
    pool.length[entity] -= gone


@kernel
def evict_range(pool, first, last, until):  # type: ignore[no-untyped-def]
    """Evict in the entities [first, last), those that are never seen again included.

    Returns how many slots fit what is left.
    """
    fitting = 0
    for entity in range(first, last):
        if pool.length[entity]:
            evict(pool, entity, until)
            if pool.length[entity]:
                fitting += BLOCK_SIZES[fitting_size(pool.length[entity])]
    return fitting


@kernel
def fitting_size(length):  # type: ignore[no-untyped-def]
    """The class of the smallest block that has room for so many entries."""
    size = 0
    while BLOCK_SIZES[size] < length:
        size += 1
    return size


@kernel
def mark_distinct(pool, column, first, last, living):  # type: ignore[no-untyped-def]
    """Mark in `living` the numbers that a distinct column has in entries of entities [first, last).

    By entity and not by slot: an entry may move to another slot before that one's turn comes.
    """
    for entity in range(first, last):
        at = pool.start[entity] + pool.head[entity]
        for i in range(at, at + pool.length[entity]):
            number = pool.distinct[column, i]
            if 0 <= number < living.size:
                living[number] = True


@kernel
def mark_outcome(pool, entity, at, before, after):  # type: ignore[no-untyped-def]
    """Set the outcome of one entry of time `at` that has outcome `before`.

    Entries of the same millisecond are in every window together, so it doesn't matter which of
    them carries the mark.
    """
    first = pool.start[entity] + pool.head[entity]
    end = first + pool.length[entity]
    place = upper_bound(pool.time, first, end, at) - 1
    while place >= first and pool.time[place] == at:
        if pool.marks[place] & OUTCOME_BITS == before:
            pool.marks[place] = (pool.marks[place] & ~np.uint8(OUTCOME_BITS)) | (
                after & np.uint8(OUTCOME_BITS)
            )
            return
        place -= 1
