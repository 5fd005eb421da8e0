"""The coverage of a proof: a part of the log, and the second places that it was compared with.

A proof over nothing proves nothing, and a chain without its newest links still holds. So each proof
says from where to where it went, and compares the heads that it found with those that other places
hold: notes and snapshots of the state, the offline store, the approvals log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

import msgspec

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, chain_of
from claimtrace.errors import UsageError
from claimtrace.events import Record

EVERY_PLAN: Final = 2**53
"""The plan of an end that nothing may be missing before: no worker is at work."""


class Covered(msgspec.Struct, frozen=True):
    """Whether a part was compared, and what was found; a part may be absent from a copy."""

    part: str
    covered: bool
    found: str


class DecisionsEnd(NamedTuple):
    """The end of a partition's decisions as of the start of a proof.

    Decisions from `position` on are not compared; those of all plans up to `plan` are before it.
    """

    position: int
    plan: int


class Head(NamedTuple):
    """The chain of a decision that another place names: the log must have it.

    `where` names the place. The rows of all decisions up to it are in the offline store.
    """

    where: str
    partition: int
    chain: str


class StoredDecisions(NamedTuple):
    """The rows of a partition in the offline store, and the chain of the newest one."""

    partition: int
    rows: int
    chain: str


class PartitionProof(msgspec.Struct, frozen=True):
    """The decisions of one partition that a proof met: how many, from where to where, the head."""

    partition: int
    decisions: int
    from_position: int
    to_position: int
    from_ms: int
    to_ms: int
    head: str


class Walk:
    """Counts the decisions that a proof meets, and finds the chains that other places name.

    Args:
        wanted: the chains to find.
    """

    def __init__(self, wanted: Collection[str] = ()) -> None:
        self._wanted = frozenset(wanted)
        self._met: dict[tuple[int, str], int] = {}
        self._partitions: dict[int, PartitionProof] = {}

    def over(self, partition: int, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the decisions of a partition, from its beginning, and note them."""
        count, first, last = 0, None, None
        try:
            for record in records:
                count += 1
                first, last = first or record, record
                chain = chain_of(record.value or b"")
                if chain in self._wanted:
                    self._met.setdefault((partition, chain), count)
                yield record
        finally:
            if first is not None and last is not None:
                self._partitions[partition] = PartitionProof(
                    partition, count, first.position, last.position, first.log_time_ms,
                    last.log_time_ms, chain_of(last.value or b""),
                )  # fmt: skip

    @property
    def partitions(self) -> list[PartitionProof]:
        """The decisions that were met, by partition; partitions without any are left out."""
        return [proof for _, proof in sorted(self._partitions.items())]

    def place(self, partition: int, chain: str) -> int | None:
        """Return how many decisions a partition has up to a wanted chain; None if it isn't met."""
        return 0 if chain == GENESIS else self._met.get((partition, chain))


def head_of(partitions: Sequence[PartitionProof]) -> str:
    """Return one digest over the heads of all partitions.

    >>> head_of([])[:8], head_of([PartitionProof(0, 1, 0, 0, 0, 0, "ab")])[:8]
    ('e3b0c442', '260e1d90')
    """
    text = "".join(f"{each.partition} {each.decisions} {each.head}\n" for each in partitions)
    return hashlib.sha256(text.encode()).hexdigest()


def until(records: Iterable[Record], end: DecisionsEnd | None) -> Iterator[Record]:
    """Yield the records before an end; all of them without one."""
    if end is None:
        return iter(records)
    return takewhile(lambda record: record.position < end.position, records)


def head_problems(walk: Walk, heads: Iterable[Head]) -> list[str]:
    """Return a line for each head that the log should have, and hasn't."""
    return [
        f"{DECISIONS_TOPIC}/{head.partition}: the decision that {head.where} names is not on the "
        "log: the newest decisions were dropped or replaced"
        for head in heads
        if walk.place(head.partition, head.chain) is None
    ]


def offline_problems(
    walk: Walk, stored: Sequence[StoredDecisions], heads: Iterable[Head]
) -> list[str]:
    """Return a line for each partition whose rows in the offline store are not those of the log."""
    problems: dict[int, str] = {}
    reached: dict[int, int] = {}
    for partition, rows, chain in stored:
        place = walk.place(partition, chain)
        topic = f"{DECISIONS_TOPIC}/{partition}"
        if place is None:
            problems[partition] = f"the newest row of {topic} is of no decision on the log"
        elif place != rows:
            problems[partition] = f"{rows:,} rows for {place:,} decisions of {topic}"
        reached[partition] = place or 0
    for partition, count in _furthest(walk, heads).items():
        left = count - reached.get(partition, 0)
        if left > 0 and partition not in problems:
            head = f"{DECISIONS_TOPIC}/{partition}"
            problems[partition] = f"the rows end {left:,} decisions before the head of {head}"
    return [f"offline: {line}" for _, line in sorted(problems.items())]


def _furthest(walk: Walk, heads: Iterable[Head]) -> Mapping[int, int]:
    """Return how many decisions of each partition its furthest head covers."""
    counts: dict[int, int] = {}
    for head in heads:
        place = walk.place(head.partition, head.chain) or 0
        counts[head.partition] = max(counts.get(head.partition, 0), place)
    return counts


def required_parts(words: str, known: Sequence[str]) -> list[str]:
    """Return the parts that an option names, with commas between them.

    Raises:
        UsageError: there is no such part.

    >>> required_parts("offline, approvals", ["offline", "approvals"])
    ['offline', 'approvals']
    """
    parts = [part.strip() for part in words.split(",") if part.strip()]
    for part in parts:
        if part not in known:
            raise UsageError(
                f"there is no part {part!r}", where="--require", hint=f"name of {', '.join(known)}"
            )
    return parts


def missing_parts(covered: Iterable[Covered], required: Collection[str]) -> list[str]:
    """Return the required parts that a proof didn't cover."""
    parts = {each.part for each in covered if each.covered}
    return [part for part in required if part not in parts]
