"""From accepted events to a batch: duplicates out, lateness judged, labels joined to claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import AcceptedEvents, AcceptedRecord
from claimtrace.buffers.siphash import Key
from claimtrace.encoding.json_columns import JsonColumns
from claimtrace.event_flags import LATE
from claimtrace.events import Event

from ..definitions.domain import Domain
from ..fields.event_columns import EventColumns
from ..state_arrays import Arrays, below, under
from ..windows.entity_series import FRAUD, LEGIT, UNKNOWN
from .event_ledger import NEW, Admission, EventLedger
from .feature_state import Batch, Claims, FeatureState, Fields, Label, ProfileChange, Vectors


@dataclass(frozen=True)
class IntakeResult:
    """What became of a batch of facts.

    Args:
        statuses: int8, NEW, DUPLICATE or CONFLICT for each fact.
        vectors: of the new claims, in order.
        claims: int64, places of the new claims among the facts.
        late: for each new claim, whether it was too late to be applied.
        unmatched_labels: labels whose claim isn't known (any more); kept offline only.
        outcomes: of the new labels that say fraud or legit: when decided, and whether fraud.
    """

    statuses: NDArray[np.int8]
    vectors: Vectors
    claims: NDArray[np.int64]
    late: NDArray[np.bool_]
    unmatched_labels: int
    outcomes: list[tuple[int, bool]]


class Intake:
    """The features' door: everything that live scoring, back-fill and training have in common.

    Args:
        domain: the definitions.
        key: for the indexes of ids.
        lateness_ms: events up to this late are applied.
        remember_ms: how long ids are known.
    """

    def __init__(self, domain: Domain, key: Key, lateness_ms: int, remember_ms: int) -> None:
        self.domain = domain
        self._lateness_ms = lateness_ms
        slots = FeatureState.slots(domain)
        claim_topic = domain.claim.topic
        self._ledgers = {
            kind.topic: EventLedger(key, slots if kind.topic == claim_topic else 0, remember_ms)
            for kind in domain.events
        }
        self._claims = self._ledgers[claim_topic]
        self.features = FeatureState(domain, self._claims, key, lateness_ms)
        self._group_of = {group.event.topic: group.name for group in domain.groups}

    @property
    def watermark(self) -> int:
        """The newest event time among accepted claims."""
        return self._claims.watermark

    def take(
        self, facts: Sequence[AcceptedRecord], columns: JsonColumns | None = None
    ) -> IntakeResult:
        """Take in facts in log order; the state changes once for each new event.

        Args:
            facts: claims, labels and changes of profiles.
            columns: the fields of the claims among them, in order, if they lie in columns.
        """
        facts = AcceptedEvents.of(facts)
        statuses = np.full(len(facts), NEW, np.int8)
        batch = Batch(EventColumns([], self.domain.claim))
        places_of = self._by_topic(facts)
        before = self.watermark
        labelled = self._labelled(facts, places_of)
        for topic, places in places_of.items():
            part = facts.take(places)
            admission = self._ledgers[topic].admit(
                part.event_ids, part.event_times_ms, part.contents
            )
            statuses[places] = admission.statuses
            fresh = np.flatnonzero(admission.statuses == NEW)
            if topic == self.domain.claim.topic:
                batch.claims = self._claims_of(places, part, admission, fresh)
                batch.fields = self._fields(part, columns, fresh)
            elif topic in self._group_of:
                batch.changes[self._group_of[topic]] = [
                    ProfileChange(part.event(i), int(places[i]), int(part.event_times_ms[i]))
                    for i in fresh.tolist()
                ]
        unmatched, outcomes = self._take_labels(facts, labelled, statuses, batch, before)
        vectors = self.features.apply(batch)
        late = batch.claims.is_late
        vectors.flags[late] |= LATE
        return IntakeResult(statuses, vectors, batch.claims.order, late, unmatched, outcomes)

    def tidy(self) -> Iterator[int]:
        """Give back memory that nothing can reach, a slice at a time; yields the units of work
        (about 50 ns) after each. Events may be taken in between; never changes a decision."""
        for ledger in self._ledgers.values():
            yield from ledger.tidy()
        yield from self.features.tidy(self.watermark)

    def forget(self) -> None:
        """Do all of it now."""
        for _ in self.tidy():
            pass

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        found: Arrays = under("features/", self.features.arrays())
        for topic, ledger in self._ledgers.items():
            found.update(under(f"ledger/{topic}/", ledger.arrays()))
        return found

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        self.features.restore(below("features/", arrays))
        for topic, ledger in self._ledgers.items():
            ledger.restore(below(f"ledger/{topic}/", arrays))

    def _by_topic(self, facts: AcceptedEvents) -> dict[str, NDArray[np.int64]]:
        """The places of each topic's facts, by topic."""
        topics = sorted({topic for topic, _ in facts.records.topic_partitions})
        found = {topic: np.flatnonzero(facts.records.is_of(topic)) for topic in topics}
        return {topic: places for topic, places in found.items() if places.size}

    def _claims_of(
        self,
        places: NDArray[np.int64],
        claims: AcceptedEvents,
        admission: Admission,
        fresh: NDArray[np.int64],
    ) -> Claims:
        times, marks = claims.event_times_ms[fresh], admission.watermarks[fresh]
        is_late = times < marks - self._lateness_ms
        return Claims(places[fresh], times, marks, admission.rows[fresh], is_late)

    def _fields(
        self, claims: AcceptedEvents, columns: JsonColumns | None, fresh: NDArray[np.int64]
    ) -> Fields:
        """The fields of new claims, which stand at `fresh` among the claims and in the columns."""
        if columns is None:
            return EventColumns([claims.event(i) for i in fresh.tolist()], self.domain.claim)
        whole = len(fresh) == columns.first.shape[1]
        return self.features.fields_of(columns if whole else columns.rows(fresh))

    def _labelled(
        self, facts: AcceptedEvents, places_of: dict[str, NDArray[np.int64]]
    ) -> list[tuple[int, str, int]]:
        """(place, claim's id, its newest row so far or -1) of each label in the batch."""
        labels = self.domain.labels
        if labels is None or labels.event.topic not in places_of:
            return []
        places = places_of[labels.event.topic].tolist()
        ids = [getattr(facts.event(place), labels.claim) or "" for place in places]
        return list(zip(places, ids, self._claims.find(ids).tolist(), strict=True))

    def _take_labels(
        self,
        facts: AcceptedEvents,
        labelled: list[tuple[int, str, int]],
        statuses: NDArray[np.int8],
        batch: Batch,
        watermark: int,
    ) -> tuple[int, list[tuple[int, bool]]]:
        """Join new labels to the claims that arrived before them; `watermark` is the batch's first.

        Returns how many found none, and (when decided, is fraud) of all.
        """
        if not labelled:
            return 0, []
        claims = batch.claims
        wanted = {claim_id for _, claim_id, _ in labelled}
        arrived: dict[str, list[tuple[int, int]]] = {}
        if not wanted.isdisjoint(facts.event_ids):  # labels mostly come days later
            for order, row in zip(claims.order.tolist(), claims.row.tolist(), strict=True):
                if (claim_id := facts.event_ids[order]) in wanted:
                    arrived.setdefault(claim_id, []).append((order, row))
        unmatched = 0
        decided: list[tuple[int, bool]] = []
        for place, claim_id, row in labelled:
            outcome = self._outcome(facts.event(place))
            if statuses[place] != NEW or outcome == UNKNOWN:
                continue
            decided.append((int(facts.event_times_ms[place]), outcome == FRAUD))
            passed = int(np.searchsorted(claims.order, place))
            now = int(claims.watermark_ms[passed - 1]) if passed else watermark
            for order, its_row in arrived.get(claim_id, ()):
                row = its_row if order < place else row
            if self._claims.is_known(row, now):
                log_time_ms = int(facts.records.log_times_ms[place])
                batch.labels.append(Label(place, log_time_ms, now, row, outcome))
            else:
                unmatched += 1
        return unmatched, decided

    def _outcome(self, event: Event) -> int:
        labels = self.domain.labels
        assert labels is not None
        outcome = getattr(event, labels.outcome)
        if outcome in labels.fraud:
            return FRAUD
        return LEGIT if outcome in labels.legit else UNKNOWN
