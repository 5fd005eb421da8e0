"""Replay decisions and compare them byte for byte; check the chains link by link."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, chain_of, check_seal, claim_position_of
from claimtrace.events import Outgoing, Record

from ..engine.engine import Engine
from ..journal.plan import Plan
from ..journal.source import Source

_REPEATABLE: Final = 100_000
"""Number of the last decisions of a partition among which a repetition is recognised."""


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay.

    Of `decisions`, those of the plans and those on the log without a plan, `differ` have other
    bytes, are missing or have no plan; `first` describes the first of these.
    """

    plans: int
    records: int
    decisions: int
    differ: int
    first: str


@dataclass(frozen=True)
class ChainCheck:
    """The result of a check of the chains; `broken` names each decision whose link doesn't hold."""

    decisions: int
    broken: list[str]


def replay(
    engine: Engine,
    plans: Iterable[Plan],
    source: Source,
    decisions_of: Callable[[int], Iterator[Record]],
    progress: Callable[[int], None] = lambda _: None,
    emit: Callable[[int, Sequence[Outgoing]], None] | None = None,
    *,
    may_repeat: bool = False,
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
    """
    readers: dict[int, Iterator[Record]] = {}
    seen = records = decisions = differ = 0
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
            decisions += 1
            if outgoing.partition not in readers:
                found = decisions_of(outgoing.partition)
                readers[outgoing.partition] = without_repeats(found) if may_repeat else found
            # decisions of a partition are on the log in the order in which they are made here
            reader = readers[outgoing.partition]
            stored = next(reader, None)
            if stored is None or stored.value != outgoing.value:
                differ += 1
                where = f"{DECISIONS_TOPIC}/{outgoing.partition}"
                what = f" position {stored.position} differs" if stored else " ends too early"
                first = first or f"{where}{what} (plan {plan.number})"
        progress(len(batch))
    for partition, reader in sorted(readers.items()):
        extra = sum(1 for _ in reader)
        if extra:
            decisions += extra
            differ += extra
            first = first or f"{DECISIONS_TOPIC}/{partition} has {extra} that no plan explains"
    return ReplayResult(seen, records, decisions, differ, first)


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
    partitions: Mapping[int, Iterable[Record]], *, may_repeat: bool = False
) -> ChainCheck:
    """Check that no decision was edited, dropped, inserted or reordered on any partition.

    Args:
        partitions: the decisions of each partition from its beginning.
        may_repeat: the log may hold a decision twice with the same bytes (`without_repeats`).
    """
    decisions = 0
    broken: list[str] = []
    for partition, records in sorted(partitions.items()):
        before = GENESIS
        for record in without_repeats(records) if may_repeat else records:
            decisions += 1
            value = record.value or b""
            if not check_seal(value, before):
                broken.append(f"{DECISIONS_TOPIC}/{partition} position {record.position}")
            before = chain_of(value)  # also of a broken one, so that its successors are checked
    return ChainCheck(decisions, broken)
