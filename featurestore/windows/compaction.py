"""Compaction of a pool: free space between blocks is reclaimed in slices, between batches.

The algorithm
    Blocks are slid down in the order of their position, each to the end of the block before it,
    into the smallest block that fits. So no block is overwritten before it has moved, and no second
    pool is needed. `owners[slot]` tells which entity's block begins at a slot. Between two slices
    the pool is consistent: queries, inserts and evictions find every entity at its `start`.

    A block that is freed below the compaction front between two slices can be reused; a block that
    is freed above the front is not put on a free list, because the front will pass over it. New
    blocks are allocated above the top, where the next pass finds them; the last pass has few blocks
    to slide and is a single slice.

No result of a query depends on the position of a block, so no decision depends on when compaction
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from claimtrace.buffers.jit import kernel

from .entity_series import (
    BLOCK_SIZES,
    EVERYWHERE,
    REUSE_BELOW,
    TOP,
    Pool,
    copy_entries,
    fitting_size,
)

ENTITIES_A_SLICE: Final = 4096
SLOTS_A_SLICE: Final = 16_384
SLOTS_A_UNIT: Final = 4
"""A unit of work is a look at one entity, or sliding this many slots: either takes about 50 ns."""

FEW_SLOTS: Final = 8192
"""At most this many new slots are slid in a single, last slice."""
_MOST_PASSES: Final = 4


def slide(pool_of: Callable[[], Pool]) -> Iterator[int]:
    """Slide all blocks down; yields the units of work after each slice.

    Args:
        pool_of: returns the present pool; the pool may be replaced by a larger one between slices.
    """
    pool = pool_of()
    # the free blocks are among the blocks to slide, which will pass over them: empty all free lists
    pool.free[:] = -1
    pool.meta[REUSE_BELOW] = begin = to = 0
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
            pool.meta[REUSE_BELOW] = to
            if not is_last:
                yield SLOTS_A_SLICE // SLOTS_A_UNIT
                pool = pool_of()
        if is_last:
            break
        begin = end  # the next pass slides the blocks that were allocated during this pass
    pool.meta[TOP] = to
    pool.meta[REUSE_BELOW] = EVERYWHERE


@kernel
def note_owners(pool, owners, begin, first, last):  # type: ignore[no-untyped-def]
    """Note 1 + entity at the first slot of each block of the entities [first, last).

    `owners[0]` is the slot `begin`; blocks outside `owners` are skipped.
    """
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
        # the block may have been moved or freed since its owner was noted
        if entity < 0 or pool.start[entity] != at or pool.size_class[entity] < 0:
            at += 1
            continue
        length = pool.length[entity]
        next_at = at + BLOCK_SIZES[pool.size_class[entity]]
        source = at + pool.head[entity]
        if source != to:
            copy_entries(pool, source, to, length)
        size = fitting_size(length)
        pool.start[entity], pool.head[entity], pool.size_class[entity] = to, 0, size
        to += BLOCK_SIZES[size]
        at = next_at
    return at, to
