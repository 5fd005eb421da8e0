"""One simulated life of several workers from a seed, and all that must hold after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

import stream.worker.ownership
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace_examples.auto_claims import DOMAIN
from stream.engine.engine import Engine
from stream.journal.plan import TopicPartition
from stream.journal.terms import Terms
from stream.journal.upgrade import begin_edition
from stream.offline_rows.rows import build
from stream.proofs.verify import check_chains, without_repeats
from stream.worker.driver import Driver
from stream.worker.observer import WorkerObserver
from stream.worker.parts import Cadence, LogParts, Stores
from tests.simulation.delayed_work import DelayedWork
from tests.simulation.histories import Entry, a_history
from tests.simulation.lives import rules_of
from tests.simulation.shared_parts import (
    Member,
    OwnSnapshots,
    SharedClock,
    SharedJournal,
    SharedRows,
    SharedSource,
)
from tests.simulation.shared_world import Network, SharedWorld
from tests.simulation.turns import Runner
from tests.worlds.models import a_scorer, scorer_of
from tests.worlds.random_events import KEY
from tests.worlds.stream_folder import terms

_CALM_TURNS = 15_000
_FEW_RETAINED = 40


@dataclass
class Worker:
    """One worker over its lives: its disk, and the process that runs now."""

    life: Life
    snapshots: OwnSnapshots
    runner: Runner | None = None
    member: Member | None = None
    network: Network | None = None
    journal: SharedJournal | None = None
    driver: Driver | None = None
    asleep: int = 0
    is_to_end: bool = False

    def start(self) -> None:
        """Start a new process."""
        self.is_to_end, self.asleep = False, 0
        self.runner = Runner(self._work)

    def die(self) -> None:
        """End the process as `kill -9` does: group and brokers notice later."""
        assert self.runner is not None
        assert self.member is not None
        self.runner.crash()
        self.life.dead.append((self.member, self.network, self.journal))
        self.runner = None

    def _work(self) -> None:
        life, world = self.life, self.life.world
        self.network, self.journal = Network(world), SharedJournal(world)
        self.member = Member(world, self.network)
        life.journals.append(self.journal)
        observer = WorkerObserver()
        observer.passed = lambda _: life.turn()  # type: ignore[method-assign]
        executor = None if life.seed % 2 else DelayedWork(life.seed)
        self.driver = Driver(
            life.engine(),
            LogParts(SharedSource(world), self.journal, self.network, self.member),
            Stores(SharedRows(world), self.snapshots, executor=executor),
            Cadence((life.snapshot_every, 60.0), (life.offline_every, 2.0), life.commit_every_s),
            SharedClock(world, life.pause),
            lambda: life.champion,
            observer,
        )
        self.driver.recover()
        while not self.is_to_end:
            if not self.driver.step(int(life.rng.integers(1, life.batch))):
                self.driver._clock.sleep(0.05)
        self.driver.finish()


@dataclass
class Life:
    """The world and the workers of one seed."""

    seed: int
    workers: list[Worker] = field(default_factory=list)
    dead: list[tuple[Member, Network | None, SharedJournal | None]] = field(default_factory=list)
    journals: list[SharedJournal] = field(default_factory=list)
    current: Worker | None = None
    has_forgotten: bool = False
    events: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = rng = np.random.default_rng([self.seed, 7])
        rules, history = rules_of(self.seed), a_history(self.seed)
        self.champion = a_scorer(1).ref if rules.model else None
        self.terms: Terms = terms(history.partitions, **rules.terms)
        self.partitions, self.is_old = history.partitions, rules.is_old
        self.left: list[Entry] = [entry for stage in history.stages for entry in stage]
        self.batch = int(rng.integers(3, 20))
        self.snapshot_every = int(rng.integers(10, 40))
        self.offline_every = int(rng.integers(5, 40))
        self.commit_every_s = float(rng.choice([0.0, 0.0, 0.2, 1.0]))
        self.switching = float(rng.choice([0.05, 0.3, 0.8]))
        self.world = SharedWorld(
            rng, history.partitions, self.turn,
            risk=float(rng.choice([0.0, 0.02, 0.1])),
            has_gaps=self.seed % 4 == 1,
            is_transactional=self.seed % 3 == 1,
        )  # fmt: skip
        self.workers = [Worker(self, OwnSnapshots(self.world)) for _ in range(rng.integers(2, 5))]

    def engine(self) -> Engine:
        """Make an engine without any state."""
        return Engine(DOMAIN, self.terms, KEY, scorer_of)

    def pause(self) -> None:
        """End the turn of the worker that runs."""
        assert self.current is not None
        assert self.current.runner is not None
        self.current.runner.pause()

    def turn(self) -> None:
        """End the turn of the worker that runs, at random."""
        if self.current is not None and self.world.chance(self.switching):
            self.pause()

    def run(self) -> None:
        """Live it: a rough time first, then a calm one to its end."""
        for worker in self.workers:
            worker.start()
        for _ in range(int(self.rng.integers(100, 750))):
            self._happen()
        if self.seed % 8 == 3 and self.seed % 5 != 2:
            self._forget_offsets()
        for _ in range(int(self.rng.integers(100, 750))):
            self._happen()
        self._calm_down()
        self._until("the work is done", self.world.is_quiet)
        for worker in self.workers:
            worker.is_to_end = True
            self._until("a worker ends", lambda worker=worker: worker.runner.is_done)  # type: ignore[misc]

    def close(self) -> None:
        """End the workers that still run."""
        for worker in self.workers:
            if worker.runner is not None and not worker.runner.is_done:
                self.current = worker
                worker.runner.crash()

    def _happen(self) -> None:
        """Do one random thing: mostly give a worker a turn."""
        chance = self.rng.random()
        if self.is_old and chance < 0.004:
            self._upgrade()
        worker = self.workers[int(self.rng.integers(len(self.workers)))]
        if worker.runner is None:
            if chance < 0.1:
                self._count("start")
                worker.start()
        elif chance < 0.006:
            self._count("kill")
            if worker.member is not None:
                self.current = worker
                worker.die()
        elif chance < 0.012:
            self._count("expel")
            if worker.member is not None:
                self.world.expel(worker.member)
                worker.asleep = int(self.rng.choice([0, 10, 100]))
        elif chance < 0.02:
            worker.asleep = int(self.rng.integers(1, 30))
        elif worker.asleep:
            worker.asleep -= 1
        else:
            self._resume(worker)
            if worker.member and worker.journal and worker.journal.is_sending:
                self._lag(worker, worker.member)
        if chance > 0.94:
            self._outside(self.rng.random())

    def _upgrade(self) -> None:
        """Begin the newest edition as `claimtrace upgrade` does, beside workers that append."""
        try:
            self.is_old = not begin_edition(SharedJournal(self.world), self.terms, 0).plan
        except StoreUnavailable:
            return
        self._count("upgrade")

    def _lag(self, worker: Worker, member: Member) -> None:
        """Delay a sequencer with a plan in flight, so that another worker writes the number too."""
        if self.world.chance(0.5):
            self._count("lag")
            self.world.expel(member)
            worker.asleep = 300

    def _outside(self, chance: float) -> None:
        """Do random things around the workers."""
        world = self.world
        if chance < 0.5:
            for entry in self._next_entries():
                world.put(entry.outgoing())
        elif chance < 0.6:
            self._count("rebalance")
            world.share_out()
        elif chance < 0.8:
            world.afloat[int(self.rng.integers(len(world.afloat)))].land(self.rng.random())
            self.journals[int(self.rng.integers(len(self.journals)))].land()
        elif chance < 0.95:
            self._bury()
        elif world.partitions == self.partitions:
            self._count("partition")
            world.partitions += 1
            world.share_out()

    def _forget_offsets(self) -> None:
        """Stop all workers for longer than the brokers keep a group's offsets."""
        self._count("forget")
        for worker in self.workers:
            if worker.runner is not None and worker.member is not None:
                self.current = worker
                worker.die()
                self.current = None
        self._bury()
        self.world.checkpoints.clear()
        self.has_forgotten = True

    def _next_entries(self) -> list[Entry]:
        count = int(self.rng.integers(1, 10))
        taken, self.left = self.left[:count], self.left[count:]
        more = self.world.partitions > self.partitions
        return [
            each._replace(partition=self.partitions) if more and self.world.chance(0.3) else each
            for each in taken
        ]

    def _bury(self) -> None:
        """Have the group's coordinator and the brokers notice that workers are dead."""
        for member, network, journal in self.dead:
            self.world.expel(member)
            if network is not None:
                self.world.settle_transactions(network)
                network.lose()
            if journal is not None and self.world.chance(0.5):
                journal.land()
        self.dead.clear()

    def _resume(self, worker: Worker) -> None:
        assert worker.runner is not None
        self.world.now_ms += 3
        self.current = worker
        worker.runner.resume()
        self.current = None
        if worker.runner.is_done and not worker.is_to_end:
            raise AssertionError("a worker ended by itself")

    def _calm_down(self) -> None:
        self._bury()
        self.world.risk = 0.0
        for entry in self.left:
            self.world.put(entry.outgoing())
        self.left = []
        for worker in self.workers:
            worker.asleep = 0
            if worker.runner is None:
                worker.start()

    def _until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Give all workers turns until a condition holds."""
        for _ in range(_CALM_TURNS // 50):
            for _ in range(50):
                running = [w for w in self.workers if w.runner and not w.runner.is_done]
                if not running:
                    break
                self._resume(running[int(self.rng.integers(len(running)))])
            for network in self.world.afloat:
                network.land(1.0)
            if is_so():
                return
        raise AssertionError(f"never: {what}; {self.world.checkpoints}")

    def _count(self, what: str) -> None:
        self.events[what] = self.events.get(what, 0) + 1


@contextmanager
def few_retained(few: bool) -> Iterator[None]:
    """Make workers wait for each other after few retained records."""
    limits = vars(stream.worker.ownership)
    before = limits["MAX_RETAINED_RECORDS"]
    if few:
        limits["MAX_RETAINED_RECORDS"] = _FEW_RETAINED
    try:
        yield
    finally:
        limits["MAX_RETAINED_RECORDS"] = before


def live(seed: int) -> Life:
    """Live one life and check it.

    Raises:
        Exception: the error or difference; the message says which.

    """
    life = Life(seed)
    with few_retained(seed % 5 == 2):
        try:
            life.run()
        finally:
            life.close()
    check(life)
    return life


def check(life: Life) -> None:
    """Check that topics and store hold what one calm worker makes of the journal."""
    world = life.world
    plans = world.plans()
    engine, source = life.engine(), SharedSource(world)
    want: dict[TopicPartition, list[Outgoing]] = {}
    rows: dict[str, list[pa.Table]] = {}
    planned: list[Record] = []
    life.current = None
    for plan in plans:
        source.order_topics(engine.tie_order)
        batch = source.fetch(plan.ranges)
        planned += batch
        effects = engine.step(plan, batch)
        for each in effects.outgoing:
            want.setdefault((each.topic, each.partition), []).append(each)
        for table, made in effects.rows.items():
            rows.setdefault(table, []).append(build(table, [made]))
    assert sorted(planned) == sorted(r for part in world.inputs.values() for r in part)
    assert want.keys() == world.outputs.keys()
    for topic_partition, expected in want.items():
        # without offsets, what is no decision may be sent again: nothing on its topic tells
        once = world.is_transactional and (
            not life.has_forgotten or topic_partition[0] == DECISIONS_TOPIC
        )
        check_output(topic_partition, expected, world.outputs[topic_partition], once=once)
    chained = check_chains({p: as_records(r) for (t, p), r in world.outputs.items()
                            if t == DECISIONS_TOPIC}, may_repeat=True)  # fmt: skip
    assert chained.broken == []
    check_rows(rows, world.rows.tables)
    last = plans[-1].number
    assert world.checkpoints.keys() == world.topic_partitions()
    for topic_partition, checkpoint in world.checkpoints.items():
        assert (checkpoint.emitted, checkpoint.stored) == (last, last), (
            topic_partition,
            checkpoint,
            last,
        )
        if topic_partition[0] == DOMAIN.claim.topic:
            assert checkpoint.chain == engine.decider.chains.get(
                topic_partition[1], checkpoint.chain
            )
    assert not world.pending


def as_records(sent: Sequence[Outgoing]) -> list[Record]:
    """Return outputs as a reader of the topic gets them."""
    return [Record(r.topic, r.partition, i, r.key, r.value, 0) for i, r in enumerate(sent)]


def check_output(
    topic_partition: TopicPartition,
    want: Sequence[Outgoing],
    got: Sequence[Outgoing],
    *,
    once: bool,
) -> None:
    """Check decisions in order, after repeats with the same bytes are left out; others as a set.

    With transactions each record must be there exactly once.

    """
    if once:
        assert len(got) == len(want), f"{topic_partition}: {len(want)} records, found {len(got)}"
    if topic_partition[0] == DECISIONS_TOPIC:
        found = [record.value for record in without_repeats(as_records(got))]
        assert found == [each.value for each in want], f"{topic_partition}: decisions differ"
    elif topic_partition[0] == DEAD_TOPIC or not once:
        assert set(got) == set(want), f"{topic_partition}: not the same records"
    else:
        assert list(got) == list(want), f"{topic_partition}: not the same records in order"


def check_rows(want: dict[str, list[pa.Table]], got: dict[str, list[pa.Table]]) -> None:
    """Check that every row is stored once."""
    assert want.keys() == got.keys()
    for table, parts in want.items():
        expected = sorted(map(repr, pa.concat_tables(parts).to_pylist()))
        found = sorted(map(repr, pa.concat_tables(got[table]).to_pylist()))
        assert len(found) == len(expected), f"{table}: {len(expected)} rows, found {len(found)}"
        assert found == expected, f"{table}: rows differ"


def failures(seeds: Sequence[int], most: int = 3) -> list[tuple[int, str]]:
    """Return the seeds among these whose life fails, with the error."""
    found: list[tuple[int, str]] = []
    for seed in seeds:
        try:
            live(seed)
        except Exception as error:
            found.append((seed, f"{type(error).__name__}: {error}"[:2000]))
            if len(found) == most:
                break
    return found
