"""The events of each entity in time order, in columns, for exact aggregates over any window.

The algorithm
    The entries of an entity are contiguous in a block of a pool, sorted by event time (ties in
    order of arrival). Each entry has its time, the running sum of each value, a number for each
    distinct column, and one byte of marks. A window (t - delay - width, t - delay] is found by two
    binary searches; counts and sums are one subtraction of integers, other aggregates scan the
    entries. No aggregate is stored: no rounding error can accumulate, a late event is inserted at
    its event time, and a new window over the same value needs no new state.

The shape
    time[P], prefix[K, P], distinct[M, P], marks[P] are the pool's columns, for P slots, K values
    and M distinct columns. start, head, length and size_class tell which slots an entity E owns:
    its entries are in start+head .. start+head+length. The free blocks of one size form a list,
    linked through `time`. base[K, E] is the running sum before the first entry.

Costs: 8 + 8 K + 4 M + 1 bytes an entry plus unused slots in its block (a seventh on average).
Blocks that an entity has outgrown are reused by smaller entities;
`featurestore.windows.compaction` reclaims the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel

OUTCOME_BITS = 3
"""The bits of a mark that hold the outcome: 0 unknown, 1 legit, 2 fraud, 3 void."""
UNKNOWN, LEGIT, FRAUD, VOID = 0, 1, 2, 3
"""VOID is only in series of labels: another label has replaced this one, so it isn't counted."""
FIRST_MISSING_BIT = 4
"""The bit of a mark that is set if the first value is missing; value k has bit 4 << k."""


def _block_sizes() -> NDArray[np.int64]:
    sizes = [1, 2, 3]
    while sizes[-1] < 2**28:
        sizes.append(sizes[-2] * 2)
    return np.array(sizes, np.int64)


BLOCK_SIZES = _block_sizes()
"""1 2 3 4 6 8 12 16 24 ...: each about half as large again, so that few slots stay unused."""


class Pool(NamedTuple):
    """The columns of all entities; see the docstring of the module for their shapes."""

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


TOP, LIVE, REUSE_BELOW = 0, 1, 2
"""Indices of `meta`: the first slot never used, the number of live entries, and the slot below
which freed blocks go to a free list (blocks above it are being slid down by compaction)."""
EVERYWHERE = 2**62
"""`REUSE_BELOW` of a pool that is not being compacted."""


def empty_pool(entities: int, slots: int, values: int, distincts: int) -> Pool:
    """Return an empty pool with capacity for `entities` entities and `slots` entries."""
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


def with_capacity(pool: Pool, entities: int, slots: int) -> Pool:
    """Return the pool with capacity for at least `entities` entities and `slots` entries.

    Slots that were never written take no physical memory: the system allocates it page by page.
    """
    has_entities, has_slots = pool.start.size, pool.time.size
    if entities > has_entities:
        more = max(entities, has_entities + has_entities // 2)
        pool = pool._replace(
            start=_grown(pool.start, more),
            head=_grown(pool.head, more),
            length=_grown(pool.length, more),
            size_class=_grown(pool.size_class, more, -1),
            base=_grown(pool.base, more),
        )
    if slots > has_slots:
        more = max(slots, 2 * has_slots)
        pool = pool._replace(
            time=_grown(pool.time, more),
            prefix=_grown(pool.prefix, more),
            distinct=_grown(pool.distinct, more),
            marks=_grown(pool.marks, more),
        )
    return pool


def _grown(array: NDArray, length: int, fill: int = 0) -> NDArray:  # type: ignore[type-arg]
    grown = np.zeros((*array.shape[:-1], length), array.dtype)
    kept = min(length, array.shape[-1])
    grown[..., :kept] = array[..., :kept]
    if fill:
        grown[..., kept:] = fill
    return grown


@kernel
def upper_bound(time, first, last, at):  # type: ignore[no-untyped-def]
    """Return the first index in sorted `time[first:last]` whose time is after `at`."""
    # most look-ups are for the newest entries: search backwards from the end, in doubling steps
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
def _allocate_block(pool, size):  # type: ignore[no-untyped-def]
    """Return the first slot of a block of a size class, or -1 when the pool must grow first."""
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
def _free_block(pool, block, size):  # type: ignore[no-untyped-def]
    """Put a block on the free list of its size class, unless compaction will pass over it."""
    if block < pool.meta[REUSE_BELOW]:
        pool.time[block] = pool.free[size]
        pool.free[size] = block


@kernel
def copy_entries(pool, source, target, count):  # type: ignore[no-untyped-def]
    """Copy entries to other slots of the pool; `target` may overlap `source` from below."""
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
def _reserve(pool, entity):  # type: ignore[no-untyped-def]
    """Reserve a slot after the entity's last entry; returns False when the pool must grow."""
    size = pool.size_class[entity]
    length = pool.length[entity]
    if size >= 0:
        capacity = BLOCK_SIZES[size]
        head = pool.head[entity]
        if head + length < capacity:
            return True
        if head > capacity // 4:  # enough entries were evicted: move the rest to the front
            start = pool.start[entity]
            copy_entries(pool, start + head, start, length)
            pool.head[entity] = 0
            return True
    wanted = size + 1
    while BLOCK_SIZES[wanted] <= length:
        wanted += 1
    block = _allocate_block(pool, wanted)
    if block < 0:
        return False
    if size >= 0:
        copy_entries(pool, pool.start[entity] + pool.head[entity], block, length)
        _free_block(pool, pool.start[entity], size)
    pool.start[entity], pool.size_class[entity], pool.head[entity] = block, wanted, 0
    return True


@kernel
def insert(pool, entity, at, values, distincts, column, mark):  # type: ignore[no-untyped-def]
    """Insert an entry at its event time; returns False, without changes, when the pool must grow.

    The entry's values are `values[:, column]` and `distincts[:, column]`.
    """
    if not _reserve(pool, entity):
        return False
    first = pool.start[entity] + pool.head[entity]
    end = first + pool.length[entity]
    slot = upper_bound(pool.time, first, end, at)
    for i in range(end, slot, -1):
        pool.time[i] = pool.time[i - 1]
        pool.marks[i] = pool.marks[i - 1]
    pool.time[slot] = at
    pool.marks[slot] = mark
    for k in range(pool.prefix.shape[0]):
        value = values[k, column]
        # running sums of later entries grow by the value
        before = pool.base[k, entity] if slot == first else pool.prefix[k, slot - 1]
        for i in range(end, slot, -1):
            pool.prefix[k, i] = pool.prefix[k, i - 1] + value
        pool.prefix[k, slot] = before + value
    for m in range(pool.distinct.shape[0]):
        for i in range(end, slot, -1):
            pool.distinct[m, i] = pool.distinct[m, i - 1]
        pool.distinct[m, slot] = distincts[m, column]
    pool.length[entity] += 1
    pool.meta[LIVE] += 1
    return True


@kernel
def evict(pool, entity, until):  # type: ignore[no-untyped-def]
    """Evict the entity's entries up to time `until`, which no window can reach any more."""
    length = pool.length[entity]
    if length == 0:
        return
    first = pool.start[entity] + pool.head[entity]
    evicted = 0
    while evicted < length and pool.time[first + evicted] <= until:
        evicted += 1
    if evicted == 0:
        return
    pool.meta[LIVE] -= evicted
    if evicted == length:
        _free_block(pool, pool.start[entity], pool.size_class[entity])
        pool.size_class[entity] = -1
        pool.head[entity], pool.length[entity] = 0, 0
        for k in range(pool.base.shape[0]):
            pool.base[k, entity] = 0
        return
    for k in range(pool.base.shape[0]):
        pool.base[k, entity] = pool.prefix[k, first + evicted - 1]
    pool.head[entity] += evicted
    pool.length[entity] -= evicted


@kernel
def evict_range(pool, first, last, until):  # type: ignore[no-untyped-def]
    """Evict entries up to time `until` in the entities [first, last), also those never seen again.

    Returns the number of slots that the remaining entries need in blocks that just fit.
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
    """Return the size class of the smallest block that holds `length` entries."""
    size = 0
    while BLOCK_SIZES[size] < length:
        size += 1
    return size


@kernel
def mark_distinct(pool, column, first, last, live):  # type: ignore[no-untyped-def]
    """Mark as live the numbers that a distinct column has in the entities [first, last).

    By entity and not by slot: an entry may move to another slot between two slices of the pass.
    """
    for entity in range(first, last):
        at = pool.start[entity] + pool.head[entity]
        for i in range(at, at + pool.length[entity]):
            number = pool.distinct[column, i]
            if 0 <= number < live.size:
                live[number] = True


@kernel
def mark_outcome(pool, entity, at, before, after):  # type: ignore[no-untyped-def]
    """Set the outcome of one entry of time `at` with outcome `before` to `after`.

    Entries of the same millisecond are always in the same windows, so it doesn't matter which of
    them gets the outcome.
    """
    first = pool.start[entity] + pool.head[entity]
    end = first + pool.length[entity]
    slot = upper_bound(pool.time, first, end, at) - 1
    while slot >= first and pool.time[slot] == at:
        if pool.marks[slot] & OUTCOME_BITS == before:
            pool.marks[slot] = (pool.marks[slot] & ~np.uint8(OUTCOME_BITS)) | (
                after & np.uint8(OUTCOME_BITS)
            )
            return
        slot -= 1
