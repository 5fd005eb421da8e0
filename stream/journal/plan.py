"""A plan: the contents of a batch, written to the journal before any state changes.

A plan names its records by position, and the model that scores them.
A decision is a pure function of the log, the journal, the definitions and the models; so a crash at
any point is repaired by running the same plan again.

A plan names the roll-out in force, too: whoever applies it takes the roll-out from there, never
from the settings or the registry's log.

A plan without records can begin an edition (`claimtrace.editions`); it is written in a frame
(`edition_frame`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from claimtrace.batches.records import Records
from claimtrace.batches.records import TopicPartition as TopicPartition
from claimtrace.decisions import JOURNAL_TOPIC, ModelRef, RolloutRef
from claimtrace.events import Record

from .edition_frame import framed, unframed

JOURNAL: TopicPartition = (JOURNAL_TOPIC, 0)
"""The topic-partition whose owner writes plans; drift records and alerts belong to that owner."""


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Records `[from_position, to_position)` of one partition.

    `at` locates the first record on a log that doesn't find its records by position.
    """

    topic: str
    partition: int
    from_position: int
    to_position: int
    at: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A journalled batch. Its records are applied in the order of `in_plan_order`.

    `now_ms` is for people only: no decision depends on it. `unknown_schemas` are schema ids that
    the schema registry didn't know: a replay refuses them too, whatever the registry knows by then.
    `edition` is the edition that begins with this plan; 0: the one in force goes on. `rollout` is
    the roll-out in force, whose champion is `model`; None: the champion decides alone. `texts` are
    those of definitions and rules by digest, packed (`kept_texts`), for journals whose terms lack
    them; nothing depends on them.
    """

    number: int
    ranges: list[Range]
    model: ModelRef | None
    now_ms: int
    unknown_schemas: list[int] = []
    edition: int = 0
    rollout: RolloutRef | None = None
    texts: dict[str, str] = {}


_encode: Final = msgspec.json.Encoder().encode
_plans: Final = msgspec.json.Decoder(Plan)


def encoded_plan(plan: Plan) -> bytes:
    """Encode a plan for a journal; the inverse of `plan_in`."""
    if not plan.edition:
        return _encode(plan)
    return framed("plan", msgspec.structs.replace(plan, edition=0), plan.edition)


def plan_in(written: bytes | str, where: str) -> Plan:
    """Decode a plan from a journal.

    Raises:
        msgspec.DecodeError: this is no plan.
        StateError: it begins an edition that this version doesn't know.
    """
    edition, inside = unframed(written.encode() if isinstance(written, str) else written, where)
    plan = _plans.decode(inside)
    return msgspec.structs.replace(plan, edition=edition) if edition else plan


def plan_of(
    number: int,
    records: Sequence[Record],
    model: ModelRef | None,
    now_ms: int,
    unknown_schemas: Sequence[int] = (),
    rollout: RolloutRef | None = None,
) -> Plan:
    """Return the plan for a batch of records that are consecutive on each partition.

    >>> records = [Record("a", 0, 5, None, b"", 0), Record("b", 1, 0, None, b"", 1),
    ...            Record("a", 0, 6, None, b"", 2)]
    >>> for span in plan_of(1, records, None, 0).ranges:
    ...     print(span.topic, span.partition, span.from_position, span.to_position)
    a 0 5 7
    b 1 0 1
    """
    columns = Records.of(records)
    ranges = []
    for i, topic_partition in sorted(enumerate(columns.topic_partitions), key=lambda each: each[1]):
        positions = columns.positions[columns.parts == i]
        if positions.size:
            ranges.append(Range(*topic_partition, int(positions.min()), int(positions.max()) + 1))
    return Plan(
        number=number,
        ranges=ranges,
        model=model,
        now_ms=now_ms,
        unknown_schemas=list(unknown_schemas),
        rollout=rollout,
    )


def in_plan_order(records: Iterable[Record], topics: Sequence[str]) -> Records:
    """Return the records of a plan in the order in which they are applied.

    The partition whose next record has the earliest log time goes next; among equal log times the
    order of `topics` decides, then the partition. Log times may run backwards inside a partition,
    positions never do: a record behind a later one counts as late as that one (see
    `claimtrace.adapters.embedded_log.merge`, which gives new batches the same order).

    >>> records = [Record("a", 0, 5, None, b"", 9), Record("a", 0, 6, None, b"", 1),
    ...            Record("a", 1, 0, None, b"", 4)]
    >>> [(r.partition, r.position) for r in in_plan_order(records, ["a"])]
    [(1, 0), (0, 5), (0, 6)]
    """
    columns = Records.of(records)
    rank = {topic: i for i, topic in enumerate(topics)}
    at_ms = columns.log_times_ms.copy()
    for i in range(len(columns.topic_partitions)):
        rows = np.flatnonzero(columns.parts == i)
        rows = rows[np.argsort(columns.positions[rows], kind="stable")]
        # the running maximum keeps a partition in order of position when its log times run back
        at_ms[rows] = np.maximum.accumulate(at_ms[rows])
    ranks = np.array([rank[topic] for topic, _ in columns.topic_partitions], np.int64)
    numbers = np.array([partition for _, partition in columns.topic_partitions], np.int64)
    parts = columns.parts
    # the last key of lexsort is the primary one
    order = np.lexsort((columns.positions, numbers[parts], ranks[parts], at_ms))
    return columns.take(order)
