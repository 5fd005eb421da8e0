"""Leases are shared fairly and never owned twice, whatever workers start, end or sleep."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.group.leases import HeartbeatMonitor, Lease, moves

names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)


def table(owners: list[str]) -> list[Lease]:
    return [Lease(("t", number), owner, 1, None) for number, owner in enumerate(owners)]


def apply(leases: list[Lease], me: str, alive: list[str], seen: list[Lease]) -> list[Lease]:
    """Do what a worker does after it read `seen`, on the table as it is now, conditionally."""
    found = moves(me, seen, alive)
    known = {lease.topic_partition: lease for lease in seen}
    now = []
    for lease in leases:
        if lease.topic_partition in found.release and lease.owner == me:
            lease = lease._replace(owner="", counter=lease.counter + 1)
        elif any(lease.topic_partition == taken.topic_partition for taken in found.take):
            before = known[lease.topic_partition]
            if (lease.owner, lease.counter) == (before.owner, before.counter):
                lease = lease._replace(owner=me, counter=lease.counter + 1)
        now.append(lease)
    return now


def counts(leases: list[Lease], workers: list[str]) -> list[int]:
    return sorted(sum(lease.owner == worker for lease in leases) for worker in workers)


@given(names, st.lists(st.sampled_from(["", *"abcdefgh"]), max_size=12), st.integers(0, 2**32))
def test_all_get_a_fair_share_and_then_nothing_moves(workers, owners, seed) -> None:
    rng, leases = random.Random(seed), table(owners)
    for _ in range(12):  # stale reads: all look at once, and act one after the other
        seen = list(leases)
        for me in rng.sample(workers, len(workers)):
            leases = apply(leases, me, workers, seen if rng.random() < 0.5 else list(leases))
    found = counts(leases, workers)
    assert sum(found) == len(owners), "no topic-partition is without an owner"
    assert found[-1] - found[0] <= 1
    for me in workers:
        assert moves(me, leases, workers) == ([], [])


@given(names, st.lists(st.sampled_from(["", *"abcdefgh"]), max_size=12))
def test_nothing_is_taken_from_the_living(workers, owners) -> None:
    for me in workers:
        found = moves(me, table(owners), workers)
        assert all(lease.owner not in workers for lease in found.take)
        assert all(owners[number] == me for _, number in found.release)


def test_a_new_worker_gets_its_share_from_those_that_let_go() -> None:
    leases = table(["a"] * 4 + ["b"] * 3)
    assert moves("c", leases, ["a", "b"]).take == []
    released = [
        topic_partition for me in "ab" for topic_partition in moves(me, leases, list("abc")).release
    ]
    assert len(released) == 2


@given(st.lists(st.tuples(st.floats(0.1, 5), st.booleans()), max_size=20))
def test_a_counter_that_stands_still_is_dead_after_a_lease_by_our_own_clock(steps) -> None:
    """B13 and B14: no other worker's time is used."""
    monitor, counter, now_s, changed_s = HeartbeatMonitor(lease_s=10.0), 5, 1e6, 1e6
    monitor.alive({"w": counter}, now_s)
    for wait_s, moves_on in steps:
        now_s += wait_s
        if moves_on:
            counter, changed_s = counter + 1, now_s
        alive = monitor.alive({"w": counter}, now_s)
        assert alive == ({"w"} if now_s - changed_s < 10.0 else set())


@pytest.mark.parametrize("counter", [4, 5, 6])
def test_any_change_is_a_sign_of_life(counter: int) -> None:
    monitor = HeartbeatMonitor(lease_s=10.0)
    monitor.alive({"w": 5}, 0.0)
    assert monitor.alive({"w": counter}, 9.0) == {"w"}
    assert monitor.alive({"w": counter}, 18.0) == ({"w"} if counter != 5 else set())
    assert monitor.alive({}, 19.0) == set()
    assert monitor.alive({"w": counter}, 20.0) == {"w"}, "seen for the first time again"
