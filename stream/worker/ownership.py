"""What a worker does for the places it owns: decide, emit, store rows, commit, take over.

    gained   read the mark that the owner before left and the tail of its decisions, decide again on
             the batches since (same bytes), send and store what is not there yet
    revoked  send, store and commit all that waits, then let go
    lost     let go: what was not committed is repeated by the next owner, with the same bytes

Without a group one worker owns everything from the start, and its sink knows each plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final, Protocol

import msgspec

from claimtrace.clock import Clock
from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, chain_of
from claimtrace.errors import ClaimtraceError, StateError, Superseded
from claimtrace.events import Outgoing
from featurestore.offline.tables import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES

from ..engine.applied_batch import AppliedBatch
from ..engine.effects import Counts, Effects
from ..engine.engine import Engine
from ..group.group import MAX_RETAINED_RECORDS, Checkpoint, Group, Retained, Tail
from ..journal.journal import Journal
from ..journal.plan import JOURNAL, TopicPartition
from .observer import WorkerObserver
from .offline_writer import Begin, OfflineWriter, Rows, Stored

SOLE: Final = "stream"
"""The writer of rows, as the offline store knows it, where one worker owns everything."""

_TABLES: Final = (EVENTS, DECISIONS, LABELS, PROFILES, DRIFT)


class Output(Protocol):
    """Where effects go."""

    def emit(self, plan: int, outgoing: Sequence[Outgoing]) -> None:
        """Send the records of a plan, in order; a plan that is there already may be left alone."""

    def settle(self) -> None:
        """Return when all that was emitted is acknowledged."""

    def give_up(self) -> None:
        """Take back what no commit has made visible yet, if that is possible."""


class _Placed(msgspec.Struct):
    """Of a decision, only where its claim stood."""

    position: int


_placed = msgspec.json.Decoder(_Placed)


class Ownership:
    """The places that this worker decides on, and what waits to be sent or stored for them."""

    def __init__(
        self,
        engine: Engine,
        sink: Output,
        rows: Rows,
        group: Group | None,
        journal: Journal,
        again: Callable[[Callable[[], Any]], Any],
        begin: Begin,
        clock: Clock,
        appended: Callable[[float], None],
    ) -> None:
        self._engine, self._sink, self._group = engine, sink, group
        self._journal, self._again = journal, again
        self._storing = OfflineWriter(rows, lambda work: self._again(work), begin, clock, appended)
        self._owned: set[TopicPartition] | None = None if group is None else set()
        self._marks: dict[TopicPartition, Checkpoint] = {}
        """As committed, by us or by others."""
        self._remembered: dict[TopicPartition, Checkpoint] = {}
        self._done: dict[TopicPartition, Checkpoint] = {}
        """How far the places that we own are, committed or not."""
        self._retained = Retained()
        self._stored = 0
        """The plan up to which no row of ours waits."""
        self._watching = WorkerObserver()
        self._takes_part = False
        self._held: frozenset[TopicPartition] = frozenset()
        """What was assigned to us when we last took part."""
        self._has_lapsed = False
        """Whether some of it was taken from us since, perhaps to come back."""
        self._is_giving_up = False
        """Whether what the sink holds back is to be taken back, as soon as it answers."""
        self.counts = Counts()

    def owns(self, topic_partition: TopicPartition) -> bool:
        """Whether this worker decides on a place."""
        return self._owned is None or topic_partition in self._owned

    @property
    def owned(self) -> Set[TopicPartition]:
        """The places that this worker decides on, as one of a group."""
        return frozenset(self._owned or ())

    def coming_marks(self) -> Mapping[TopicPartition, Checkpoint]:
        """How far places will be when all that we decided on so far is stored and committed."""
        plan = self._engine.plan
        ours = {
            topic_partition: Checkpoint(plan, plan, self._chain(topic_partition))
            for topic_partition in self._owned or ()
        }
        return {**self._marks, **ours}

    def is_stored(self, plan: int, topic_partitions: Set[TopicPartition]) -> bool:
        """Whether the rows of some places' batches up to a plan are stored, and the group knows.

        Without a group the places don't matter: all are ours.
        """
        if self._owned is None:
            return self._stored >= plan
        return all(
            self._marks.get(topic_partition, Checkpoint()).stored >= plan
            for topic_partition in topic_partitions
        )

    @property
    def is_ahead(self) -> bool:
        """Whether others have so much left to commit that this worker must wait for them."""
        return self._retained.records > MAX_RETAINED_RECORDS

    @property
    def was_superseded(self) -> bool:
        """Whether this worker let go of what it had, and must look again at what is still its."""
        return self._is_giving_up

    @property
    def has_rows(self) -> bool:
        """Whether rows wait to be stored."""
        return bool(self._storing)

    @property
    def is_appending(self) -> bool:
        """Whether an append was begun and not seen through."""
        return self._storing.is_under_way

    def take(self, applied: AppliedBatch) -> Effects:
        """Decide on what is ours of a batch, send it, and keep its rows."""
        if self._owned is not None:
            self._retained.keep(applied)
            if self._retained.records > 2 * MAX_RETAINED_RECORDS and not self._takes_part:
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
            if self._group is not None or number > self._storing.version(table, SOLE):
                self._storing.add(table, rows)
        self.counts.add(effects.counts)
        return effects

    def flush(self) -> None:
        """Append the rows that wait, as of the engine's plan."""
        self.begin_flush()
        self.end_flush()

    def begin_flush(self) -> None:
        """Begin to append the rows that wait, as of the engine's plan; an append that is still
        under way is seen through first."""
        self.end_flush()
        self._storing.begin(self._writers(), Stored(self._engine.plan, self._reached()))

    def tend(self) -> None:
        """See an append through that has come to its end meanwhile."""
        if self._storing.is_ready:
            self.end_flush()

    def end_flush(self) -> None:
        """Return when no append is under way."""
        try:
            stored = self._storing.end()
        except Superseded:
            self._watching.rebalanced("lost")
            self._let_go()
            return
        if stored is not None:
            self._note_stored(stored)

    def commit(self) -> bool:
        """Have all that was sent acknowledged, and say how far we came; False when it is not ours
        to say any more."""
        try:
            self._again(self._sink.settle)
            if self._group is None:
                return True
            if not self._storing and not self._storing.is_under_way:
                self._note_stored(Stored(self._engine.plan, self._reached()))
            self._commit_marks(self._group)
        except Superseded:
            self._let_go()
            return False
        self._release()
        return True

    def take_part(self, watching: WorkerObserver) -> None:
        """Serve the group: let go of what others get, take over what we get."""
        if self._group is None or self._owned is None:
            return
        self._watching, self._takes_part = watching, True
        assigned = self._group.poll(self._drain)
        self._held = frozenset(assigned)
        if self._has_lapsed or self._owned - assigned:
            watching.rebalanced("lost")
            self._has_lapsed = False
            self._let_go()
        if self._is_giving_up:
            self._again(self._sink.give_up)
            self._is_giving_up = False
        gained = assigned - self._owned
        if gained:
            before = len(self._owned)
            self._take_over(self._group, gained)
            if len(self._owned) > before:
                watching.rebalanced("gained")
                watching.owned(len(self._owned))

    def stay(self) -> None:
        """Stay in the group while something else is waited for; nothing can be finished now."""
        if self._group is not None and self._takes_part:
            self._has_lapsed |= not self._held <= self._group.poll(lambda _: None)

    def start(self) -> None:
        """Begin with the engine's state: the batches before it are not here."""
        self._retained.gone.update(self._engine.positions)

    def remember(self, marks: Mapping[TopicPartition, Checkpoint]) -> None:
        """How far places were when a snapshot was taken, should the group have forgotten it.

        Old marks do no harm: what was sent since is seen on the log, what was stored in the store.
        """
        self._remembered = dict(marks)

    def learn_marks(self) -> Mapping[TopicPartition, Checkpoint]:
        """How far every place is done, from the group."""
        if self._group is not None:
            group = self._group
            topic_partitions = self._again(group.topic_partitions) - (self._owned or set())
            self._marks.update(self._again(lambda: group.marks(topic_partitions)))
        return self._marks

    def _take_over(self, group: Group, gained: Set[TopicPartition]) -> None:
        assert self._owned is not None
        claims = self._engine.domain.claim.topic
        # the marks first: reading them waits for a transaction that the owner before has open
        committed = self._again(lambda: group.marks(gained))
        marks = {p: committed.get(p) or self._remembered.get(p) for p in sorted(gained)}
        # an owner before who was ahead of us: not before we have caught up
        needed = {
            topic_partition: self._needed(topic_partition, mark)
            for topic_partition, mark in marks.items()
        }
        ready = [
            topic_partition
            for topic_partition, number in needed.items()
            if number <= self._engine.plan
        ]
        tails = self._again(lambda: group.tails([p for topic, p in ready if topic == claims]))
        for topic_partition in ready:
            # without a mark nobody has decided on it yet, and no batch that it is in was let go
            mark = marks[topic_partition] or Checkpoint(
                stored=self._retained.first(self._engine.plan) - 1
            )
            self._marks[topic_partition], self._done[topic_partition] = (
                committed.get(topic_partition, Checkpoint()),
                mark,
            )
            tail = tails.get(topic_partition[1]) if topic_partition[0] == claims else None
            if topic_partition[0] == claims:
                self._engine.decider.chains[topic_partition[1]] = mark.chain
            self._decide_again(topic_partition, mark, tail)
            self._owned.add(topic_partition)

    def _needed(self, topic_partition: TopicPartition, mark: Checkpoint | None) -> int:
        """The plan that we must have applied: others have sent or stored so far for a place."""
        stored = max(self._storing.version(table, _writer(topic_partition)) for table in _TABLES)
        return max(stored, mark.emitted if mark is not None else 0)

    def _decide_again(
        self, topic_partition: TopicPartition, mark: Checkpoint, tail: Tail | None
    ) -> None:
        """Decide on a place's part of the batches that its mark doesn't cover."""
        for applied in self._retained.after(topic_partition, mark.stored, self._engine.plan):
            number = applied.plan.number
            effects = self._engine.decider.decide(applied, {topic_partition})
            for table, rows in effects.rows.items():
                if number > self._storing.version(table, _writer(topic_partition)):
                    self._storing.add(table, rows)
            due = [each for each in effects.outgoing if _is_due(each, number, mark, tail)]
            self._emit(number, due)
            if number > mark.emitted:
                self.counts.add(effects.counts)

    def _drain(self, topic_partitions: Set[TopicPartition]) -> None:
        """Finish what is ours before it goes; what can't be finished now the next owner repeats."""
        assert self._owned is not None
        self._watching.rebalanced("revoked")
        retrying, self._again = self._again, lambda work: work()
        try:
            self.flush()
            self._watching.committed(self.commit())
        except ClaimtraceError as error:
            if not error.retryable:
                raise
            self._let_go()
        finally:
            self._again = retrying
        self._owned -= topic_partitions
        self._watching.owned(len(self._owned))

    def _let_go(self) -> None:
        """Own nothing, for now: `take_part` takes over again what is still ours."""
        assert self._owned is not None
        self._owned.clear()
        self._storing.drop()
        self._is_giving_up = True
        self._watching.owned(0)

    def _emit(self, number: int, outgoing: Sequence[Outgoing]) -> None:
        self._again(lambda: self._sink.emit(number, outgoing))

    def _commit_marks(self, group: Group) -> None:
        if not self._owned:
            return
        plan = self._engine.plan
        marks = {
            topic_partition: msgspec.structs.replace(self._done[topic_partition], emitted=plan)
            for topic_partition in self._owned
        }
        changed = any(
            self._marks[topic_partition] != mark for topic_partition, mark in marks.items()
        )
        positions = {**self._engine.positions, JOURNAL: self._journal.bookmark(plan)}
        if changed and self._again(lambda: self._tell(group, marks, positions)):
            self._marks.update(marks)

    def _tell(
        self,
        group: Group,
        marks: Mapping[TopicPartition, Checkpoint],
        positions: Mapping[TopicPartition, int],
    ) -> bool:
        # the group asks whether we are a member, not whether the places are ours
        if self._has_lapsed:
            raise Superseded("a place was given to another worker meanwhile", where="group")
        return group.commit(marks, positions)

    def _reached(self) -> dict[TopicPartition, Checkpoint]:
        """How far the places that we own are when no row of theirs waits."""
        plan = self._engine.plan
        return {
            topic_partition: Checkpoint(0, plan, self._chain(topic_partition))
            for topic_partition in self._owned or ()
        }

    def _note_stored(self, stored: Stored) -> None:
        """The rows up to a plan are stored, and places that we own are at these marks."""
        self._stored = stored.plan
        for topic_partition, mark in stored.marks.items():
            if self._done[topic_partition].stored != mark.stored:
                self._done[topic_partition] = mark

    def _chain(self, topic_partition: TopicPartition) -> str:
        """The head of a place's chain; only claims are decided on."""
        if topic_partition[0] != self._engine.domain.claim.topic:
            return GENESIS
        return self._engine.decider.chains.get(topic_partition[1], GENESIS)

    def _release(self) -> None:
        """Let go of batches that every place's owner has finished."""
        marks = self.learn_marks()
        assert self._group is not None
        topic_partitions = self._again(self._group.topic_partitions) | self._engine.positions.keys()
        self._retained.release(
            min(
                marks.get(topic_partition, Checkpoint()).stored
                for topic_partition in topic_partitions
            )
        )
        self._watching.retained(len(self._retained))

    def _writers(self) -> list[str]:
        return (
            [SOLE]
            if self._owned is None
            else [_writer(topic_partition) for topic_partition in sorted(self._owned)]
        )


def _writer(topic_partition: TopicPartition) -> str:
    return f"{SOLE}/{topic_partition[0]}/{topic_partition[1]}"


def _is_due(outgoing: Outgoing, number: int, mark: Checkpoint, tail: Tail | None) -> bool:
    """Whether the owner before didn't send it, as far as the log shows."""
    if outgoing.topic != DECISIONS_TOPIC or tail is None or outgoing.value is None:
        return number > mark.emitted
    position = _placed.decode(outgoing.value).position
    if position == tail.position and chain_of(outgoing.value) != tail.chain:
        raise StateError(
            f"the decision on the claim at position {position} is not the one on the log",
            where=f"{DECISIONS_TOPIC}/{outgoing.partition}",
            hint="run claimtrace verify: definitions, models or the log are not the same",
        )
    # a transaction that was left open hides what others have committed behind it: the mark knows
    return number > mark.emitted and position > tail.position
