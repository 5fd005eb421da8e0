"""A child is read after all of its parents, in whatever order splits and merges happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import StateError
from stream.group.shard_family import Family, Shard, id_of, number_of


def grown(choices: list[tuple[int, int]]) -> list[Shard]:
    """Return the shards after some splits and merges of open shards."""
    shards, is_open = [Shard(0), Shard(1)], [0, 1]
    for kind, which in choices:
        at = which % len(is_open)
        if kind == 0 or len(is_open) == 1:
            parent = is_open.pop(at)
            children = (parent,), (parent,)
        else:
            parent = is_open.pop(at)
            children = ((parent, is_open.pop(which % len(is_open))),)
        for parents in children:
            is_open.append(len(shards))
            shards.append(Shard(len(shards), parents))
    return shards


changes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99)), max_size=8)


@given(changes, st.randoms())
def test_everything_is_read_once_and_parents_first(changes, random) -> None:
    shards = grown(changes)
    family, read = Family(), []
    family.learn(shards)
    while family.readable:
        for number in family.readable:  # what is readable: no parent is left
            assert all(parent in read for parent in shards[number].parents)
        number = random.choice(sorted(family.readable))
        family.finish(number)
        read.append(number)
    assert sorted(read) == [shard.number for shard in shards]


@given(changes)
def test_nothing_waits_that_need_not(changes) -> None:
    shards = grown(changes)
    family = Family()
    family.learn(shards)
    done: set[int] = set()
    for shard in shards:
        wanted = {s.number for s in shards if s.number not in done and done.issuperset(s.parents)}
        assert family.readable == wanted
        family.finish(shard.number)
        done.add(shard.number)


def test_a_parent_that_retention_took_is_not_waited_for() -> None:
    family = Family()
    family.learn([Shard(2, (0, 1)), Shard(1)])
    assert family.readable == {1}, "of its two parents one is still there"
    assert family.learn([Shard(2, (0, 1))]) == {1}, "and it was not done with"
    assert family.readable == {2}


def test_one_that_was_done_with_is_not_missed() -> None:
    family = Family()
    family.learn([Shard(0), Shard(1, (0,))])
    family.finish(0)
    assert family.learn([Shard(1, (0,))]) == set()
    assert family.is_finished(0)


def test_an_id_of_another_form_is_an_error_of_the_log() -> None:
    assert number_of(id_of(10**12)) == 10**12
    for other in ("shard-1", "shardId-", "shardId-1x", ""):
        with pytest.raises(StateError, match="no shard's id"):
            number_of(other)
