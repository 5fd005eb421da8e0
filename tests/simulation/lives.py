"""One simulated life of the stream from a seed: a calm run, a rough run, and checks of both.

The rough run is killed repeatedly at random points of the driver, in recovery too, and started
again with other batch sizes; its output and offline store fail now and then, before or after they
did the work; its newest snapshot is damaged or lost; its journal ends in a torn line.

"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.editions import OLDEST
from claimtrace.errors import StateError, StoreUnavailable, Superseded
from claimtrace.events import Outgoing
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.offline.adapters.delta import OfflineStore
from stream.adapters.embedded.file_journal import read_plans
from stream.adapters.embedded.log import EmbeddedOutput, EmbeddedSource
from stream.engine.effects import Counts
from stream.proofs.verify import check_chains, replay
from stream.worker.parts import Output
from tests.oracles.naive_features import naive_vectors
from tests.simulation.delayed_work import DelayedWork
from tests.simulation.histories import Expected, History, a_history, expected_of
from tests.worlds.models import a_scorer, scorer_of
from tests.worlds.stream_folder import DAY_MS, Crash, World

Trouble = Callable[[], None]


class RowsInMemory:
    """A double of the offline store that survives crashes, with Delta's rule: each version once."""

    def __init__(self) -> None:
        self.tables: dict[str, list[pa.Table]] = {}
        self.versions: dict[tuple[str, str], int] = {}

    def append_once(self, table: str, rows: pa.Table, *, versions: Any, before: Any) -> bool:
        """Append once for each writer and version."""
        last = {writer: self.committed(table, writer) for writer in versions}
        if last == versions:
            return False
        if last != before:
            raise Superseded("another one wrote", where=table)
        self.tables.setdefault(table, []).append(rows)
        self.versions.update({(table, writer): version for writer, version in versions.items()})
        return True

    def committed(self, table: str, writer: str) -> int:
        """Return the last version of a writer; -1 when there is none."""
        return self.versions.get((table, writer), -1)


@dataclass
class Unreliable:
    """A proxy that fails before or after a call, as a store does whose answer is lost."""

    inner: Any
    trouble: Trouble

    def append_once(self, *args: Any, **named: Any) -> Any:
        """Append to the offline store, or fail."""
        self.trouble()
        done = self.inner.append_once(*args, **named)
        self.trouble()
        return done

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Emit to the output, or fail."""
        self.trouble()
        self.inner.emit(plan, outgoing)
        self.trouble()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass
class UnreliableWorld(World):
    """A world whose stores may fail, with rows in memory unless `delta`."""

    trouble: Trouble = lambda: None
    delta: bool = False
    rows: RowsInMemory = field(default_factory=RowsInMemory)

    def sink(self, log: EmbeddedLog) -> Output:
        """Return the log's output, unreliable."""
        return Unreliable(EmbeddedOutput(log, self.partitions), self.trouble)

    def offline(self) -> Any:
        """Return the offline store, unreliable."""
        store = OfflineStore(self.folder / "offline") if self.delta else self.rows
        return Unreliable(store, self.trouble)

    def offline_rows(self) -> dict[str, list[str]]:
        """Return every row, written out and sorted."""
        if self.delta:
            return super().offline_rows()
        found = {name: pa.concat_tables(parts) for name, parts in self.rows.tables.items()}
        return {name: sorted(map(repr, found[name].to_pylist())) for name in sorted(found)}


@dataclass(frozen=True)
class Rules:
    """The parameters of a seed's world."""

    delta: bool
    model: bool
    forgetful: bool
    batch: int
    snapshot_every: int
    offline_every: int
    is_old: bool
    """Whether the journal begins with the oldest edition; see `History.upgraded_at`."""

    @property
    def terms(self) -> dict[str, int]:
        """Return the terms that differ from the usual ones."""
        old = {"edition": OLDEST} if self.is_old else {}
        short = {"lateness_ms": DAY_MS, "remember_ms": 3 * DAY_MS} if self.forgetful else {}
        return {"drift_min_count": 3, "drift_alert_m": 1, "drift_alert_n": 2, **short, **old}


def rules_of(seed: int) -> Rules:
    """Draw rules: each 50th seed has the real offline store, each 5th a model, each 3rd forgets."""
    rng = np.random.default_rng([seed, 2])
    return Rules(
        delta=seed % 50 == 0,
        model=seed % 5 == 4,
        forgetful=seed % 3 == 2,
        batch=int(rng.integers(4, 25)),
        snapshot_every=int(rng.integers(10, 60)),
        offline_every=int(rng.integers(5, 40)),
        is_old=seed % 2 == 1,
    )


def a_world(
    folder: Path, rules: Rules, partitions: int, trouble: Trouble = lambda: None
) -> UnreliableWorld:
    """Make a fresh world under these rules."""
    return UnreliableWorld(
        folder,
        partitions=partitions,
        durable=rules.delta,
        offline_every=rules.offline_every,
        snapshot_every=rules.snapshot_every,
        scorer_of=scorer_of,
        champion=a_scorer(1).ref if rules.model else None,
        changes=rules.terms,
        trouble=trouble,
        delta=rules.delta,
    )


def live(seed: int) -> None:
    """Live one life.

    Raises:
        AssertionError: something differs; the message says what.
    """
    rules, history = rules_of(seed), a_history(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-"))
    try:
        with quick_disk(not rules.delta):
            calm = a_world(folder / "calm", rules, history.partitions)
            counts = calm_run(calm, history, rules.batch)
            check_calm(calm, expected_of(history), counts, rules)
            rough = rough_run(folder / "rough", seed, rules, history)
            check_same(calm, rough)
            check_replay(rough)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def calm_run(world: UnreliableWorld, history: History, batch: int) -> Counts:
    """Consume every stage with one process, or with another one since an upgrade, no crash."""
    driver, log = world.start()
    counts = Counts()
    for number, stage in enumerate(history.stages):
        if number == history.upgraded_at:
            driver.finish()
            log.close()
            counts.add(driver.counts)
            world.upgrade()
            driver, log = world.start()
        put(world, stage)
        while driver.step(batch):
            pass
    driver.finish()
    log.close()
    counts.add(driver.counts)
    return counts


def rough_run(folder: Path, seed: int, rules: Rules, history: History) -> UnreliableWorld:
    """Consume every stage with processes that die."""
    rng = np.random.default_rng([seed, 3])
    risk = float(rng.choice([0.0, 0.05, 0.2]))

    def trouble() -> None:
        if rng.random() < risk:
            raise StoreUnavailable("no answer", where="the simulated store")

    world = a_world(folder, rules, history.partitions, trouble)
    world.executor = DelayedWork(seed)
    for number, stage in enumerate(history.stages):
        if number == history.upgraded_at:
            world.upgrade()
        put(world, stage)
        for _ in range(int(rng.integers(1, 5))):
            until = int(rng.geometric(0.05))
            # drift is judged at the end of a batch: where it is compared, borders must agree
            batch = rules.batch if rules.model else int(rng.integers(1, 31))
            if not rules.model:
                world.offline_every = int(rng.integers(5, 40))
            try:
                mended_run(world, dying_after(until), batch)
            except Crash:
                damage(world, rng)
        mended_run(world, lambda point: None, rules.batch)
    return world


def mended_run(world: UnreliableWorld, crash: Callable[[str], None], batch: int) -> None:
    """Run one process; if it refuses to start without a sound snapshot, do what its hint says."""
    try:
        one_run(world, crash, batch)
    except StateError as error:
        if error.what != "every snapshot is damaged":
            raise
        for each in (world.folder / "snapshots").glob("*.bin"):
            each.unlink()
        one_run(world, crash, batch)


def dying_after(points: int) -> Callable[[str], None]:
    """Return a hook that ends the process at the given number of passed points."""
    left = points

    def crash(point: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Crash(point)

    return crash


def damage(world: UnreliableWorld, rng: np.random.Generator) -> None:
    """Damage the disk as a crash may."""
    snapshots = sorted((world.folder / "snapshots").glob("*.bin"))
    fate = rng.random()
    if len(snapshots) > 1 and fate < 0.3:
        content = bytearray(snapshots[-1].read_bytes())
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        snapshots[-1].write_bytes(content)
    elif fate < 0.4:
        for each in snapshots:
            each.unlink()
    journal = world.folder / "journal"
    if rng.random() < 0.3:
        with journal.open("ab") as file:
            file.write(b'{"number":99,"ranges":[["claims.fi'[: int(rng.integers(1, 34))])


def one_run(world: World, crash: Callable[[str], None], batch: int) -> None:
    """Run one process: start, consume everything, end in an orderly way, unless it crashes."""
    log = None
    try:
        driver, log = world.start(crash)
        while driver.step(batch):
            pass
        driver.finish()
    finally:
        if log is not None:
            log.close()


def put(world: World, stage: Sequence[Any]) -> None:
    """Append a stage, as producers do."""
    with world.open_log() as log:
        log.append([entry.outgoing() for entry in stage])


def check_calm(world: UnreliableWorld, expected: Expected, counts: Counts, rules: Rules) -> None:
    """Check that no record is lost, and that features are those of the oracle."""
    c = counts
    assert c.records == c.claims + c.changes + c.labels + c.duplicates + c.dead + c.tombstones
    if rules.forgetful:
        return
    for name in ("claims", "changes", "labels", "duplicates", "dead", "tombstones"):
        assert getattr(c, name) == getattr(expected, name), (name, c, expected[1:])
    decisions = {
        found["claim_id"]: found["features"]
        for partition in world.outputs()[DECISIONS_TOPIC]
        for found in (msgspec.json.decode(record.value or b"") for record in partition)
    }
    lateness_ms = world.terms().lateness_ms
    vectors = naive_vectors(DOMAIN, expected.facts, lateness_ms, world.terms().edition)
    claims = [event.claim_id for kind, event, _, _ in expected.facts if kind == "claim"]
    assert len(decisions) == len(claims)
    for claim_id, vector in zip(claims, vectors, strict=True):
        want = [None if value != value else value for value in vector]
        if decisions[claim_id] != want:
            wrong = [
                (name, a, b)
                for name, a, b in zip(DOMAIN.feature_names, want, decisions[claim_id], strict=True)
                if a != b
            ]
            raise AssertionError(f"{claim_id}: the oracle and the stream say {wrong}")


def check_same(calm: UnreliableWorld, rough: UnreliableWorld) -> None:
    """Check that the crashes have left no trace."""
    wanted, found = calm.outputs(), rough.outputs()
    for topic, partitions in wanted.items():
        for want, got in zip(partitions, found[topic], strict=True):
            for a, b in zip(want, got, strict=False):
                assert a == b, f"{topic}: {a} became {b}"
            assert len(want) == len(got), f"{topic}: {len(want)} records, found {len(got)}"
    want_rows, got_rows = calm.offline_rows(), rough.offline_rows()
    assert want_rows.keys() == got_rows.keys()
    for table, rows in want_rows.items():
        assert rows == got_rows[table], f"{table}: {len(rows)} rows, found {len(got_rows[table])}"
    assert calm.state() == rough.state()


def check_replay(world: UnreliableWorld) -> None:
    """Check that the journal on a fresh engine gives the decisions that are on the log."""
    with world.open_log() as log:
        ends = log.ends(DECISIONS_TOPIC)

        def decisions_of(partition: int) -> Iterator[Any]:
            return iter(log.read(DECISIONS_TOPIC, partition, 0, 10**6))

        chained = check_chains({p: list(decisions_of(p)) for p in range(len(ends))})
        assert chained.broken == []
        assert chained.decisions == sum(ends)
        source = EmbeddedSource(log, DOMAIN.topics, world.partitions)
        plans = read_plans(world.folder / "journal")
        proved = replay(world.engine(), plans, source, decisions_of)
        assert proved.differ == 0, proved.first
        assert proved.decisions == sum(ends)


@contextmanager
def quick_disk(quick: bool) -> Iterator[None]:
    """Leave out the syncs: a process that dies loses no written bytes."""
    sync = os.fsync
    if quick:
        os.fsync = lambda handle: None
    try:
        yield
    finally:
        os.fsync = sync


def failures(seeds: Sequence[int]) -> list[tuple[int, str]]:
    """Return the seeds among these whose life fails, with the error; stops at the third."""
    found: list[tuple[int, str]] = []
    for seed in seeds:
        try:
            live(seed)
        except Exception as error:
            found.append((seed, f"{type(error).__name__}: {error}"[:2000]))
            if len(found) == 3:
                break
    return found
