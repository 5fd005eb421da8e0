"""Replay decisions and compare them byte for byte; check the chains link by link."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, chain_of, check_seal, claim_position_of
from claimtrace.events import Outgoing, Record

from ..engine.engine import Engine
from ..journal.plan import Plan
from ..journal.source import Source
from .coverage import Covered, DecisionsEnd, PartitionProof, Walk, head_of, until

_REPEATABLE: Final = 100_000
"""Number of the last decisions of a partition among which a repetition is recognised."""


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay.

    Of `decisions`, those of the plans and those on the log without a plan, `differ` have other
    bytes, are missing or have no plan; `first` describes the first of these. `later` decisions were
    made after the end that the replay was bounded by. `partitions` and `head` say what was met on
    the log; `covered` and `problems` come from other places that it was compared with.
    """

    plans: int
    records: int
    decisions: int
    differ: int
    first: str
    later: int = 0
    partitions: list[PartitionProof] = field(default_factory=list)
    head: str = ""
    covered: list[Covered] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ChainCheck:
    """The result of a check of the chains; `broken` names each decision whose link doesn't hold.

    The other fields are those of `ReplayResult`.
    """

    decisions: int
    broken: list[str]
    partitions: list[PartitionProof] = field(default_factory=list)
    head: str = ""
    covered: list[Covered] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Stored:
    """The decisions on the log, read beside a replay."""

    def __init__(
        self,
        decisions_of: Callable[[int], Iterator[Record]],
        ends: Mapping[int, DecisionsEnd],
        walk: Walk,
        *,
        may_repeat: bool,
    ) -> None:
        self._decisions_of, self._ends, self._walk = decisions_of, ends, walk
        self._may_repeat = may_repeat
        self._readers: dict[int, Iterator[Record]] = {}

    def reader(self, partition: int) -> Iterator[Record]:
        """Return the reader of a partition: its decisions up to its end, in order."""
        if partition not in self._readers:
            found = until(self._decisions_of(partition), self._ends.get(partition))
            once = without_repeats(found) if self._may_repeat else found
            self._readers[partition] = self._walk.over(partition, once)
        return self._readers[partition]

    def is_later(self, partition: int, plan: int) -> bool:
        """Whether a decision of a plan that isn't found was made after the end."""
        end = self._ends.get(partition)
        return end is not None and plan > end.plan

    def left(self) -> Iterator[tuple[int, int]]:
        """Yield each partition with decisions that the replay didn't make, and how many."""
        for partition in sorted({*self._readers, *self._ends}):
            if extra := sum(1 for _ in self.reader(partition)):
                yield partition, extra


def replay(
    engine: Engine,
    plans: Iterable[Plan],
    source: Source,
    decisions_of: Callable[[int], Iterator[Record]],
    progress: Callable[[int], None] = lambda _: None,
    emit: Callable[[int, Sequence[Outgoing]], None] | None = None,
    *,
    may_repeat: bool = False,
    ends: Mapping[int, DecisionsEnd] | None = None,
    walk: Walk | None = None,
) -> ReplayResult:
    """Run the plans on a fresh engine and compare every decision with the one on the log.

    Args:
        engine: without any state.
        plans: the whole journal, or its beginning.
        source: the input log.
        decisions_of: reads the decisions of a partition from its beginning.
        progress: called with the number of records of each plan.
        emit: called with the number and the outgoing records of each plan, to write a copy.
        may_repeat: the log may hold a decision twice with the same bytes (`without_repeats`).
        ends: the ends of all partitions, read before `plans` were; a worker may be at work. None:
            nobody is at work, and partitions without a planned decision aren't read.
        walk: notes what is met on the log.
    """
    walk = walk or Walk()
    stored = _Stored(decisions_of, ends or {}, walk, may_repeat=may_repeat)
    seen = records = decisions = differ = later = 0
    first = ""
    for plan in plans:
        source.order_topics(engine.tie_order)
        batch = source.fetch(plan.ranges)
        effects = engine.step(plan, batch)
        if emit is not None:
            emit(plan.number, effects.outgoing)
        seen += 1
        records += len(batch)
        for outgoing in effects.outgoing:
            if outgoing.topic != DECISIONS_TOPIC:
                continue
            # decisions of a partition are on the log in the order in which they are made here
            found = next(stored.reader(outgoing.partition), None)
            if found is None and stored.is_later(outgoing.partition, plan.number):
                later += 1
                continue
            decisions += 1
            if found is None or found.value != outgoing.value:
                differ += 1
                where = f"{DECISIONS_TOPIC}/{outgoing.partition}"
                what = f" position {found.position} differs" if found else " ends too early"
                first = first or f"{where}{what} (plan {plan.number})"
        progress(len(batch))
    for partition, extra in stored.left():
        decisions += extra
        differ += extra
        first = first or f"{DECISIONS_TOPIC}/{partition} has {extra} that no plan explains"
    partitions = walk.partitions
    return ReplayResult(
        seen, records, decisions, differ, first, later, partitions, head_of(partitions)
    )


def without_repeats(records: Iterable[Record]) -> Iterator[Record]:
    """Skip decisions that repeat an earlier one of the same position with the same bytes.

    On a log without transactions, a worker that was replaced may have sent its last decisions once
    more, after those of the next owner. Other bytes for the same claim are no repetition.
    """
    sent: dict[int, bytes] = {}
    for record in records:
        value = record.value or b""
        try:
            position = claim_position_of(value).position
        except msgspec.DecodeError:
            yield record
            continue
        proof = hashlib.sha256(value).digest()
        if sent.get(position) == proof:
            continue
        sent[position] = proof
        if len(sent) > 2 * _REPEATABLE:  # halved now and then; a dict keeps its order
            sent = dict(list(sent.items())[-_REPEATABLE:])
        yield record


def check_chains(
    partitions: Mapping[int, Iterable[Record]],
    *,
    may_repeat: bool = False,
    walk: Walk | None = None,
) -> ChainCheck:
    """Check that no decision was edited, dropped, inserted or reordered on any partition.

    Args:
        partitions: the decisions of each partition from its beginning.
        may_repeat: the log may hold a decision twice with the same bytes (`without_repeats`).
        walk: notes what is met on the log.
    """
    walk = walk or Walk()
    decisions = 0
    broken: list[str] = []
    for partition, records in sorted(partitions.items()):
        before = GENESIS
        once = without_repeats(records) if may_repeat else records
        for record in walk.over(partition, once):
            decisions += 1
            value = record.value or b""
            if not check_seal(value, before):
                broken.append(f"{DECISIONS_TOPIC}/{partition} position {record.position}")
            before = chain_of(value)  # also of a broken one, so that its successors are checked
    return ChainCheck(decisions, broken, walk.partitions, head_of(walk.partitions))
