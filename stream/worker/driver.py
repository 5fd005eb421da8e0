"""One plan after the other, in a written order that survives a crash at every step.

    1  read      records from the source
    2  plan      the batch is appended to the journal and synced      crash before: nothing happened
    3  apply     the engine changes its state in memory               crash: the plan is run again
    4  emit      decisions, dead letters, drift, alerts, acknowledged crash: the same bytes again
    5  offline   rows, when enough have come together, appended while
                 batches go on (`stream.worker.offline_writer`)                     crash: it knows
                 the plan
    6  commit    the source may forget                                crash: the plan has positions
    7  snapshot  now and then: the state is written aside while batches go on,
                 renamed when it is on the disk and its rows are stored
                 (`stream.worker.snapshotting`)

After a crash the newest snapshot is loaded and the journal's plans since then are run again; each
sink recognises what it has (by the plan's number) or takes the same bytes once more. Trouble with a
store pauses and tries again; nothing is skipped.

With a group (`stream.group.group`) several drivers run on one journal: one of them writes the
plans, all apply them, each emits and stores what belongs to the places it owns
(`stream.worker.ownership`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec

from claimtrace.batches.records import Records
from claimtrace.clock import Clock
from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError, StateError
from claimtrace.events import Record
from claimtrace.ids import digest_of
from claimtrace.limits import MAX_BATCH_BYTES
from featurestore.state_arrays import Arrays

from ..engine.effects import Counts
from ..engine.engine import Engine, plain_state
from ..group.group import Group
from ..journal.journal import Journal
from ..journal.plan import JOURNAL, Plan, plan_of
from ..journal.reached import Reached
from ..journal.source import Source
from .interval import Interval
from .observer import WorkerObserver
from .offline_writer import Begin, Rows, at_once
from .ownership import Output, Ownership
from .snapshotting import SnapshotStore, Snapshotting, bookmarks_in, marks_in

CRASH_POINTS: Final = (
    "read",
    "planned",
    "applied",
    "emitted",
    "offline",
    "committed",
    "begun",
    "flushed",
    "snapshotted",
)
"""Where a test can have the process end at once: after each numbered step, and for a snapshot when
it was begun, when it is written and its rows are stored, and when it is there."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_GIVE_UP_S: Final = 15.0
"""A worker that is asked to stop waits so long for a store; then it leaves, and commits nothing."""
_LAST_TRIES: Final = 3
"""How often a worker that ends looks again at what it owns, when others stored in between."""
_NOTHING: Final = Records.of([])


class ReachedStore(Protocol):
    """Where it is noted how far the effects are done."""

    def write(self, reached: Reached) -> None:
        """Replace the note."""

    def read(self) -> Reached | None:
        """The note, if there is a sound one."""


class Driver:
    """Runs the engine over a source.

    Args:
        engine: fresh; its state comes from the snapshot and the journal.
        source, journal, sink, offline, snapshots: the world.
        clock: for `now` in plans, and for pauses.
        champion: the model in charge now, asked once for each new plan.
        snapshot_every, offline_every: records and seconds, see `StreamSettings`.
        begin: begins an append to the offline store, here or beside the next batches.
        reached: where it is noted how far effects are done, so that a restart needn't repeat them;
            a group's marks do that, so it is not used with one.
        group: the workers that share the work; None: this one does all of it.
        commit_every_s: time between two commits.
        unknown_schemas: asks the schema registry which ids of a batch it doesn't know.
        stopping: whether a person or a machine asked this worker to end.
        crash: called with the name of each point passed; tests end the process there.
        said: told of each pause, for the log.
        watching: told what happens, for the metrics.
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        journal: Journal,
        sink: Output,
        offline: Rows,
        snapshots: SnapshotStore,
        clock: Clock,
        champion: Callable[[], ModelRef | None],
        *,
        snapshot_every: tuple[int, float],
        offline_every: tuple[int, float],
        begin: Begin = at_once,
        reached: ReachedStore | None = None,
        group: Group | None = None,
        commit_every_s: float = 0.0,
        unknown_schemas: Callable[[Sequence[Record]], list[int]] = lambda _: [],
        stopping: Callable[[], bool] = lambda: False,
        crash: Callable[[str], None] = lambda _: None,
        said: Callable[[str], None] = lambda _: None,
        watching: WorkerObserver | None = None,
    ) -> None:
        self.engine = engine
        self._source, self._journal, self._snapshots = source, journal, snapshots
        self._clock, self._champion = clock, champion
        self._unknown_schemas, self._stopping = unknown_schemas, stopping
        self._stop_asked_s: float | None = None
        self._crash, self._said = crash, said
        self._watching = watching or WorkerObserver()
        self._group = group
        self._reached = reached if group is None else None
        self._reaching: Reached | None = None
        self._last: Plan | None = None
        self._duty = Ownership(
            engine, sink, offline, group, journal, self._again, begin, clock, self._watching.offline
        )
        self._offline_every = Interval(*offline_every, clock)
        self._saving = Snapshotting(
            engine, self._duty, source, journal, snapshots, Interval(*snapshot_every, clock), clock,
            self._again, said, crash, self._watching,
        )  # fmt: skip
        self._commit_every_s, self._committed_s = commit_every_s, clock.monotonic_s()
        self._ahead: deque[Plan] = deque()

    @property
    def counts(self) -> Counts:
        """What became of the records that this worker decided on."""
        return self._duty.counts

    def recover(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Bring the state to the end of the journal; returns how many records were run again."""
        newest = self._snapshots.newest(self._fits())
        bookmark = 0
        if newest is not None:
            self.engine.restore(newest[1])
            self._duty.start()
            self._source.resume(bookmarks_in(newest[1]))
            bookmark = int(newest[1].get("journal", [0])[0])
        replayed, reached = 0, self._reached.read() if self._reached is not None else None
        if reached is not None and reached.plan >= self._journal.next_number:
            reached = None  # of a journal that is gone
        for plan in self._planned(bookmark):
            records = self._again(lambda plan=plan: self._source.fetch(plan.ranges))  # type: ignore[misc]
            if reached is not None and plan.number <= reached.plan:
                self._apply_again(plan, records, reached)
            else:
                self._apply(plan, records)
            replayed += len(records)
            progress(len(records))
            self._watching.replayed(len(records))
        if self.engine.plan >= self._journal.next_number:
            raise StateError(
                f"the snapshot is of plan {self.engine.plan}, the journal ends before it",
                where="state",
                hint="restore the journal that belongs to the snapshots, or start a new folder",
            )
        return replayed

    def step(self, most: int) -> int:
        """Take the next batch of at most so many records; returns how many it had, 0 for none."""
        self._duty.take_part(self._watching)
        self._watching.ready(True)
        if self._duty.is_ahead:
            self._clock.sleep(_FIRST_PAUSE_S)
            self._flush()  # it may be us that the others wait for
            self._commit()
            return 0
        from_s = self._clock.monotonic_s()
        plan, records = self._next(most)
        if plan is None:
            self._tend()
            return 0
        counts = self._apply(plan, records)
        self._watching.applied(plan.number, counts, self._clock.monotonic_s() - from_s)
        return len(records)

    def finish(self) -> None:
        """Write down all that waits: before a clean end, and when a run is complete."""
        saving = self._saving
        self._flush()  # what was taken over meanwhile is among it
        self._commit()
        saving.end(wait=True)
        if saving.every.since:
            saving.begin()
        if self._group is not None:
            for _ in range(_LAST_TRIES):
                if not self._duty.was_superseded:
                    break
                self._duty.take_part(self._watching)  # rows that others didn't store are ours still
                self._flush()
                self._commit()
        saving.end(wait=True)
        saving.rest()
        if self._group is not None:
            self._group.leave()

    def _next(self, most: int) -> tuple[Plan | None, Sequence[Record]]:
        """The next plan and its records: one that stands in the journal, or one that we write."""
        if self._group is not None and not self._ahead:
            self._ahead.extend(self._again(lambda: list(self._journal.read(self.engine.plan + 1))))
        if self._ahead:
            plan = self._ahead.popleft()
            return plan, self._again(lambda: self._source.fetch(plan.ranges))
        if not self._duty.owns(JOURNAL):
            return None, _NOTHING
        most = self._saving.most(most)
        records = self._again(lambda: self._source.poll(self.engine.positions, most))
        if not records:
            return None, _NOTHING
        records = Records.of(records).within(MAX_BATCH_BYTES)
        self._crash("read")
        unknown = self._again(lambda: self._unknown_schemas(records))
        now_ms, number = self._clock.now_ms(), self.engine.plan + 1
        plan = plan_of(number, records, self._champion(), now_ms, unknown)
        plan = msgspec.structs.replace(plan, ranges=self._source.located(plan.ranges))
        from_s = self._clock.monotonic_s()
        won = self._again(lambda: self._journal.append(plan))
        self._watching.journal(self._clock.monotonic_s() - from_s)
        if won != plan:
            records = self._again(lambda: self._source.fetch(won.ranges))
        return won, records

    def _planned(self, bookmark: int) -> Iterator[Plan]:
        """The journal's plans from the engine's on, in spite of a journal that doesn't answer."""
        plans = iter(self._journal.read(self.engine.plan + 1, bookmark))

        def following() -> Plan | None:
            nonlocal plans
            try:
                return next(plans, None)
            except ClaimtraceError:
                plans = iter(self._journal.read(self.engine.plan + 1))
                raise

        while (plan := self._again(following)) is not None:
            yield plan

    def _apply_again(self, plan: Plan, records: Sequence[Record], reached: Reached) -> None:
        """Only change the state: the effects of this plan are where they belong."""
        self._again(lambda: self.engine.apply(plan, records))
        self._saving.every.count(len(records))
        if plan.number == reached.plan:
            if digest_of(plan) != reached.plan_digest:
                raise StateError(
                    "the note of how far the effects are done belongs to another journal",
                    where="state",
                    hint="remove the file `reached` beside the journal and start again",
                )
            self.engine.decider.chains = dict(reached.chains)

    def _apply(self, plan: Plan, records: Sequence[Record]) -> Counts:
        self._crash("planned")
        applied = self._again(lambda: self.engine.apply(plan, records))
        self._crash("applied")
        if plan.model is not None and applied.scorer is not None:
            self._watching.model(plan.model, applied.scorer.kernel)
        effects = self._duty.take(applied)
        self._last = plan
        self._crash("emitted")
        for every in (self._offline_every, self._saving.every):
            every.count(len(records))
        for line in effects.log_lines:
            self._said(line)
        self._tend()
        self._saving.keep_house(len(records))
        return effects.counts

    def _tend(self) -> None:
        """What is due now and then."""
        if self._duty.has_rows and not self._offline_every.since:
            self._offline_every.count(1)  # rows that we took over, of batches from before
        if self._offline_every.due:
            self._duty.end_flush()
            self._begin_snapshot()  # now, or it would wait for this append
            self._begin_flush()
        self._duty.tend()
        self._crash("offline")
        if self._clock.monotonic_s() - self._committed_s >= self._commit_every_s:
            self._commit()
        self._crash("committed")
        self._save()

    def _save(self) -> None:
        """Begin or end a snapshot."""
        saving = self._saving
        if saving.is_written and saving.every.due:
            self._flush()  # or it would wait for its rows for longer than snapshots are apart
            self._commit()
        saving.end()
        self._begin_snapshot()

    def _begin_snapshot(self) -> None:
        """Begin one if it is due, and no append under way: a process with a thread at work is not
        one to be forked. The next append doesn't begin before it."""
        if not self._duty.is_appending and self._saving.is_due:
            self._saving.begin()

    def _flush(self) -> None:
        self._begin_flush()
        self._duty.end_flush()

    def _begin_flush(self) -> None:
        if self._reached is not None and self._last is not None:
            chains = dict(self.engine.decider.chains)
            self._reaching = Reached(self._last.number, digest_of(self._last), chains)
        self._duty.begin_flush()
        self._offline_every.reset()

    def _commit(self) -> None:
        self._committed_s = self._clock.monotonic_s()
        self._watching.committed(self._duty.commit())
        reaching = self._reaching
        if reaching is not None and self._duty.is_stored(reaching.plan, frozenset()):
            assert self._reached is not None
            self._reached.write(reaching)  # after the commit: all that was emitted is acknowledged
            self._reaching = self._last = None

    def _fits(self) -> Callable[[Arrays], bool]:
        """Which snapshots can be started from: those that no place's owner had still to reach."""
        if self._group is None:
            return lambda _: True
        marks = self._duty.learn_marks()
        newest = self._snapshots.newest() if not marks else None
        if newest is not None:  # the group was away for longer than the brokers keep offsets
            marks = marks_in(newest[1])
            self._duty.remember(marks)

        def fits(arrays: Arrays) -> bool:
            plan, positions, _ = plain_state(arrays)
            topic_partitions = [JOURNAL, *(topic_partition for topic_partition, _ in positions)]
            return all(
                topic_partition in marks and marks[topic_partition].stored >= plan
                for topic_partition in topic_partitions
            )

        return fits

    def _has_waited_to_stop(self) -> bool:
        """Whether we were asked to stop, and a store didn't answer for long enough since."""
        if not self._stopping():
            return False
        now_s = self._clock.monotonic_s()
        if self._stop_asked_s is None:
            self._stop_asked_s = now_s
        return now_s - self._stop_asked_s > _GIVE_UP_S

    def _again(self, work: Callable[[], Any]) -> Any:
        """Do it, and while a store doesn't answer, pause and do it again; never skip."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                done = work()
            except ClaimtraceError as error:
                if not error.retryable or self._has_waited_to_stop():
                    raise
                self._said(f"{error}; trying again in {pause_s:g} s")
                self._watching.ready(False)
                self._watching.paused(error.where)
                self._clock.sleep(pause_s)
                self._duty.stay()
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                if pause_s > _FIRST_PAUSE_S:
                    self._watching.ready(True)
                return done
