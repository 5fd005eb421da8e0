"""A pool that is compacted answers as before, and its layout says nothing of its past."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.series import LIVE, TOP, compacted, empty_pool, evict, insert, with_room

ENTITIES = 4
facts = st.lists(st.tuples(st.integers(0, ENTITIES - 1), st.integers(0, 30), st.integers(-5, 5)))


def filled(entries, until):
    """A pool with the entries in order, then without those of `until` and before."""
    pool = empty_pool(ENTITIES, 1, 1, 1)
    for entity, at, value in entries:
        values, distincts = np.array([[value]]), np.array([[value + 5]], np.int64)
        while not insert(pool, entity, at, values, distincts, 0, np.uint8(0)):
            pool = with_room(pool, 0, pool.time.size + 1)
    for entity in range(ENTITIES):
        evict(pool, entity, until)
    return pool


def contents(pool):
    """Times, values and distinct numbers by entity, as they can be read back."""
    found = []
    for entity in range(ENTITIES):
        first = pool.start[entity] + pool.head[entity]
        span = slice(first, first + pool.length[entity])
        before = np.concatenate([pool.base[:1, entity], pool.prefix[0, span]])
        found.append(
            (pool.time[span].tolist(), np.diff(before).tolist(), pool.distinct[0, span].tolist())
        )
    return found


@settings(deadline=None)
@given(facts, st.integers(-1, 31))
def test_entries_stay_and_free_room_goes(entries, until):
    pool = filled(entries, until)
    small = compacted(pool)
    assert contents(small) == contents(pool)
    assert small.meta[LIVE] == pool.meta[LIVE] == small.length.sum()
    assert small.meta[TOP] <= pool.meta[TOP]
    assert small.meta[TOP] <= 1.5 * small.meta[LIVE]
    assert (small.free == -1).all()


@settings(deadline=None)
@given(facts, facts, st.integers(-1, 31))
def test_a_compacted_pool_takes_events_like_any_other(entries, more, until):
    together = filled([*entries, *[(e, t + 32, v) for e, t, v in more]], until)
    pool = compacted(filled(entries, until))
    for entity, at, value in more:
        values, distincts = np.array([[value]]), np.array([[value + 5]], np.int64)
        while not insert(pool, entity, at + 32, values, distincts, 0, np.uint8(0)):
            pool = with_room(pool, 0, pool.time.size + 1)
    assert contents(pool) == contents(together)
