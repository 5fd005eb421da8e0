"""One plan after the other, in a written order that survives a crash at every step.

    1  read      records from the source
    2  plan      the batch is appended to the journal and synced      crash before: nothing happened
    3  apply     the engine changes its state in memory               crash: the plan is run again
    4  emit      decisions, dead letters, drift, alerts, acknowledged crash: the same bytes again
    5  offline   rows, when enough have come together                 crash: it knows the plan
    6  commit    the source may forget                                crash: the plan has positions
    7  snapshot  now and then: flush offline, write state aside, rename

After a crash the newest snapshot is loaded and the journal's plans since then are run again; each
sink recognises what it has (by the plan's number) or takes the same bytes once more. Trouble with a
store pauses and tries again; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import pyarrow as pa

from claimtrace.clock import Clock
from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError, StateError
from claimtrace.events import Outgoing, Record
from claimtrace.limits import MAX_BATCH_BYTES
from featurestore.arrays import Arrays

from .effects import Counts, Effects
from .engine import Engine
from .plans import Journal, Place, Plan, Range, plan_of

CRASH_POINTS: Final = (
    "read",
    "planned",
    "applied",
    "emitted",
    "offline",
    "committed",
    "flushed",
    "snapshotted",
)
"""Where a test can have the process end at once: after each numbered step."""

_WRITER: Final = "stream"
"""Who appends, as the offline store knows it; its versions are the numbers of plans."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0


class Source(Protocol):
    """Where records come from."""

    def poll(self, positions: dict[Place, int], most: int) -> list[Record]:
        """The next records after the positions, in plan order; empty when there are none now."""

    def fetch(self, ranges: Sequence[Range]) -> list[Record]:
        """Exactly the records of a plan, in plan order."""

    def commit(self, positions: dict[Place, int]) -> None:
        """Everything before the positions is done."""


class Sink(Protocol):
    """Where effects go."""

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Have the records of a plan acknowledged; a plan that is there already is left alone."""


class Rows(Protocol):
    """The offline store, as the driver needs it."""

    def append(self, table: str, rows: pa.Table, *, writer: str, version: int) -> bool:
        """Append once for each writer and version."""

    def committed(self, table: str, writer: str) -> int:
        """The last version of a writer that the table holds; -1 when there is none."""


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    def write(self, plan: int, arrays: Arrays) -> object:
        """Make the state as of a plan durable."""

    def newest(self) -> tuple[int, Arrays] | None:
        """The newest whole snapshot."""


class Driver:
    """Runs the engine over a source.

    Args:
        engine: fresh; its state comes from the snapshot and the journal.
        source, journal, sink, offline, snapshots: the world.
        clock: for `now` in plans, and for pauses.
        champion: the model in charge now, asked once for each new plan.
        snapshot_every_records, offline_every_records: see `StreamSettings`.
        crash: called with the name of each point passed; tests end the process there.
        said: told of each pause, for the log.
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        journal: Journal,
        sink: Sink,
        offline: Rows,
        snapshots: SnapshotStore,
        clock: Clock,
        champion: Callable[[], ModelRef | None],
        *,
        snapshot_every_records: int,
        offline_every_records: int,
        crash: Callable[[str], None] = lambda _: None,
        said: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.counts = Counts()
        self._source, self._journal, self._sink = source, journal, sink
        self._offline, self._snapshots, self._clock = offline, snapshots, clock
        self._champion = champion
        self._snapshot_every, self._offline_every = snapshot_every_records, offline_every_records
        self._crash, self._said = crash, said
        self._waiting: dict[str, list[pa.Table]] = {}
        self._stored: dict[str, int] = {}
        self._since_offline = self._since_snapshot = 0

    def recover(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Bring the state to the end of the journal; returns how many records were run again."""
        newest = self._snapshots.newest()
        if newest is not None:
            self.engine.restore(newest[1])
        if self.engine.plan >= self._journal.next_number:
            raise StateError(
                f"the snapshot is of plan {self.engine.plan}, the journal ends before it",
                where="state",
                hint="restore the journal that belongs to the snapshots, or start a new folder",
            )
        replayed = 0
        for plan in self._journal.read(self.engine.plan + 1):
            records = self._source.fetch(plan.ranges)
            self._apply(plan, records)
            replayed += len(records)
            progress(len(records))
        return replayed

    def step(self, most: int) -> int:
        """Take the next batch of at most so many records; returns how many it had, 0 for none."""
        records = self._again(lambda: self._source.poll(self.engine.positions, most))
        if not records:
            return 0
        records = _within_bytes(records)
        self._crash("read")
        number = self._journal.next_number
        plan = plan_of(number, records, self._champion(), self._clock.now_ms())
        won = self._again(lambda: self._journal.append(plan))
        if won != plan:
            records = self._source.fetch(won.ranges)
        self._crash("planned")
        self._apply(won, records)
        return len(records)

    def finish(self) -> None:
        """Write down all that waits: before a clean end, and when a run is complete."""
        if self._since_snapshot:
            self._snapshot()

    def _apply(self, plan: Plan, records: list[Record]) -> Effects:
        effects = self.engine.step(plan, records)
        self._crash("applied")
        self._again(lambda: self._sink.emit(plan.number, effects.outgoing))
        self._crash("emitted")
        for table, rows in effects.rows.items():
            if plan.number > self._stored_until(table):
                self._waiting.setdefault(table, []).append(rows)
        self._since_offline += len(records)
        self._since_snapshot += len(records)
        if self._since_offline >= self._offline_every:
            self._flush()
        self._crash("offline")
        self._again(lambda: self._source.commit(self.engine.positions))
        self._crash("committed")
        self.counts.add(effects.counts)
        for notice in effects.notices:
            self._said(notice)
        if self._since_snapshot >= self._snapshot_every:
            self._snapshot()
        return effects

    def _stored_until(self, table: str) -> int:
        """The plan up to which the offline store has the rows.

        It is asked once a table: a plan that is run again may be stored already, and by an append
        that ended elsewhere than the next one will.
        """
        if table not in self._stored:
            self._stored[table] = self._again(lambda: self._offline.committed(table, _WRITER))
        return self._stored[table]

    def _flush(self) -> None:
        """Append the rows that wait, as of the engine's plan."""
        plan = self.engine.plan
        for table in sorted(self._waiting):
            rows = pa.concat_tables(self._waiting[table])
            self._again(
                lambda table=table, rows=rows: self._offline.append(  # type: ignore[misc]
                    table, rows, writer=_WRITER, version=plan
                )
            )
        self._waiting.clear()
        self._since_offline = 0

    def _snapshot(self) -> None:
        # the rows first: a state that is loaded again must have nothing left to append
        self._flush()
        self._crash("flushed")
        self.engine.forget()
        self._again(lambda: self._snapshots.write(self.engine.plan, self.engine.arrays()))
        self._since_snapshot = 0
        self._crash("snapshotted")

    def _again(self, work: Callable[[], Any]) -> Any:
        """Do it, and while a store doesn't answer, pause and do it again; never skip."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return work()
            except ClaimtraceError as error:
                if not error.retryable:
                    raise
                self._said(f"{error}; trying again in {pause_s:g} s")
                self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _within_bytes(records: list[Record]) -> list[Record]:
    """The first records of a batch whose values fit the limit together; at least one."""
    size = 0
    for i, record in enumerate(records):
        size += len(record.value or b"")
        if size > MAX_BATCH_BYTES and i:
            return records[:i]
    return records
