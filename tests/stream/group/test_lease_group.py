"""Workers with leases: every topic-partition has one owner, and only the owner can commit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.adapters.tables.dynamodb import DynamodbTable
from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.adapters.tables.table import Table
from claimtrace.errors import StoreUnavailable, Superseded
from stream.adapters.kinesis.table_leases import TableLeases
from stream.group.group import Checkpoint
from stream.group.lease_group import LeaseGroup
from stream.group.leases import Lease, LeaseTable
from stream.journal.plan import JOURNAL, TopicPartition
from tests.oracles.lease_table import LeasesInMemory

LEASE_S = 10.0
INPUTS: set[TopicPartition] = {("claims", n) for n in range(5)} | {("labels", 0)}


class Clock:
    """The monotonic side of a clock; each worker has its own, and clocks needn't agree."""

    def __init__(self, at_s: float = 0.0) -> None:
        self.at_s = at_s

    def monotonic_s(self) -> float:
        return self.at_s

    def now_ms(self) -> int:
        raise AssertionError("nobody's time of day is looked at")

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


@pytest.fixture(params=["memory", pytest.param("dynamo", marks=pytest.mark.server), "file"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LeaseTable]:
    if request.param == "memory":
        yield LeasesInMemory()
        return
    made: Table
    if request.param == "file":
        made = SqliteTable(tmp_path / "shared.db")
    else:
        made = DynamodbTable(request.getfixturevalue("dynamodb").client(), f"leases-{uuid4()}")
    made.create(SystemClock())
    yield TableLeases(made)


class Workers:
    """Some workers; time passes alike for all, though their clocks show other times."""

    def __init__(self, table: LeaseTable) -> None:
        self.table = table
        self.groups: dict[str, LeaseGroup] = {}
        self.clocks: dict[str, Clock] = {}
        self.owned: dict[str, set[TopicPartition]] = {}
        self.counted: dict[str, int] = {}
        self.drained: dict[str, list[set[TopicPartition]]] = {}
        self.inputs = set(INPUTS)
        self.finished: set[TopicPartition] = set()

    def lineage(self) -> dict[TopicPartition, tuple[int, ...]]:
        return {
            topic_partition: (0, 1) if topic_partition[1] > 4 else ()
            for topic_partition in self.inputs
        }

    def start(self, name: str) -> LeaseGroup:
        """Start a worker whose clock is off by about an hour."""
        clock = self.clocks[name] = Clock(random.Random(name).uniform(0, 7200))
        self.groups[name] = LeaseGroup(
            name, self.table, self.lineage, clock, LEASE_S, lambda: self.finished,
            lambda count: self.counted.update({name: count}),
        )  # fmt: skip
        self.drained[name] = []
        return self.groups[name]

    def poll(self, name: str) -> None:
        drained = self.drained[name]
        self.owned[name] = set(self.groups[name].poll(lambda going: drained.append(set(going))))

    def turn(self, *names: str, times: int = 1) -> None:
        """Let a part of a lease pass, and have the named workers poll."""
        for _ in range(times):
            for clock in self.clocks.values():
                clock.at_s += LEASE_S / 4
            for name in names:
                self.poll(name)


@pytest.fixture
def workers(table: LeaseTable) -> Workers:
    return Workers(table)


def everything(workers: Workers) -> set[TopicPartition]:
    return workers.inputs | {JOURNAL}


def test_one_takes_everything_and_a_second_gets_its_half(workers: Workers) -> None:
    workers.start("a")
    workers.turn("a", times=2)
    assert workers.owned["a"] == everything(workers) == workers.groups["a"].topic_partitions()
    workers.start("b")
    workers.turn("a", "b", times=3)
    assert len(workers.owned["a"]) == 4
    assert len(workers.owned["b"]) == 3
    assert workers.owned["a"] | workers.owned["b"] == everything(workers)
    assert workers.drained["a"] == [workers.owned["b"]], "finished before it went"
    assert workers.counted == {"a": 2, "b": 2}
    before = dict(workers.owned)
    workers.turn("a", "b", times=6)
    assert workers.owned == before, "nothing moves any more"


def test_who_leaves_is_followed_at_once(workers: Workers) -> None:
    for name in "ab":
        workers.start(name)
    workers.turn("a", "b", times=4)
    workers.groups["a"].leave()
    workers.turn("b", times=1)
    assert workers.owned["b"] == everything(workers)


def test_a_dead_owner_is_followed_within_the_length_of_a_lease(workers: Workers) -> None:
    """B13."""
    for name in "ab":
        workers.start(name)
    workers.turn("a", "b", times=4)
    half = set(workers.owned["b"])
    workers.turn("b", times=3)
    assert workers.owned["b"] == half, "it might only be slow"
    workers.turn("b", times=2)
    assert workers.owned["b"] == everything(workers)


def test_who_was_away_can_say_nothing_and_takes_part_again(workers: Workers) -> None:
    """B11."""
    first, second = workers.start("a"), workers.start("b")
    workers.turn("a", "b", times=4)
    half = set(workers.owned["a"])
    assert first.commit(dict.fromkeys(half, Checkpoint(emitted=3)), {})
    workers.turn("b", times=6)
    with pytest.raises(Superseded):
        first.commit(dict.fromkeys(half, Checkpoint(emitted=9)), {})
    assert second.checkpoints(everything(workers)) == dict.fromkeys(half, Checkpoint(emitted=3))
    assert second.commit(dict.fromkeys(workers.owned["b"], Checkpoint(emitted=5)), {})
    workers.turn("a", "b", times=6)
    assert workers.owned["a"] | workers.owned["b"] == everything(workers)
    assert not workers.owned["a"] & workers.owned["b"]
    with pytest.raises(Superseded):
        first.commit(dict.fromkeys(workers.owned["b"], Checkpoint(emitted=9)), {})
    assert set(first.checkpoints(everything(workers)).values()) == {Checkpoint(emitted=5)}


def test_marks_come_back_as_they_were(workers: Workers) -> None:
    group = workers.start("a")
    workers.turn("a", times=2)
    checkpoints = {
        topic_partition: Checkpoint(n, n + 1, f"{n:064x}")
        for n, topic_partition in enumerate(sorted(INPUTS))
    }
    assert group.checkpoints(INPUTS) == {}
    assert group.commit(checkpoints, dict.fromkeys(INPUTS, 7))
    assert group.checkpoints(INPUTS) == checkpoints
    assert {
        lease.position for lease in workers.table.leases() if lease.topic_partition in INPUTS
    } == {7}
    assert group.commit(checkpoints, {}), "again, and again"
    assert workers.start("b").checkpoints([JOURNAL]) == {}


def test_children_of_a_shard_are_shared_out_as_they_come(workers: Workers) -> None:
    for name in "ab":
        workers.start(name)
    workers.turn("a", "b", times=4)
    workers.inputs |= {("claims", 5), ("claims", 6)}
    workers.turn("a", "b", times=3)
    assert workers.owned["a"] | workers.owned["b"] == everything(workers)
    parents = {lease.topic_partition[1]: lease.parents for lease in workers.table.leases()}
    assert parents[5] == parents[6] == (0, 1)
    workers.inputs -= {("claims", 0)}
    workers.turn("a", "b", times=2)
    assert ("claims", 0) in workers.groups["a"].topic_partitions(), (
        "its mark must move on with the others"
    )


def test_a_shard_that_is_done_with_needs_no_owner_any_more(workers: Workers) -> None:
    """The owner of a closed shard releases it, for all workers, once all its records are stored."""
    ended: TopicPartition = ("claims", 0)
    first, second = workers.start("a"), workers.start("b")
    groups = {"a": first, "b": second}
    workers.turn("a", "b", times=4)
    owner = next(name for name in "ab" if ended in workers.owned[name])
    makes_plans = next(name for name in "ab" if JOURNAL in workers.owned[name])

    def commit(name: str, emitted: int, stored: int) -> None:
        checkpoints = dict.fromkeys(workers.owned[name], Checkpoint(emitted, stored, "c" * 64))
        assert groups[name].commit(checkpoints, {})

    commit(owner, 7, 6)
    workers.finished = {ended}
    if owner != makes_plans:
        workers.turn("a", "b", times=2)
        assert ended in workers.owned[owner], "nobody who makes plans has said it"
    commit(makes_plans, 7, 6)
    workers.turn("a", "b", times=2)
    assert ended in workers.owned[owner], "not all of it is stored"
    before = sum(map(len, workers.owned.values()))
    commit(owner, 8, 7)
    workers.turn("a", "b", times=1)
    assert any(ended in going for going in workers.drained[owner])
    workers.turn("a", "b", times=6)
    assert sum(map(len, workers.owned.values())) == before - 1
    for group in groups.values():
        assert ended in group.topic_partitions()
        assert group.checkpoints([ended])[ended] == Checkpoint(2**53, 2**53, "c" * 64)
    workers.start("c")
    workers.turn("a", "b", "c", times=8)
    assert not any(ended in owned for owned in workers.owned.values())
    assert (
        len({topic_partition for owned in workers.owned.values() for topic_partition in owned})
        == before - 1
    )


def test_two_that_start_together_never_own_the_same(table: LeaseTable) -> None:
    """B12: really at once."""
    for _ in range(3):
        workers = Workers(table)
        names = [f"w{n}-{uuid4()}" for n in range(4)]
        for name in names:
            workers.start(name)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(workers.poll, names))
        owned = [topic_partition for name in names for topic_partition in workers.owned[name]]
        assert len(owned) == len(set(owned))
        for name in names:
            workers.groups[name].leave()


class Interrupted(LeasesInMemory):
    """A table in which something happens between two reads of a renewal."""

    def __init__(self) -> None:
        super().__init__()
        self.between: list[Callable[[], None]] = []

    def leases(self) -> list[Lease]:
        found = super().leases()
        self._interrupt()
        return found

    def heartbeats(self) -> dict[str, int]:
        found = super().heartbeats()
        self._interrupt()
        return found

    def _interrupt(self) -> None:
        while self.between:
            self.between.pop()()


def test_one_that_starts_in_the_middle_of_anothers_turn_is_not_taken_for_gone() -> None:
    """Whichever of leases and heartbeats is read first, the other read finds the new worker."""
    table = Interrupted()
    workers = Workers(table)
    table.add(dict.fromkeys(INPUTS, ()))
    workers.start("late")
    workers.start("early")
    table.between.append(lambda: workers.poll("late"))
    workers.poll("early")
    assert workers.owned["late"], "it came between"
    assert not workers.owned["late"] & workers.owned["early"]


class Silent(LeasesInMemory):
    """A table that doesn't answer at times: before a write, or after it."""

    is_down = False
    loses_answers = False

    def leases(self) -> list[Lease]:
        self._answer()
        return super().leases()

    def write_heartbeat(self, worker: str, counter: int) -> None:
        self._answer()
        super().write_heartbeat(worker, counter)

    def swap(self, changes: Sequence[tuple[Lease, Lease]]) -> bool:
        self._answer()
        done = super().swap(changes)
        if self.loses_answers:
            raise StoreUnavailable("timed out")
        return done

    def _answer(self) -> None:
        if self.is_down:
            raise StoreUnavailable("no answer")


def test_a_table_that_is_silent_takes_nothing_away() -> None:
    table = Silent()
    workers = Workers(table)
    group = workers.start("a")
    workers.turn("a", times=2)
    table.is_down = True
    workers.turn("a", times=3)
    assert workers.owned["a"] == everything(workers)
    with pytest.raises(StoreUnavailable):
        group.commit({JOURNAL: Checkpoint(emitted=1)}, {})
    group.leave()
    table.is_down = False
    assert group.commit({JOURNAL: Checkpoint(emitted=1)}, {})


def test_what_was_written_and_never_heard_of_is_taken_again_or_let_go() -> None:
    table = Silent()
    workers = Workers(table)
    group = workers.start("a")
    table.loses_answers = True
    workers.turn("a", times=2)
    assert workers.owned["a"] == set()
    assert sum(lease.owner == "a" for lease in table.leases()) > 0
    table.loses_answers = False
    workers.turn("a", times=1)
    assert workers.owned["a"] == everything(workers)
    table.loses_answers = True
    with pytest.raises(StoreUnavailable):
        group.commit(dict.fromkeys(everything(workers), Checkpoint(emitted=1)), {})
    table.loses_answers = False
    workers.start("b")
    workers.turn("a", "b", times=4)
    assert workers.owned["a"] | workers.owned["b"] == everything(workers)
    assert not workers.owned["a"] & workers.owned["b"]


def test_a_worker_that_starts_asks_for_all_that_ever_was(table: LeaseTable) -> None:
    """Finished shards that aren't listed any more have checkpoints to compare a snapshot with."""
    old: set[TopicPartition] = {("claims", 77)}
    table.add(dict.fromkeys(old, ()))
    assert Workers(table).start("a").topic_partitions() == INPUTS | old | {JOURNAL}


def some_life(seed: int) -> tuple[Workers, LeasesInMemory]:
    """Workers start, leave, sleep and die; time passes; commits are made in between."""
    rng, table = random.Random(seed), LeasesInMemory()
    workers, emitted = Workers(table), 0
    awake: set[str] = set()
    for step in range(120):
        for clock in workers.clocks.values():
            clock.at_s += rng.uniform(0, LEASE_S / 4)
        choice = rng.random()
        if choice < 0.08 and len(workers.groups) < 6:
            workers.start(f"w{step}")
            awake.add(f"w{step}")
        elif choice < 0.12 and awake:
            awake.discard(rng.choice(sorted(awake)))
        elif choice < 0.16 and workers.groups:
            awake.add(rng.choice(sorted(workers.groups)))
        for name in rng.sample(sorted(awake), len(awake)):
            if rng.random() < 0.7:
                workers.poll(name)
            emitted += 1
            committed(workers, table, name, emitted)
    return workers, table


def committed(workers: Workers, table: LeasesInMemory, name: str, emitted: int) -> None:
    """Try to commit: it may succeed only for the owner in the table."""
    owned = workers.owned.get(name, set())
    really = {lease.topic_partition for lease in table.leases() if lease.owner == name}
    try:
        done = workers.groups[name].commit(dict.fromkeys(owned, Checkpoint(emitted=emitted)), {})
    except Superseded:
        assert not owned <= really or not owned
        workers.owned[name] = set()
        workers.groups[name]._mine.clear()
    else:
        assert done
        assert owned <= really


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_only_the_owner_is_heard(seed: int) -> None:
    workers, table = some_life(seed)
    heard: dict[TopicPartition, int] = {}
    for before, after in table.written:
        assert after.counter == before.counter + 1
        changed = after.checkpoint != before.checkpoint
        assert not changed or before.owner == after.owner, "a mark is written by the owner alone"
        if changed and after.checkpoint is not None:
            assert after.checkpoint.emitted > heard.get(after.topic_partition, 0)
            heard[after.topic_partition] = after.checkpoint.emitted
    names = sorted(workers.groups)
    if names:
        workers.turn(*names, times=12)
        owned = [topic_partition for name in names for topic_partition in workers.owned[name]]
        assert sorted(owned) == sorted(everything(workers)), "in the end each has one owner"


def test_the_lives_are_eventful() -> None:
    """Otherwise the test above would prove little."""
    found: list[Any] = [some_life(seed)[1].written for seed in range(40)]
    changes = [(b.owner, a.owner) for rows in found for b, a in rows if b.owner != a.owner]
    taken = [pair for pair in changes if all(pair)]
    assert len(taken) > 20, "leases were taken from owners that were dead"
    assert len([pair for pair in changes if not pair[1]]) > 20, "and let go by others"
