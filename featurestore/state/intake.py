"""From accepted events to a batch: de-duplication, lateness, and the join of labels to claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import AcceptedEvents, AcceptedRecord
from claimtrace.buffers.siphash import Key
from claimtrace.editions import NEWEST
from claimtrace.encoding.json_columns import JsonColumns
from claimtrace.event_flags import LATE
from claimtrace.events import Event

from ..definitions.domain import Domain
from ..definitions.verdicts import FRAUD, LEGIT, NEVER_MS, RETRACTED, RETRACTION, UNKNOWN, replaces
from ..fields.event_columns import EventColumns
from ..state_arrays import Arrays, below, under
from .claim_reading import ClaimReading
from .event_ledger import NEW, Admission, EventLedger
from .feature_state import Batch, Claims, FeatureState, Fields, Label, ProfileChange, Vectors

ONE_VERDICT: Final = 2
"""The first edition in which a claim has one verdict; see `featurestore.definitions.verdicts`."""


class Outcome(NamedTuple):
    """An outcome that arrived.

    Args:
        decided_ms: the event time of its label.
        outcome: LEGIT, FRAUD or RETRACTED.
        row: the ledger's row of its claim, in whose place it counts from now on; -1 under edition
            1, which counts every outcome.
    """

    decided_ms: int
    outcome: int
    row: int


@dataclass(frozen=True)
class IntakeResult:
    """The result of taking in a batch of accepted events.

    Args:
        statuses: int8, NEW, DUPLICATE or CONFLICT for each event.
        vectors: the vectors of the new claims, in order.
        claims: int64, the indices of the new claims among the events.
        late: for each new claim, whether it was too late to be applied.
        unmatched_labels: the number of labels whose claim is not or no longer known; such labels
            are only kept in the offline store.
        outcomes: what is to be counted of the new labels, in order.
    """

    statuses: NDArray[np.int8]
    vectors: Vectors
    claims: NDArray[np.int64]
    late: NDArray[np.bool_]
    unmatched_labels: int
    outcomes: list[Outcome]


class Intake:
    """The entrance to the feature state, the same for live scoring, back-fill and training.

    Args:
        domain: the definitions.
        key: the secret key of the indexes of ids.
        lateness_ms: claims up to this much behind the watermark are applied.
        remember_ms: the time for which event ids are known.
        edition: how ids are read and labels are counted; see `claimtrace.editions`.
    """

    def __init__(
        self, domain: Domain, key: Key, lateness_ms: int, remember_ms: int, edition: int = NEWEST
    ) -> None:
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
        self.begin(edition)

    @property
    def watermark(self) -> int:
        """The newest event time among accepted claims, in ms."""
        return self._claims.watermark

    def begin(self, edition: int) -> None:
        """Take in events by an edition from now on; what was counted stays as it was counted."""
        self._edition = edition
        self.features.begin(edition)
        if edition >= ONE_VERDICT:
            self._claims.keep_verdicts()

    def take(
        self, records: Sequence[AcceptedRecord], columns: JsonColumns | None = None
    ) -> IntakeResult:
        """Take in accepted events in log order; each new event changes the state once.

        Args:
            records: claims, labels and profile changes.
            columns: the fields of the claims among them, in order, if they were read into columns.
        """
        accepted = AcceptedEvents.of(records)
        statuses = np.full(len(accepted), NEW, np.int8)
        batch = Batch(EventColumns([], self.domain.claim))
        indices_of = self._by_topic(accepted)
        # both as they were before the batch: labels of the batch are joined by arrival
        watermark = self.watermark
        labelled = self._labelled(accepted, indices_of)
        for topic, indices in indices_of.items():
            part = accepted.take(indices)
            admission = self._ledgers[topic].admit(
                part.event_ids, part.event_times_ms, part.contents
            )
            statuses[indices] = admission.statuses
            new = np.flatnonzero(admission.statuses == NEW)
            if topic == self.domain.claim.topic:
                batch.claims = self._claims_of(indices, part, admission, new)
                batch.fields = self._fields(part, columns, new, self.features.reading)
            elif topic in self._group_of:
                batch.changes[self._group_of[topic]] = [
                    ProfileChange(part.event(i), int(indices[i]), int(part.event_times_ms[i]))
                    for i in new.tolist()
                ]
        unmatched, outcomes = self._join_labels(accepted, labelled, statuses, batch, watermark)
        vectors = self.features.apply(batch)
        late = batch.claims.is_late
        vectors.flags[late] |= LATE
        return IntakeResult(statuses, vectors, batch.claims.order, late, unmatched, outcomes)

    def look(self, claims: AcceptedEvents, columns: JsonColumns | None = None) -> IntakeResult:
        """Return what `take` would return for each claim if it was the next event, alone.

        Nothing is changed, and no claim sees another one of the call.

        Args:
            claims: accepted claims, which aren't on the log or aren't there yet.
            columns: their fields, if they were read into columns.
        """
        looked = self._claims.look(claims.event_ids, claims.event_times_ms, claims.contents)
        new = np.flatnonzero(looked.statuses == NEW)
        found = self._claims_of(np.arange(len(claims)), claims, looked, new)
        fields = self._fields(claims, columns, new, self.features.look.reading)
        vectors = self.features.look.vectors(fields, found)
        vectors.flags[found.is_late] |= LATE
        return IntakeResult(looked.statuses, vectors, found.order, found.is_late, 0, [])

    def compaction(self) -> Iterator[int]:
        """Free memory that no later event can reach, a slice each time the iterator is advanced.

        Yields the units of work (about 50 ns each) of each slice. Batches may be taken in between
        two slices. Never changes a decision.
        """
        for ledger in self._ledgers.values():
            yield from ledger.compaction()
        yield from self.features.compaction(self.watermark)

    def arrays(self) -> Arrays:
        """Return all state, for a snapshot."""
        found: Arrays = under("features/", self.features.arrays())
        for topic, ledger in self._ledgers.items():
            found.update(under(f"ledger/{topic}/", ledger.arrays()))
        return found

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot."""
        self.features.restore(below("features/", arrays))
        for topic, ledger in self._ledgers.items():
            ledger.restore(below(f"ledger/{topic}/", arrays))

    def _by_topic(self, accepted: AcceptedEvents) -> dict[str, NDArray[np.int64]]:
        """Return the indices of each topic's events, by topic."""
        topics = sorted({topic for topic, _ in accepted.records.topic_partitions})
        found = {topic: np.flatnonzero(accepted.records.is_of(topic)) for topic in topics}
        return {topic: indices for topic, indices in found.items() if indices.size}

    def _claims_of(
        self,
        indices: NDArray[np.int64],
        claims: AcceptedEvents,
        admission: Admission,
        new: NDArray[np.int64],
    ) -> Claims:
        times, watermarks = claims.event_times_ms[new], admission.watermarks[new]
        is_late = times < watermarks - self._lateness_ms
        return Claims(indices[new], times, watermarks, admission.rows[new], is_late)

    def _fields(
        self,
        claims: AcceptedEvents,
        columns: JsonColumns | None,
        new: NDArray[np.int64],
        reading: ClaimReading,
    ) -> Fields:
        """Return the fields of new claims; `new` are their indices in `claims` and `columns`."""
        if columns is None:
            return EventColumns([claims.event(i) for i in new.tolist()], self.domain.claim)
        are_all_new = len(new) == columns.first.shape[1]
        return reading.fields_of(columns if are_all_new else columns.rows(new))

    def _labelled(
        self, accepted: AcceptedEvents, indices_of: dict[str, NDArray[np.int64]]
    ) -> list[tuple[int, str, int]]:
        """Return (index, claim's id, newest row of that id or -1) for each label of the batch."""
        labels = self.domain.labels
        if labels is None or labels.event.topic not in indices_of:
            return []
        indices = indices_of[labels.event.topic].tolist()
        ids = [getattr(accepted.event(index), labels.claim) or "" for index in indices]
        return list(zip(indices, ids, self._claims.find(ids).tolist(), strict=True))

    def _join_labels(
        self,
        accepted: AcceptedEvents,
        labelled: list[tuple[int, str, int]],
        statuses: NDArray[np.int8],
        batch: Batch,
        watermark: int,
    ) -> tuple[int, list[Outcome]]:
        """Join new labels to the claims that arrived before them; adds them to `batch.labels`.

        `watermark` is the watermark before the batch. Returns the number of labels without a known
        claim, and the outcomes to count.
        """
        if not labelled:
            return 0, []
        claims = batch.claims
        wanted = {claim_id for _, claim_id, _ in labelled}
        arrived: dict[str, list[tuple[int, int]]] = {}
        # skip the loop in the usual case: labels arrive days after their claims
        if not wanted.isdisjoint(accepted.event_ids):
            for order, row in zip(claims.order.tolist(), claims.row.tolist(), strict=True):
                if (claim_id := accepted.event_ids[order]) in wanted:
                    arrived.setdefault(claim_id, []).append((order, row))
        unmatched = 0
        outcomes: list[Outcome] = []
        for index, claim_id, row in labelled:
            outcome = self._outcome(accepted.event(index))
            if statuses[index] != NEW or outcome == UNKNOWN:
                continue
            decided_ms = int(accepted.event_times_ms[index])
            # the watermark and the claim's row as of the label, not as of the end of the batch
            earlier = int(np.searchsorted(claims.order, index))
            now = int(claims.watermark_ms[earlier - 1]) if earlier else watermark
            for order, row_in_batch in arrived.get(claim_id, ()):
                row = row_in_batch if order < index else row
            is_known = self._claims.is_known(row, now)
            if self._edition < ONE_VERDICT:
                outcomes.append(Outcome(decided_ms, outcome, -1))
            if not is_known:
                unmatched += 1
                continue
            known_ms = int(accepted.records.log_times_ms[index])
            before, before_ms, replaces_ms = self._claims.verdict(row)
            if self._edition < ONE_VERDICT:
                self._claims.set_outcome(row, outcome)
                batch.labels.append(Label(index, known_ms, now, row, outcome, before, NEVER_MS))
            elif replaces(decided_ms, before_ms):
                self._claims.set_verdict(row, outcome, decided_ms, known_ms)
                batch.labels.append(Label(index, known_ms, now, row, outcome, before, replaces_ms))
                outcomes.append(Outcome(decided_ms, outcome, row))
        return unmatched, outcomes

    def _outcome(self, event: Event) -> int:
        labels = self.domain.labels
        assert labels is not None
        outcome = getattr(event, labels.outcome)
        if outcome in labels.fraud:
            return FRAUD
        if outcome in labels.legit:
            return LEGIT
        is_retracted = outcome == RETRACTION and self._edition >= ONE_VERDICT
        return RETRACTED if is_retracted else UNKNOWN
