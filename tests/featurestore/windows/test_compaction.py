"""Blocks slide down while events come and go: entries stay what they are, and free room goes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.windows import compaction as sliding
from featurestore.windows.entity_series import (
    BLOCK_SIZES,
    EVERYWHERE,
    LIVE,
    SETTLED,
    TOP,
    empty_pool,
    evict,
    fitting_size,
    insert,
    with_room,
)

ENTITIES = 5
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("insert"),
            st.integers(0, ENTITIES - 1), st.integers(0, 30), st.integers(-5, 5),
        ),
        st.tuples(st.just("evict"), st.integers(0, ENTITIES - 1), st.integers(-1, 31)),
    ),
    max_size=60,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    """One entity and one slot at a time, and as many passes as there may be."""
    monkeypatch.setattr(sliding, "ENTITIES_A_SLICE", 1)
    monkeypatch.setattr(sliding, "SLOTS_A_SLICE", 1)
    monkeypatch.setattr(sliding, "FEW_SLOTS", 0)


class Owner:
    """A pool, and the plain lists that it must equal."""

    def __init__(self):
        self.pool = empty_pool(ENTITIES, 1, 1, 1)
        self.plain = [[] for _ in range(ENTITIES)]

    def step(self, step):
        match step:
            case ("insert", entity, at, value):
                values, distincts = np.array([[value]]), np.array([[value + 5]], np.int64)
                while not insert(self.pool, entity, at, values, distincts, 0, np.uint8(0)):
                    self.pool = with_room(self.pool, 0, self.pool.time.size + 1)
                self.plain[entity].append((at, value))
                self.plain[entity].sort(key=lambda entry: entry[0])
            case ("evict", entity, until):
                evict(self.pool, entity, until)
                self.plain[entity] = [e for e in self.plain[entity] if e[0] > until]

    def check(self):
        pool = self.pool
        for entity, entries in enumerate(self.plain):
            first = pool.start[entity] + pool.head[entity]
            span = slice(first, first + pool.length[entity])
            assert pool.time[span].tolist() == [at for at, _ in entries]
            before = np.concatenate([pool.base[:1, entity], pool.prefix[0, span]])
            assert np.diff(before).tolist() == [value for _, value in entries]
            assert pool.distinct[0, span].tolist() == [value + 5 for _, value in entries]
        assert pool.meta[LIVE] == sum(map(len, self.plain))
        blocks = sorted(
            (int(pool.start[e]), int(BLOCK_SIZES[pool.size_class[e]]))
            for e in range(ENTITIES) if pool.size_class[e] >= 0
        )  # fmt: skip
        assert all(a + size <= b for (a, size), (b, _) in pairwise(blocks))
        assert not blocks or sum(blocks[-1]) <= pool.meta[TOP]


@settings(deadline=None, max_examples=300)
@given(steps=STEPS, meanwhile=STEPS, data=st.data())
def test_events_between_slices_find_every_entry(steps, meanwhile, data):
    owner = Owner()
    for step in steps:
        owner.step(step)
    left = list(meanwhile)
    for units in sliding.slide(lambda: owner.pool):
        assert units > 0 or sliding.SLOTS_A_SLICE < sliding.SLOTS_A_UNIT
        for _ in range(data.draw(st.integers(0, 3))):
            if left:
                owner.step(left.pop())
        owner.check()
    owner.check()
    assert owner.pool.meta[SETTLED] == EVERYWHERE
    for step in left:
        owner.step(step)
    owner.check()


@settings(deadline=None)
@given(steps=STEPS)
def test_without_events_meanwhile_blocks_lie_side_by_side_and_fit(steps):
    owner = Owner()
    for step in steps:
        owner.step(step)
    for _ in sliding.slide(lambda: owner.pool):
        pass
    owner.check()
    lengths = [len(entries) for entries in owner.plain if entries]
    assert owner.pool.meta[TOP] == sum(int(BLOCK_SIZES[fitting_size(n)]) for n in lengths)


@settings(deadline=None)
@given(steps=STEPS, meanwhile=STEPS, slices=st.integers(0, 20))
def test_a_pool_that_is_left_half_way_is_whole(steps, meanwhile, slices):
    """As after a snapshot that was taken there: nothing is lost but room."""
    owner = Owner()
    for step in steps:
        owner.step(step)
    for _, _ in zip(range(slices), sliding.slide(lambda: owner.pool), strict=False):
        pass
    owner.pool.meta[SETTLED] = EVERYWHERE
    for step in meanwhile:
        owner.step(step)
        owner.check()
    for _ in sliding.slide(lambda: owner.pool):
        pass
    owner.check()
