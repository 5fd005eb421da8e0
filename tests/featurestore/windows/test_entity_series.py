"""Entries in blocks of a pool equal plain sorted lists, for any order of operations."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.windows.entity_series import (
    BLOCK_SIZES,
    FIRST_MISSING_BIT,
    FRAUD,
    LEGIT,
    LIVE,
    OUTCOME_BITS,
    empty_pool,
    evict,
    evict_range,
    insert,
    mark_outcome,
    upper_bound,
    with_capacity,
)

ENTITIES = 4
TIMES = st.integers(-5, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("insert"),
            st.integers(0, ENTITIES - 1),
            TIMES,
            st.tuples(st.integers(-(10**11), 10**11), st.integers(-9, 9)),
            st.integers(-1, 5),
            st.integers(0, 3),
        ),
        st.tuples(st.just("evict"), st.integers(0, ENTITIES - 1), TIMES),
        st.tuples(st.just("evict_all"), TIMES),
        st.tuples(
            st.just("mark"),
            st.integers(0, ENTITIES - 1),
            TIMES,
            st.sampled_from([0, LEGIT, FRAUD]),
            st.sampled_from([LEGIT, FRAUD]),
        ),
    ),
    max_size=120,
)


def entries(pool, entity):
    """(time, first value, second value, distinct, mark) of an entity, read from its prefix sums."""
    first = pool.start[entity] + pool.head[entity]
    found, before = [], [int(pool.base[k, entity]) for k in range(2)]
    for i in range(first, first + pool.length[entity]):
        sums = [int(pool.prefix[k, i]) for k in range(2)]
        values = [now - old for now, old in zip(sums, before, strict=True)]
        found.append((int(pool.time[i]), *values, int(pool.distinct[0, i]), int(pool.marks[i])))
        before = sums
    return found


def put(pool, entity, at, values, distinct, mark):
    """Insert an entry; the pool grows whenever `insert` returns False."""
    column = np.array(values, np.int64).reshape(2, 1)
    while not insert(pool, entity, at, column, np.array([[distinct]], np.int64), 0, np.uint8(mark)):
        pool = with_capacity(pool, 0, pool.time.size + 1)
    return pool


def assert_blocks_are_disjoint(pool):
    """Assert that no slot belongs to two entities, or to an entity and a free list."""
    owned = []
    for entity in range(pool.start.size):
        size = pool.size_class[entity]
        if size >= 0:
            owned += range(pool.start[entity], pool.start[entity] + BLOCK_SIZES[size])
            assert pool.head[entity] + pool.length[entity] <= BLOCK_SIZES[size]
    for size, block in enumerate(pool.free.tolist()):
        while block >= 0:
            owned += range(block, block + BLOCK_SIZES[size])
            block = int(pool.time[block])
    assert len(owned) == len(set(owned))
    assert not owned or max(owned) < pool.meta[0] <= pool.time.size


@given(steps=STEPS, slots=st.sampled_from([1, 7, 64]))
@settings(deadline=None, max_examples=150)
def test_a_pool_equals_sorted_lists(steps, slots):
    pool, plain = empty_pool(ENTITIES, slots, 2, 1), [[] for _ in range(ENTITIES)]
    for step in steps:
        match step:
            case ("insert", entity, at, values, distinct, mark):
                mark |= FIRST_MISSING_BIT * (values[0] == 0)
                pool = put(pool, entity, at, values, distinct, mark)
                index = bisect_right([entry[0] for entry in plain[entity]], at)
                plain[entity].insert(index, (at, *values, distinct, mark))
            case ("evict", entity, until):
                evict(pool, entity, until)
                plain[entity] = [entry for entry in plain[entity] if entry[0] > until]
            case ("evict_all", until):
                evict_range(pool, 0, ENTITIES, until)
                plain = [[entry for entry in each if entry[0] > until] for each in plain]
            case ("mark", entity, at, before, after):
                mark_outcome(pool, entity, at, np.uint8(before), np.uint8(after))
                same = [i for i, e in enumerate(plain[entity])
                        if e[0] == at and e[4] & OUTCOME_BITS == before]  # fmt: skip
                if same:
                    *head, mark = plain[entity][same[-1]]
                    plain[entity][same[-1]] = (*head, mark & ~OUTCOME_BITS | after)
        assert [entries(pool, entity) for entity in range(ENTITIES)] == plain
        assert pool.meta[LIVE] == sum(map(len, plain))
        assert_blocks_are_disjoint(pool)


@given(st.lists(TIMES, max_size=40), st.integers(-8, 33), st.integers(0, 5), st.integers(0, 5))
@settings(deadline=None)
def test_upper_bound_is_bisect(times, at, front, back):
    """Within a part of an array whose other slots have arbitrary values."""
    column = np.array([99] * front + sorted(times) + [-99] * back, np.int64)
    last = front + len(times)
    assert upper_bound(column, front, last, at) == front + bisect_right(sorted(times), at)


def test_room_that_was_left_is_used_again():
    """Entries that are inserted and evicted forever need the slots of the live entries only."""
    pool, sizes = empty_pool(2, 64, 2, 1), []
    for at in range(6000):
        evict(pool, at % 2, at - 20)
        pool = put(pool, at % 2, at, (1, 1), 0, 0)
        if at in (600, 5999):
            sizes.append((pool.time.size, int(pool.meta[0])))
    assert sizes[0] == sizes[1]
    assert pool.meta[LIVE] <= 21


def test_blocks_waste_less_than_the_entries_take():
    """A few entities have almost all entries; other entities reuse the blocks they outgrow."""
    rng = np.random.default_rng(1)
    pool = empty_pool(2000, 1024, 2, 1)
    for at in range(20_000):
        pool = put(pool, int(rng.zipf(1.4)) % 2000, at, (1, 1), 0, 0)
    assert int(pool.meta[0]) / int(pool.meta[LIVE]) < 2
