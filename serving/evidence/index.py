"""The index from entities to the records about them, in the order in which they were applied.

    plans + their records -> order -> columns -> which were new, what held the watermark

A record's place in this order is its *row*. Only accepted records have one. Columns grow in bulk,
plan by plan; nothing here knows where they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.records import Records
from claimtrace.buffers.siphash import Key
from featurestore.state.event_ledger import NEW, EventLedger
from stream.engine.engine import Engine
from stream.journal.plan import Plan

from .record_columns import WIDTHS, Columns, columns_of, hash_texts, slots_of

CHUNK_RECORDS: Final = 100_000
"""Records that are read and hashed at once."""

ADMITTED: Final = {"statuses": np.int8, "watermarks": np.int64, "holders": np.int32,
                   "claim_holders": np.int32}  # fmt: skip
"""Columns that the admission adds: NEW or not, the watermark of the record's own topic behind it,
and the rows that hold that watermark and the one of the claims; -1: none does."""

NO_ROW: Final = -1


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Records that neither the offline store nor the log had when they were indexed."""

    topic: str
    partition: int
    from_position: int
    to_position: int
    plan: int


class Read(NamedTuple):
    """The records of some plans in any order, and those that nobody has any more."""

    records: Records
    gaps: list[Gap]


ReadPlans = Callable[[Sequence[Plan]], Read]


class EvidenceIndex:
    """The rows of all plans up to `plan`.

    Args:
        engine: makes columns of records; its state stays empty.
        key: the secret key of the hashes.
        remember_ms: how long event ids are known, as in the journal's terms.
    """

    def __init__(self, engine: Engine, key: Key, remember_ms: int) -> None:
        self.engine, self.key = engine, key
        self.domain = engine.domain
        self.plan = 0
        """The last plan that is indexed."""
        self.edition = engine.edition
        self.gaps: list[Gap] = []
        self.topics = [kind.topic for kind in self.domain.events]
        self.ledgers = {topic: EventLedger(key, 0, remember_ms) for topic in self.topics}
        slots = len(slots_of(self.domain))
        self.columns: Columns = {name: np.zeros(0, kind) for name, kind in WIDTHS.items()}
        self.columns["keys"] = np.zeros((slots, 0), np.uint64)
        self.columns.update({name: np.zeros(0, kind) for name, kind in ADMITTED.items()})
        self.holders: dict[str, int] = dict.fromkeys(self.topics, NO_ROW)

    def __len__(self) -> int:
        return len(self.columns["kinds"])

    def extend(
        self,
        plans: Iterable[Plan],
        read: ReadPlans,
        advance: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Index the plans behind `plan`; returns how many records were added.

        Args:
            plans: the journal from the plan behind `plan` on.
            read: gets the records of plans.
            advance: called with the number of records of each chunk.
        """
        before, found = len(self), [self.columns]
        for chunk in _chunks(plans):
            part = self._chunk(chunk, read(chunk), sum(len(c["kinds"]) for c in found))
            found.append(part)
            advance(sum(span.to_position - span.from_position
                        for plan in chunk for span in plan.ranges))  # fmt: skip
            self.plan = chunk[-1].number
        if len(found) > 1:
            self.columns = _joined(found)
        return len(self) - before

    def find(self, claim_id: str, below: int | None = None) -> int:
        """Return the newest row of a claim among the first `below` rows; `NO_ROW`: none."""
        wanted = hash_texts([claim_id], self.key)[0]
        is_it = (self.columns["ids"] == wanted) & (self.columns["kinds"] == 0)
        rows = np.flatnonzero(is_it & (self.columns["statuses"] == NEW))
        if below is not None:
            rows = rows[rows < below]
        return int(rows[-1]) if rows.size else NO_ROW

    def rows_until_plan(self, number: int) -> int:
        """Return how many rows the plans up to `number` have."""
        return int(np.searchsorted(self.columns["plans"], number, side="right"))

    def rows_until(self, known_ms: int) -> int:
        """Return how many rows stand before the first record that arrived after a time."""
        times = self.columns["log_times"]
        later = np.flatnonzero(times > known_ms)
        return int(later[0]) if later.size else len(self)

    def decisions_before(self, row: int) -> int:
        """Return how many claims of the same partition were decided before a claim."""
        columns = self.columns
        same = columns["partitions"][:row] == columns["partitions"][row]
        is_decided = (columns["kinds"][:row] == 0) & (columns["statuses"][:row] == NEW)
        return int(np.count_nonzero(same & is_decided))

    def _chunk(self, plans: Sequence[Plan], read: Read, first: int) -> Columns:
        """Return the columns of some plans; `first` is the row of their first record."""
        self.gaps += read.gaps
        records, numbers = self._in_order(plans, read.records)
        parts, start = [], 0
        for unknown, edition, run in _runs(plans, self.edition):
            end = int(np.searchsorted(numbers, run[-1].number, side="right"))
            if edition != self.engine.edition:
                self.engine.begin(edition)
            self.edition = edition
            rows = np.arange(start, end)
            if rows.size:
                parts.append(
                    columns_of(self.engine, self.key, records.take(rows), numbers[rows], unknown)
                )
            start = end
        if not parts:
            return {name: column[..., :0] for name, column in self.columns.items()}
        found = _joined(parts)
        found.update(self._admit(found, first))
        return found

    def _in_order(
        self, plans: Sequence[Plan], records: Records
    ) -> tuple[Records, NDArray[np.int64]]:
        """Return the records in the order of application, and the plan of each; others are left.

        The order inside a plan is that of `stream.journal.plan.in_plan_order`.
        """
        plan_of = np.full(len(records), 0, np.int64)
        at_ms = records.log_times_ms.copy()
        ranks = np.zeros(len(records), np.int64)
        edition = self.edition
        ranges: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
        rank_of: dict[int, dict[str, int]] = {}
        for plan in plans:
            edition = plan.edition or edition
            if edition not in rank_of:
                topics = self.domain.tie_order(edition)
                rank_of[edition] = {topic: i for i, topic in enumerate(topics)}
            for span in plan.ranges:
                ranges.setdefault((span.topic, span.partition), []).append(
                    (span.from_position, plan.number, rank_of[edition][span.topic])
                )
        for i, topic_partition in enumerate(records.topic_partitions):
            rows = np.flatnonzero(records.parts == i)
            if not rows.size or topic_partition not in ranges:
                continue
            rows = rows[np.argsort(records.positions[rows], kind="stable")]
            starts, plan_numbers, places = map(np.array, zip(*ranges[topic_partition], strict=True))
            at = np.searchsorted(starts, records.positions[rows], side="right") - 1
            plan_of[rows], ranks[rows] = plan_numbers[at], places[at]
            for group in np.split(rows, np.flatnonzero(np.diff(at)) + 1):
                at_ms[group] = np.maximum.accumulate(at_ms[group])
        partitions = records.partitions()
        rows = np.lexsort((records.positions, partitions, ranks, at_ms, plan_of))
        rows = rows[plan_of[rows] > 0]
        return records.take(rows), plan_of[rows]

    def _admit(self, found: Columns, first: int) -> Columns:
        """Return the columns of `ADMITTED` for records that come next."""
        count = len(found["kinds"])
        added: Columns = {name: np.zeros(count, kind) for name, kind in ADMITTED.items()}
        for number, topic in enumerate(self.topics):
            rows = np.flatnonzero(found["kinds"] == number)
            before = self.holders[topic]
            holders = np.full(count, before, np.int64)
            if rows.size:
                ledger = self.ledgers[topic]
                began_ms = ledger.watermark
                ids = [format(each, "x") for each in found["ids"][rows].tolist()]
                admission = ledger.admit(ids, found["event_times"][rows], found["contents"][rows])
                for _ in ledger.compaction():
                    pass
                added["statuses"][rows] = admission.statuses
                added["watermarks"][rows] = admission.watermarks
                rises = np.diff(admission.watermarks, prepend=began_ms) > 0
                # each rise is held by its own row until the next one
                at = np.where(rises, first + rows, before)
                holders[rows] = at = np.maximum.accumulate(at)
                self.holders[topic] = int(at[-1])
                added["holders"][rows] = at
            if number == 0:  # known to all records, as of behind each
                steps = np.full(count, NO_ROW, np.int64)
                steps[rows] = holders[rows]
                added["claim_holders"][:] = np.maximum(np.maximum.accumulate(steps), before)
        return added


def _chunks(plans: Iterable[Plan]) -> Iterable[list[Plan]]:
    chunk: list[Plan] = []
    size = 0
    for plan in plans:
        chunk.append(plan)
        size += sum(span.to_position - span.from_position for span in plan.ranges)
        if size >= CHUNK_RECORDS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _runs(
    plans: Sequence[Plan], edition: int
) -> Iterable[tuple[list[int], int, list[Plan]]]:  # fmt: skip
    """Yield plans that follow each other under one edition and with the same unknown schemas."""
    run: list[Plan] = []
    unknown: list[int] = []
    for plan in plans:
        if run and (plan.edition not in (0, edition) or plan.unknown_schemas != unknown):
            yield unknown, edition, run
            run = []
        edition = plan.edition or edition
        unknown = plan.unknown_schemas
        run.append(plan)
    if run:
        yield unknown, edition, run


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
