"""A claim's case: its record, and the records that a small replay of it needs."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import Accepted
from claimtrace.batches.records import Records
from claimtrace.errors import StateError, UsageError
from claimtrace.events import Event, Record
from stream.engine.looked import Charge
from stream.journal.plan import Plan
from stream.journal.terms import Terms

from .index import NO_ROW, EvidenceIndex
from .selection import CLAIMS, Selection, select
from .small_replay import SmallReplay
from .sources import Place, Sources

_ANY_LATENESS_MS: Final = 2**50
"""An allowed lateness that no claim exceeds: a later day doesn't make a claim late."""

_NONE: Final = np.zeros(0, np.int64)


class When(NamedTuple):
    """The day to look from: after a plan, or at a time; both None: when it was decided."""

    at_plan: int | None = None
    known_ms: int | None = None


class Case(NamedTuple):
    """A claim with what a small replay of it needs.

    Args:
        row: the claim's row in the index.
        record, event: the claim.
        plan: its plan, or the one of the day that was asked about.
        edition: the edition in force in that plan.
        chosen: the rows to replay, without those whose records are gone.
        records: their records, in order.
        events: those of them that can count, by row.
        keys: uint64[slots], the hashes of the claim's entities.
        is_decision: whether the day is that of the decision.
        missing: in words what is gone.
    """

    row: int
    record: Record
    event: Event
    plan: Plan
    edition: int
    chosen: Selection
    records: Records
    events: dict[int, Event]
    keys: NDArray[np.uint64]
    is_decision: bool
    missing: list[str]


class Cases:
    """Opens cases.

    Args:
        index: extended to the journal's end.
        sources: see there.
        terms: of the journal.
    """

    def __init__(self, index: EvidenceIndex, sources: Sources, terms: Terms) -> None:
        self._index, self._sources, self._terms = index, sources, terms
        self._plans = {plan.number: plan for plan in sources.plans()}
        self._editions = [(p.number, p.edition) for p in self._plans.values() if p.edition]

    def row_of(self, claim_id: str) -> int:
        """Return the row of the newest decision on a claim.

        Raises:
            UsageError: there is none.
        """
        row = self._index.find(claim_id) if claim_id and "\0" not in claim_id else NO_ROW
        if row == NO_ROW:
            raise UsageError(
                f"there is no decision on a claim {claim_id!r}", where="claim",
                hint="it may be a dead letter, or not decided yet: see claims.dead, "
                "or run claimtrace stream",
            )  # fmt: skip
        return row

    def open(self, row: int, when: When) -> Case:
        """Return the case of a claim as of a day.

        Raises:
            UsageError: there is no such plan.
            StateError: the claim's own record is gone.
        """
        columns = self._index.columns
        own_plan = int(columns["plans"][row])
        below = self._below(row, own_plan, when)
        is_decision = below == row
        record, event = self._own(row)
        day = own_plan if is_decision else self._plan_of_day(below, when)
        none = Selection(_NONE, _NONE, _NONE, _NONE, below)
        case = Case(row, record, event, self._plans[day], self.edition_at(day), none,
                    Records.of([]), {}, columns["keys"][:, row], is_decision, [])  # fmt: skip
        return self.with_history(case, columns["keys"][:, row])

    def with_history(self, case: Case, keys: NDArray[np.uint64]) -> Case:
        """Return a case with the records that matter to a claim of some entities."""
        excluding = NO_ROW if case.is_decision else case.row
        at_ms = int(self._index.columns["event_times"][case.row])
        chosen = select(self._index, keys, at_ms, case.chosen.below, excluding)
        if not case.is_decision:
            chosen = self._without_late(chosen, case.row)
        records = self._sources.records([self.place(row) for row in chosen.rows.tolist()])
        missing = self._gaps(case.plan.number)
        if lost := len(chosen.rows) - len(records):
            missing.append(
                f"{lost:,} records about this claim's entities are neither on the log nor in the "
                "offline store any more: the rows below are without them"
            )
            chosen = self._without_lost(chosen, records)
        return case._replace(
            chosen=chosen, records=records, events=self._events(chosen, records), keys=keys,
            missing=missing,
        )  # fmt: skip

    def replay(self, case: Case) -> SmallReplay:
        """Return a fresh engine with the history of a case."""
        is_late = self._lateness_of(case.row) > self._terms.lateness_ms
        engine = self._sources.engine(None if case.is_decision or is_late else _ANY_LATENESS_MS)
        editions = [each for each in self._editions if each[0] <= case.plan.number]
        replay = SmallReplay(engine, self._index, editions)
        replay.take(case.chosen.rows, case.records)
        return replay

    def charge(self, plan: Plan) -> Charge:
        """Return who decides in a plan; where it begins an edition, in the one before."""
        while plan.edition and plan.number - 1 in self._plans:
            plan = self._plans[plan.number - 1]
        return Charge(plan.model, plan.rollout)

    def edition_at(self, plan: int) -> int:
        """Return the edition in force in a plan."""
        found = self._terms.edition
        for number, edition in self._editions:
            if number <= plan:
                found = edition
        return found

    def place(self, row: int) -> Place:
        """Return where the record of a row stands on the log."""
        columns = self._index.columns
        topic = self._index.topics[int(columns["kinds"][row])]
        return Place(topic, int(columns["partitions"][row]), int(columns["positions"][row]),
                     int(columns["plans"][row]))  # fmt: skip

    def _below(self, row: int, own_plan: int, when: When) -> int:
        """Return how many rows were known on the day that was asked about."""
        if when.at_plan is not None:
            if when.at_plan not in self._plans:
                raise UsageError(f"there is no plan {when.at_plan} in the journal",
                                 where="--at-plan",
                                 hint=f"the plans are 1 .. {max(self._plans)}")  # fmt: skip
            if when.at_plan == own_plan:
                return row
            return self._index.rows_until_plan(when.at_plan)
        if when.known_ms is not None:
            below = self._index.rows_until(when.known_ms)
            return row if below == row + 1 else below
        return row

    def _plan_of_day(self, below: int, when: When) -> int:
        """Return the plan whose model is in charge on a day."""
        if when.at_plan is not None:
            return when.at_plan
        plans = self._index.columns["plans"]
        return int(plans[below - 1]) if below else int(plans[0])

    def _without_late(self, chosen: Selection, row: int) -> Selection:
        """Leave out what counts nowhere, and records with the claim's own id.

        These are claims that were too late, and labels of forgotten claims. So the replay needn't
        have the watermarks that the claim itself held.
        """
        columns = self._index.columns
        rows = chosen.rows
        is_claim = columns["kinds"][rows] == CLAIMS
        late = columns["event_times"][rows] < columns["watermarks"][rows] - self._terms.lateness_ms
        own = columns["ids"][rows] == columns["ids"][row]
        lost = [label for label in chosen.labels.tolist() if not self._joined(chosen, label)]
        kept = rows[~((is_claim & (late | own)) | np.isin(rows, lost))]
        return chosen._replace(
            rows=kept,
            claims=np.intersect1d(chosen.claims, kept),
            labels=np.intersect1d(chosen.labels, kept),
        )

    def _joined(self, chosen: Selection, label: int) -> bool:
        """Whether a label found its claim still known."""
        columns = self._index.columns
        claims = chosen.claims[chosen.claims < label]
        claims = claims[columns["ids"][claims] == columns["about"][label]]
        if not claims.size:
            return False
        now_ms = int(columns["watermarks"][columns["claim_holders"][label]])
        return int(columns["watermarks"][claims[-1]]) > now_ms - self._terms.remember_ms

    def _own(self, row: int) -> tuple[Record, Event]:
        found = self._sources.records([self.place(row)])
        if not len(found):
            raise StateError(
                "the claim's record is neither on the log nor in the offline store any more",
                where="/".join(map(str, self.place(row)[:3])),
                hint="its sealed decision may still be on claims.decisions",
            )
        answer = self._index.engine.decoder.decode([found[0]])[0]
        if not isinstance(answer, Accepted):
            raise StateError("the claim's record can't be read any more",
                             where="/".join(map(str, self.place(row)[:3])))  # fmt: skip
        return found[0], answer.event

    def _gaps(self, plan: int) -> list[str]:
        """Say which records of the plans up to one were gone when they were indexed."""
        return [
            f"{gap.topic}/{gap.partition} has no records {gap.from_position} to "
            f"{gap.to_position - 1} any more, neither on the log nor in the offline store: rows "
            "from there are missing below"
            for gap in self._index.gaps
            if gap.plan <= plan
        ]

    def _without_lost(self, chosen: Selection, records: Records) -> Selection:
        """Leave out rows whose records are gone."""
        parts = zip(records.parts.tolist(), records.positions.tolist(), strict=True)
        have = {(*records.topic_partitions[part], position) for part, position in parts}
        kept = [row for row in chosen.rows.tolist() if self.place(row)[:3] in have]
        rows = np.array(kept, np.int64)
        claims, labels, changes = (np.intersect1d(part, rows) for part in chosen[1:4])
        return Selection(rows, claims, labels, changes, chosen.below)

    def _events(self, chosen: Selection, records: Records) -> dict[int, Event]:
        """Decode the records that can count; returns them by row."""
        wanted = np.isin(chosen.rows, np.concatenate(chosen[1:4]))
        at = np.flatnonzero(wanted)
        answers = self._index.engine.decoder.decode(list(records.take(at)))
        return {
            int(chosen.rows[i]): answer.event
            for i, answer in zip(at.tolist(), answers, strict=True)
            if isinstance(answer, Accepted)
        }

    def _lateness_of(self, row: int) -> int:
        columns = self._index.columns
        return int(columns["watermarks"][row]) - int(columns["event_times"][row])
