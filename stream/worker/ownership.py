"""The work on owned partitions: decide, emit, store rows, commit, take over.

    gained   read the checkpoint of the owner before and the tail of its decisions, decide again on
             the batches since (same bytes), send and store what the log and the store don't have
    revoked  send, store and commit everything that waits, then release
    lost     release: what was not committed is repeated by the next owner, with the same bytes

Without a group one worker owns all partitions from the start, and its output knows each plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final

import msgspec

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, chain_of, claim_position_of
from claimtrace.errors import ClaimtraceError, StateError, Superseded
from claimtrace.events import Outgoing
from featurestore.offline.tables import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES

from ..engine.applied_batch import AppliedBatch
from ..engine.effects import Counts, Effects
from ..engine.engine import Engine
from ..group.group import MAX_RETAINED_RECORDS, Checkpoint, Group, Retained, Tail
from ..journal.plan import JOURNAL, TopicPartition
from .observer import WorkerObserver
from .offline_writer import OfflineWriter, Stored
from .parts import LogParts

SOLE: Final = "stream"
"""The writer of rows, as the offline store knows it, where one worker owns all partitions."""

_TABLES: Final = (EVENTS, DECISIONS, LABELS, PROFILES, DRIFT)


class Ownership:
    """The partitions that this worker decides on, and the effects that wait for them.

    Args:
        engine: decides.
        log: output, group and journal.
        writer: appends rows to the offline store.
        retry: runs work until it succeeds.
        observer: told of rebalances and commits.
    """

    def __init__(
        self,
        engine: Engine,
        log: LogParts,
        writer: OfflineWriter,
        retry: Callable[[Callable[[], Any]], Any],
        observer: WorkerObserver,
    ) -> None:
        self._engine, self._output, self._group = engine, log.output, log.group
        self._journal, self._retry = log.journal, retry
        self._writer, self._observer = writer, observer
        self._owned: set[TopicPartition] | None = None if log.group is None else set()
        self._checkpoints: dict[TopicPartition, Checkpoint] = {}
        """As committed, by this worker or by others."""
        self._remembered: dict[TopicPartition, Checkpoint] = {}
        self._done: dict[TopicPartition, Checkpoint] = {}
        """The progress of the owned partitions, committed or not."""
        self._retained = Retained()
        self._stored = 0
        """The plan up to which all rows of this worker are stored."""
        self._is_member = False
        self._assigned: frozenset[TopicPartition] = frozenset()
        """The partitions that the last `poll_group` returned."""
        self._has_lapsed = False
        """Whether one of them was revoked since, even if it was assigned again."""
        self._must_abort = False
        """Whether the output still has to take back what no commit has made visible."""
        self.counts = Counts()

    def owns(self, topic_partition: TopicPartition) -> bool:
        """Whether this worker decides on a partition."""
        return self._owned is None or topic_partition in self._owned

    @property
    def owned(self) -> Set[TopicPartition]:
        """The partitions that this worker decides on as a member of a group."""
        return frozenset(self._owned or ())

    def coming_checkpoints(self) -> Mapping[TopicPartition, Checkpoint]:
        """Return the checkpoints of all partitions once every decision so far is committed."""
        plan = self._engine.plan
        ours = {
            topic_partition: Checkpoint(plan, plan, self._chain(topic_partition))
            for topic_partition in self._owned or ()
        }
        return {**self._checkpoints, **ours}

    def is_stored(self, plan: int, topic_partitions: Set[TopicPartition]) -> bool:
        """Whether the rows of these partitions up to a plan are stored, as the group knows.

        Without a group the partitions don't matter: this worker owns all of them.
        """
        if self._owned is None:
            return self._stored >= plan
        return all(
            self._checkpoints.get(topic_partition, Checkpoint()).stored >= plan
            for topic_partition in topic_partitions
        )

    @property
    def is_ahead(self) -> bool:
        """Whether the other workers have so much left to commit that this one must wait."""
        return self._retained.records > MAX_RETAINED_RECORDS

    @property
    def was_superseded(self) -> bool:
        """Whether this worker released everything and must poll for what it still owns."""
        return self._must_abort

    @property
    def has_rows(self) -> bool:
        """Whether rows wait for an append."""
        return bool(self._writer)

    @property
    def is_appending(self) -> bool:
        """Whether an append was started and not confirmed yet."""
        return self._writer.is_appending

    def decide(self, applied: AppliedBatch) -> Effects:
        """Decide on the owned partitions' part of a batch, send the decisions, keep the rows."""
        if self._owned is not None:
            self._retained.keep(applied)
            if self._retained.records > 2 * MAX_RETAINED_RECORDS and not self._is_member:
                raise StateError(
                    "the group has committed nothing for as long as this worker looks back",
                    where="group",
                    hint="its offsets are gone, or kafka.group is not that of this journal; a "
                    "worker that has newer snapshots can start",
                )
            if not self._owned:
                return Effects([], {})
        effects = self._engine.decider.decide(applied, self._owned)
        number = applied.plan.number
        self._emit(number, effects.outgoing)
        for table, rows in effects.rows.items():
            if self._group is not None or number > self._writer.version(table, SOLE):
                self._writer.add(table, rows)
        self.counts.add(effects.counts)
        return effects

    def flush(self) -> None:
        """Append the rows that wait, as of the engine's plan."""
        self.start_flush()
        self.end_flush()

    def start_flush(self) -> None:
        """Start to append the rows that wait; an append before it is confirmed first."""
        self.end_flush()
        self._writer.start(self._writers(), Stored(self._engine.plan, self._progress()))

    def confirm_flush(self) -> None:
        """Confirm an append that has finished meanwhile; never waits for one."""
        if self._writer.is_ready:
            self.end_flush()

    def end_flush(self) -> None:
        """Confirm the append under way; returns when none is left."""
        try:
            stored = self._writer.confirm()
        except Superseded:
            self._observer.rebalanced("lost", self.owned)
            self._release_all()
            return
        if stored is not None:
            self._note_stored(stored)

    def commit(self) -> bool:
        """Wait until everything sent is acknowledged, and commit the checkpoints.

        Returns False when another worker owns a partition now, so that nothing was committed.
        """
        try:
            self._retry(self._output.flush)
            if self._group is None:
                return True
            if not self._writer and not self._writer.is_appending:
                self._note_stored(Stored(self._engine.plan, self._progress()))
            self._commit_checkpoints(self._group)
        except Superseded:
            self._release_all()
            return False
        self._release_batches()
        return True

    def poll_group(self) -> None:
        """Poll the group: release revoked partitions, take over assigned ones."""
        if self._group is None or self._owned is None:
            return
        self._is_member = True
        assigned = self._group.poll(self._drain)
        self._assigned = frozenset(assigned)
        if self._has_lapsed or self._owned - assigned:
            self._observer.rebalanced("lost", self.owned)
            self._has_lapsed = False
            self._release_all()
        if self._must_abort:
            self._retry(self._output.abort)
            self._must_abort = False
        gained = assigned - self._owned
        if gained:
            before = self.owned
            self._take_over(self._group, gained)
            if taken := self.owned - before:
                self._observer.rebalanced("gained", taken)
                self._observer.owned(len(self._owned))

    def heartbeat(self) -> None:
        """Stay a member of the group while a retry waits; nothing can be drained now."""
        if self._group is not None and self._is_member:
            self._has_lapsed |= not self._assigned <= self._group.poll(lambda _: None)

    def start_without_history(self) -> None:
        """Start from a snapshot: the batches before the engine's positions are not retained."""
        self._retained.released.update(self._engine.positions)

    def remember(self, checkpoints: Mapping[TopicPartition, Checkpoint]) -> None:
        """Use a snapshot's checkpoints for partitions that the group has forgotten.

        Old checkpoints do no harm: what was sent since is seen on the log, what was stored is seen
        in the store.
        """
        self._remembered = dict(checkpoints)

    def refresh_checkpoints(self) -> Mapping[TopicPartition, Checkpoint]:
        """Read the committed checkpoints of all partitions that others own."""
        if self._group is not None:
            group = self._group
            theirs = self._retry(group.topic_partitions) - (self._owned or set())
            self._checkpoints.update(self._retry(lambda: group.checkpoints(theirs)))
        return self._checkpoints

    def _take_over(self, group: Group, gained: Set[TopicPartition]) -> None:
        assert self._owned is not None
        claims = self._engine.domain.claim.topic
        # the checkpoints first: reading them waits for a transaction that the owner before has open
        committed = self._retry(lambda: group.checkpoints(gained))
        checkpoints = {p: committed.get(p) or self._remembered.get(p) for p in sorted(gained)}
        # the owner before may have been ahead: its partitions wait until this worker has caught up
        ready = [
            each
            for each, checkpoint in checkpoints.items()
            if self._needed_plan(each, checkpoint) <= self._engine.plan
        ]
        tails = self._retry(lambda: group.tails([p for topic, p in ready if topic == claims]))
        for topic_partition in ready:
            # without a checkpoint nobody has decided on it yet, so every batch that has records of
            # it is still retained
            oldest = Checkpoint(stored=self._retained.first(self._engine.plan) - 1)
            checkpoint = checkpoints[topic_partition] or oldest
            self._checkpoints[topic_partition] = committed.get(topic_partition, Checkpoint())
            self._done[topic_partition] = checkpoint
            topic, partition = topic_partition
            tail = tails.get(partition) if topic == claims else None
            if topic == claims:
                self._engine.decider.chains[partition] = checkpoint.chain
            self._decide_again(topic_partition, checkpoint, tail)
            self._owned.add(topic_partition)

    def _needed_plan(self, topic_partition: TopicPartition, checkpoint: Checkpoint | None) -> int:
        """Return the last plan whose effects another worker has published for this partition; this
        worker must have applied it before it takes over."""
        stored = max(self._writer.version(table, writer_of(topic_partition)) for table in _TABLES)
        return max(stored, checkpoint.emitted if checkpoint is not None else 0)

    def _decide_again(
        self, topic_partition: TopicPartition, checkpoint: Checkpoint, tail: Tail | None
    ) -> None:
        """Decide on a partition's part of the batches that its checkpoint doesn't cover."""
        for applied in self._retained.after(topic_partition, checkpoint.stored, self._engine.plan):
            number = applied.plan.number
            effects = self._engine.decider.decide(applied, {topic_partition})
            for table, rows in effects.rows.items():
                if number > self._writer.version(table, writer_of(topic_partition)):
                    self._writer.add(table, rows)
            due = [each for each in effects.outgoing if _is_due(each, number, checkpoint, tail)]
            self._emit(number, due)
            if number > checkpoint.emitted:
                self.counts.add(effects.counts)

    def _drain(self, topic_partitions: Set[TopicPartition]) -> None:
        """Finish the work on revoked partitions; the next owner repeats what is left."""
        assert self._owned is not None
        self._observer.rebalanced("revoked", topic_partitions & self._owned)
        # one try each: the group waits for this worker, and a pause could make it lose everything
        retrying, self._retry = self._retry, lambda work: work()
        try:
            self.flush()
            self._observer.committed(self.commit())
        except ClaimtraceError as error:
            if not error.retryable:
                raise
            self._release_all()
        finally:
            self._retry = retrying
        self._owned -= topic_partitions
        self._observer.owned(len(self._owned))

    def _release_all(self) -> None:
        """Release all partitions; `poll_group` takes over again those that are still assigned."""
        assert self._owned is not None
        self._owned.clear()
        self._writer.drop()
        self._must_abort = True
        self._observer.owned(0)

    def _emit(self, number: int, outgoing: Sequence[Outgoing]) -> None:
        self._retry(lambda: self._output.emit(number, outgoing))

    def _commit_checkpoints(self, group: Group) -> None:
        if not self._owned:
            return
        plan = self._engine.plan
        checkpoints = {
            topic_partition: msgspec.structs.replace(self._done[topic_partition], emitted=plan)
            for topic_partition in self._owned
        }
        changed = any(self._checkpoints[each] != new for each, new in checkpoints.items())
        positions = {**self._engine.positions, JOURNAL: self._journal.bookmark(plan)}
        if changed and self._retry(lambda: self._commit_once(group, checkpoints, positions)):
            self._checkpoints.update(checkpoints)

    def _commit_once(
        self,
        group: Group,
        checkpoints: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        # the group checks that this worker is a member, not that the partitions are its own
        if self._has_lapsed:
            raise Superseded("a partition was given to another worker meanwhile", where="group")
        return group.commit(checkpoints, positions)

    def _progress(self) -> dict[TopicPartition, Checkpoint]:
        """Return the progress of the owned partitions when no row of theirs waits."""
        plan = self._engine.plan
        return {
            topic_partition: Checkpoint(0, plan, self._chain(topic_partition))
            for topic_partition in self._owned or ()
        }

    def _note_stored(self, stored: Stored) -> None:
        """Take over the plan and the checkpoints of a confirmed append."""
        self._stored = stored.plan
        for topic_partition, checkpoint in stored.checkpoints.items():
            if self._done[topic_partition].stored != checkpoint.stored:
                self._done[topic_partition] = checkpoint

    def _chain(self, topic_partition: TopicPartition) -> str:
        """Return the head of a partition's chain; only claims have decisions and so a chain."""
        if topic_partition[0] != self._engine.domain.claim.topic:
            return GENESIS
        return self._engine.decider.chains.get(topic_partition[1], GENESIS)

    def _release_batches(self) -> None:
        """Drop retained batches that the owners of all partitions have finished."""
        checkpoints = self.refresh_checkpoints()
        assert self._group is not None
        every = self._retry(self._group.topic_partitions) | self._engine.positions.keys()
        self._retained.release(min(checkpoints.get(each, Checkpoint()).stored for each in every))
        self._observer.retained(len(self._retained))

    def _writers(self) -> list[str]:
        if self._owned is None:
            return [SOLE]
        return [writer_of(topic_partition) for topic_partition in sorted(self._owned)]


def writer_of(topic_partition: TopicPartition) -> str:
    """Return the writer of rows under whose name the owner of a partition stores them."""
    return f"{SOLE}/{topic_partition[0]}/{topic_partition[1]}"


def _is_due(outgoing: Outgoing, number: int, checkpoint: Checkpoint, tail: Tail | None) -> bool:
    """Whether the owner before has not sent this record, as far as checkpoint and log show.

    Raises:
        StateError: the log has another decision on the same claim.
    """
    if outgoing.topic != DECISIONS_TOPIC or tail is None or outgoing.value is None:
        return number > checkpoint.emitted
    position = claim_position_of(outgoing.value).position
    if position == tail.position and chain_of(outgoing.value) != tail.chain:
        raise StateError(
            f"the decision on the claim at position {position} is not the one on the log",
            where=f"{DECISIONS_TOPIC}/{outgoing.partition}",
            hint="run claimtrace verify: definitions, models or the log are not the same",
        )
    # an open transaction hides records that others committed after it: the checkpoint knows these
    return number > checkpoint.emitted and position > tail.position
