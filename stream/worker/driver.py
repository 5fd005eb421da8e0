"""One plan after the other, in a written order that survives a crash at every step.

    1  read      records from the source
    2  plan      the batch is appended to the journal and synced      crash before: nothing happened
    3  apply     the engine changes its state in memory               crash: the plan is run again
    4  emit      decisions, dead letters, drift, alerts, acknowledged crash: the same bytes again
    5  offline   rows, when enough have come together, appended in
                 the background (`stream.worker.offline_writer`)      crash: the store has the plan
    6  commit    the source may forget                                crash: the plan has positions
    7  snapshot  now and then: the state is written while batches go
                 on, and published when its rows are stored
                 (`stream.worker.snapshotting`)

After a crash the newest snapshot is loaded and the journal's plans since then are run again; each
output recognises what it has (by the plan's number) or takes the same bytes once more. Trouble with
a store pauses and retries; nothing is skipped.

With a group (`stream.group.group`) several drivers run on one journal: one of them writes the
plans, all apply them, each emits and stores the effects of the partitions it owns
(`stream.worker.ownership`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from claimtrace.batches.records import Records
from claimtrace.clock import Clock
from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.editions import ROLLOUTS
from claimtrace.errors import ClaimtraceError, StateError
from claimtrace.events import Record
from claimtrace.ids import digest_of
from claimtrace.limits import MAX_BATCH_BYTES
from featurestore.state_arrays import Arrays

from ..engine.effects import Counts
from ..engine.engine import Engine, plain_state
from ..group.following import Following
from ..group.group import Checkpoint
from ..journal.plan import JOURNAL, Plan, plan_of
from ..journal.reached import Reached
from ..journal.recall import recall_newest
from .following import ownership_of
from .interval import Interval
from .observer import WorkerObserver
from .offline_writer import OfflineWriter
from .parts import Cadence, LogParts, Stores
from .retry import FIRST_PAUSE_S, Call, Retry
from .snapshotting import Snapshotting, bookmarks_in, checkpoints_in
from .store_names import StoreNames

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
"""Points that `WorkerObserver.passed` hears of: after each numbered step, and for a snapshot when
it was begun, when it is written and its rows are stored, and when it is published."""

_LAST_TRIES: Final = 3
"""How often a worker that ends polls for what it still owns, when others stored in between."""
_NOTHING: Final = Records.of([])


class Driver:
    """Runs the engine over a log.

    Args:
        engine: fresh; its state comes from the snapshot and the journal.
        log: source, journal, output, and the group if several workers share the work.
        stores: the offline store, the snapshots, and the note of finished effects.
        cadence: how often snapshots, appends and commits are due.
        clock: for `now` in plans, and for pauses.
        champion: the model in charge, asked once for each new plan.
        observer: told what happens, for logs and metrics.
        stopping: whether a person or a supervisor asked this worker to end.
    """

    def __init__(
        self,
        engine: Engine,
        log: LogParts,
        stores: Stores,
        cadence: Cadence,
        clock: Clock,
        champion: Callable[[], ModelRef | None],
        observer: WorkerObserver,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engine, self._texts = engine, stores.texts
        self._log, self._group = log, log.group
        self._source, self._journal = log.source, log.journal
        self._snapshots, self._clock, self._champion = stores.snapshots, clock, champion
        self._observer, self._stopping = observer, stopping
        self._rollouts = stores.rollouts
        self._reached = stores.reached if log.group is None else None
        self._reaching: Reached | None = None
        self._last: Plan | None = None
        names = stores.names or StoreNames(engine.domain.topics)
        self._retry = retry = Retry(clock, stopping, observer, names)
        writer = OfflineWriter(stores.rows, retry, stores.executor, clock, observer.offline)
        self._ownership = ownership = ownership_of(engine, log, writer, retry, observer)
        retry.heartbeat = ownership.heartbeat
        self._offline_interval = Interval(*cadence.offline, clock)
        self._snapshotting = Snapshotting(
            engine, ownership, log, stores.snapshots, Interval(*cadence.snapshot, clock), clock,
            retry, observer,
        )  # fmt: skip
        self._commit_every_s, self._committed_s = cadence.commit_s, clock.monotonic_s()
        self._ahead: deque[Plan] = deque()
        self.at_end = False
        """Whether the last step applied all that was on the log; False where it can't tell."""

    @property
    def call(self) -> Call | None:
        """The call to a store that the worker is in."""
        return self._retry.call

    @property
    def counts(self) -> Counts:
        """Counts of the records that this worker has decided on."""
        return self._ownership.counts

    def recover(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Bring the state to the end of the journal; returns how many records were run again.

        Ends early when a stop is asked for: then no step may follow, and the next start begins
        anew.

        Raises:
            StateError: the journal ends before the snapshot, or doesn't belong to it.
        """
        newest = self._snapshots.newest(self._fits())
        bookmark = 0
        if newest is not None:
            self.engine.restore(newest[1])
            self._ownership.start_without_history()
            self._source.resume(bookmarks_in(newest[1]))
            bookmark = int(newest[1].get("journal", [0])[0])
        replayed, reached = 0, self._reached.read() if self._reached is not None else None
        if reached is not None and reached.plan >= self._journal.next_number:
            reached = None  # the note belongs to a journal that is gone
        for plan in self._planned(bookmark):
            records = self._fetch(plan)
            self._texts = {} if plan.texts else self._texts
            if reached is not None and plan.number <= reached.plan:
                self._apply_without_effects(plan, records, reached)
            else:
                self._apply(plan, records)
            replayed += len(records)
            progress(len(records))
            self._observer.replayed(len(records))
            if self._stopping():
                return replayed
        self._retry(lambda: recall_newest(self.engine, self._journal))
        if self.engine.plan >= self._journal.next_number:
            raise StateError(
                f"the snapshot is of plan {self.engine.plan}, the journal ends before it",
                where="state",
                hint="restore the journal that belongs to the snapshots, or start a new folder",
            )
        return replayed

    def step(self, most: int) -> int:
        """Take the next batch of at most `most` records; returns how many it had, 0 for none."""
        self._ownership.poll_group()
        self._observer.ready(True)
        if self._ownership.is_ahead:
            self._clock.sleep(FIRST_PAUSE_S)
            self._flush()  # the others may wait for the rows of this worker
            self._commit()
            return 0
        from_s = self._clock.monotonic_s()
        plan, records = self._next(most)
        if plan is None:
            self._run_due()
            return 0
        self._texts = {} if plan.texts else self._texts
        counts = self._apply(plan, records)
        self._observer.applied(plan.number, counts, self._clock.monotonic_s() - from_s)
        if plan.edition:
            self._observer.notify(f"edition {plan.edition} begins with plan {plan.number}")
        return len(records)

    def has_everything(self) -> bool:
        """Whether the log has no record that isn't applied; asked after a step without any."""
        self._source.order_topics(self.engine.tie_order)
        return not self._retry(lambda: self._source.poll(self.engine.positions, 1))

    def has_finished(self, plan: int) -> bool:
        """Flush and commit; whether then everything up to a plan is emitted, stored and committed,
        on all partitions, by this worker or by the others."""
        self._flush()
        self._commit()
        if self._group is None:
            return self._ownership.is_stored(plan, frozenset())
        found = self._ownership.refresh_checkpoints()
        every = self._retry(self._group.topic_partitions) | self.engine.positions.keys()
        checkpoints = [found.get(each, Checkpoint()) for each in every]
        return all(min(each.emitted, each.stored) >= plan for each in checkpoints)

    def finish(self) -> None:
        """Flush, commit and snapshot everything: before a clean end, and when a run is complete."""
        snapshotting = self._snapshotting
        self._flush()  # with the rows of partitions that were taken over meanwhile
        self._commit()
        snapshotting.end(wait=True)
        if snapshotting.interval.since:
            snapshotting.begin()
        if self._group is not None:
            for _ in range(_LAST_TRIES):
                if not self._ownership.was_superseded:
                    break
                # another worker owned our partitions for a while: rows that it didn't store are
                # still ours to store
                self._ownership.poll_group()
                self._flush()
                self._commit()
        snapshotting.end(wait=True)
        snapshotting.cancel()
        if self._group is not None:
            self._retry(self._group.leave)

    def _next(self, most: int) -> tuple[Plan | None, Sequence[Record]]:
        """Return the next plan and its records: one from the journal, or one written now."""
        self.at_end = False
        if self._group is not None and not self._ahead:
            self._ahead.extend(self._retry(lambda: list(self._journal.read(self.engine.plan + 1))))
        if self._ahead:
            plan = self._ahead.popleft()
            return plan, self._fetch(plan)
        if not self._ownership.owns(JOURNAL):
            return None, _NOTHING
        most = self._snapshotting.batch_limit(most)
        self._source.order_topics(self.engine.tie_order)
        records = self._retry(lambda: self._source.poll(self.engine.positions, most))
        self.at_end = len(records) < most
        if not records:
            return None, _NOTHING
        records = Records.of(records).within(MAX_BATCH_BYTES)
        self._observer.passed("read")
        unknown = self._retry(lambda: self._log.unknown_schemas(records))
        champion = self._retry(self._champion)
        now_ms, number = self._clock.now_ms(), self.engine.plan + 1
        plan = plan_of(number, records, champion, now_ms, unknown, self._rollout())
        ranges = self._source.located(plan.ranges)
        plan = msgspec.structs.replace(plan, ranges=ranges, texts=dict(self._texts))
        from_s = self._clock.monotonic_s()
        won = self._retry(lambda: self._journal.append(plan))
        self._observer.journal(self._clock.monotonic_s() - from_s)
        if won != plan:  # another worker's plan has this number: that one is applied
            records = self._fetch(won)
        else:
            self._observer.planned(number, len(records))
        return won, records

    def _rollout(self) -> RolloutRef | None:
        """Return the roll-out for the next plan; one whose guards were breached has ended, whatever
        the registry says by now."""
        rollout = self._rollouts.in_force() if self._rollouts is not None else None
        if self._rollouts is None or rollout is None or self.engine.edition < ROLLOUTS:
            return None
        if rollout == self.engine.breached:
            self._rollouts.end(rollout, self.engine.breach)
            return None
        return rollout

    def _fetch(self, plan: Plan) -> Sequence[Record]:
        """Return the records of the next plan, in plan order as of the edition in force."""
        self._source.order_topics(self.engine.tie_order)
        return self._retry(lambda: self._source.fetch(plan.ranges))

    def _planned(self, bookmark: int) -> Iterator[Plan]:
        """Yield the journal's plans after the engine's, with retries while it doesn't answer."""
        plans = iter(self._journal.read(self.engine.plan + 1, bookmark))

        def following() -> Plan | None:
            nonlocal plans
            try:
                return next(plans, None)
            except ClaimtraceError:
                plans = iter(self._journal.read(self.engine.plan + 1))
                raise

        while (plan := self._retry(following)) is not None:
            yield plan

    def _apply_without_effects(
        self, plan: Plan, records: Sequence[Record], reached: Reached
    ) -> None:
        """Only change the state: the effects of this plan were emitted and stored before."""
        self._retry(lambda: self.engine.apply(plan, records))
        self._snapshotting.interval.count(len(records))
        if plan.number == reached.plan:
            if digest_of(plan) != reached.plan_digest:
                raise StateError(
                    "the note of how far the effects are done belongs to another journal",
                    where="state",
                    hint="remove the file `reached` beside the journal and start again",
                )
            self.engine.decider.chains = dict(reached.chains)

    def _apply(self, plan: Plan, records: Sequence[Record]) -> Counts:
        self._observer.passed("planned")
        applied = self._retry(lambda: self.engine.apply(plan, records))
        self._observer.passed("applied")
        if plan.model is not None and applied.scorer is not None:
            self._observer.model(plan.model, applied.scorer.kernel)
        self._observer.rollout(plan.rollout)
        effects = self._ownership.decide(applied)
        self._last = plan
        self._observer.passed("emitted")
        for interval in (self._offline_interval, self._snapshotting.interval):
            interval.count(len(records))
        for line in effects.log_lines:
            self._observer.notify(line)
        self._run_due()
        self._snapshotting.run_maintenance(len(records))
        return effects.counts

    def _run_due(self) -> None:
        """Run the periodic work that is due: appends, commits, snapshots."""
        if self._ownership.has_rows and not self._offline_interval.since:
            self._offline_interval.count(1)  # rows of earlier batches, of partitions taken over
        if self._offline_interval.due:
            self._ownership.end_flush()
            self._begin_snapshot()  # before the append starts, or it would wait for its end
            self._start_flush()
        self._ownership.confirm_flush()
        self._observer.passed("offline")
        if self._clock.monotonic_s() - self._committed_s >= self._commit_every_s:
            self._commit()
        self._observer.passed("committed")
        self._run_snapshots()

    def _run_snapshots(self) -> None:
        """Publish a snapshot that is ready, and begin one that is due."""
        snapshotting = self._snapshotting
        if snapshotting.is_written and snapshotting.interval.due:
            self._flush()  # or it would wait for its rows for longer than snapshots are apart
            self._commit()
        snapshotting.end()
        self._begin_snapshot()

    def _begin_snapshot(self) -> None:
        """Begin a snapshot if one is due and no append runs: the process must not be forked while
        a thread of it works. The next append doesn't start before the snapshot has begun."""
        if not self._ownership.is_appending and self._snapshotting.is_due:
            self._snapshotting.begin()

    def _flush(self) -> None:
        self._start_flush()
        self._ownership.end_flush()

    def _start_flush(self) -> None:
        if self._reached is not None and self._last is not None:
            chains = dict(self.engine.decider.chains)
            self._reaching = Reached(self._last.number, digest_of(self._last), chains)
        self._ownership.start_flush()
        self._offline_interval.reset()

    def _commit(self) -> None:
        self._committed_s = self._clock.monotonic_s()
        self._observer.committed(self._ownership.commit())
        reaching = self._reaching
        if reaching is not None and self._ownership.is_stored(reaching.plan, frozenset()):
            assert self._reached is not None
            self._reached.write(reaching)  # after the commit: everything emitted is acknowledged
            self._reaching = self._last = None

    def _fits(self) -> Callable[[Arrays], bool]:
        """Return which snapshots this worker can start from: those whose plan every partition's
        owner has finished, so that no batch before it is needed for a take-over."""
        if self._group is None or isinstance(self._group, Following):
            return lambda _: True
        checkpoints = self._ownership.refresh_checkpoints()
        newest = self._snapshots.newest() if not checkpoints else None
        if newest is not None:  # the group was away for longer than the brokers keep offsets
            checkpoints = checkpoints_in(newest[1])
            self._ownership.remember(checkpoints)

        def fits(arrays: Arrays) -> bool:
            plan, positions, _, _ = plain_state(arrays)
            every = [JOURNAL, *(topic_partition for topic_partition, _ in positions)]
            return all(each in checkpoints and checkpoints[each].stored >= plan for each in every)

        return fits
