"""Giving back the free room in a pool, a slice at a time, while events come and go in between.

The algorithm
    Blocks are slid down in the order in which they lie, each to the end of the one before it, into
    a block that just fits; so no block is written over that wasn't moved, and no second pool is
    needed. `owners[slot]` says whose block begins where. Between two slices the pool is whole: a
    query, an insert or an eviction finds every entity where its `start` says.

    Meanwhile a block that becomes free below the sliding front can be had again; one above it is
    left alone, because the front will pass over it. New blocks come from above the top, where the
    next pass finds them; the last pass has few and is one slice.

Nothing that a query sees depends on where a block lies, so no decision depends on when this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from claimtrace.buffers.jit import kernel

from .entity_series import BLOCK_SIZES, EVERYWHERE, SETTLED, TOP, Pool, copy_entries, fitting_size

ENTITIES_A_SLICE: Final = 4096
SLOTS_A_SLICE: Final = 16_384
SLOTS_A_UNIT: Final = 4
"""A unit of work is a look at one entity, or sliding so many slots: each is about 50 ns."""

FEW_SLOTS: Final = 8192
"""So many new slots or fewer are slid in one slice."""
_MOST_PASSES: Final = 4


def slide(pool_of: Callable[[], Pool]) -> Iterator[int]:
    """Slide all blocks down; yields the units of work after each slice.

    Args:
        pool_of: the pool as it is now; it may grow between slices.
    """
    pool = pool_of()
    pool.free[:] = -1
    pool.meta[SETTLED] = begin = to = 0
    for number in range(1, _MOST_PASSES + 1):
        end = int(pool.meta[TOP])
        is_last = end - begin <= FEW_SLOTS or number == _MOST_PASSES
        owners = np.zeros(end - begin, np.int32)
        entities = pool.start.size
        step = entities if is_last else ENTITIES_A_SLICE
        for first in range(0, entities, max(step, 1)):
            note_owners(pool, owners, begin, first, min(first + step, entities))
            if not is_last:
                yield ENTITIES_A_SLICE
                pool = pool_of()
        at = begin
        step = end if is_last else SLOTS_A_SLICE
        while at < end:
            at, to = slide_some(pool, owners, begin, at, to, min(at + step, end))
            pool.meta[SETTLED] = to
            if not is_last:
                yield SLOTS_A_SLICE // SLOTS_A_UNIT
                pool = pool_of()
        if is_last:
            break
        begin = end
    pool.meta[TOP] = to
    pool.meta[SETTLED] = EVERYWHERE


@kernel
def note_owners(pool, owners, begin, first, last):  # type: ignore[no-untyped-def]
    """Of the entities [first, last): whose block begins where (1 + entity), from `begin` on."""
    for entity in range(first, last):
        if pool.size_class[entity] >= 0:
            at = pool.start[entity] - begin
            if 0 <= at < owners.size:
                owners[at] = entity + 1


@kernel
def slide_some(pool, owners, begin, at, to, until):  # type: ignore[no-untyped-def]
    """Slide the blocks that begin in [at, until) down to `to`; returns the new `at` and `to`."""
    while at < until:
        entity = owners[at - begin] - 1
        # it may have moved or gone since it was noted
        if entity < 0 or pool.start[entity] != at or pool.size_class[entity] < 0:
            at += 1
            continue
        length = pool.length[entity]
        passed = at + BLOCK_SIZES[pool.size_class[entity]]
        source = at + pool.head[entity]
        if source != to:
            copy_entries(pool, source, to, length)
        size = fitting_size(length)
        pool.start[entity], pool.head[entity], pool.size_class[entity] = to, 0, size
        to += BLOCK_SIZES[size]
        at = passed
    return at, to
