"""From an applied batch to decisions: rules, explanation, seal, dead letters, offline rows.

A worker decides on the places that it owns: a record's effects belong to the partition it came on,
what drift has to say belongs to the journal. Who decides never matters for the bytes; the chains
are the only state here, one a partition of the claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.accepted import AcceptedEvents
from claimtrace.batches.outgoing import OutgoingBatch, OutgoingColumns
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.decisions import DECISIONS_TOPIC, RuleHit
from claimtrace.event_flags import UNSEEN, flag_names
from claimtrace.events import Headers, Outgoing
from claimtrace.refusals import Refusal
from featurestore.definitions.domain import Domain
from featurestore.state.event_ledger import CONFLICT, DUPLICATE, NEW
from models.scorer import Scorer
from monitoring.layers.records import DriftAlert, DriftRecord

from ..decisions.dead_letters import dead_letter
from ..decisions.outcomes import UNSCORED, rule_hits, thresholds_of
from ..decisions.reasons import Explained, Explainer
from ..decisions.sealer import Frame, Verdicts, seal_all
from ..journal.plan import JOURNAL, TopicPartition
from ..journal.terms import Terms
from ..offline_rows.rows import BatchRows, Decided
from .applied_batch import AppliedBatch
from .drift_watch import as_outgoing
from .effects import Counts, Effects

NO_MODEL, MODEL_ERROR = "no_model", "model_error"
"""Flags of a decision that the model had no part in."""

_CONFLICT = Refusal("id_conflict")

TRACE_HEADER = "traceparent"
"""W3C trace context: a decision carries on the trace of its claim."""


class Decider:
    """Decides on applied batches; `chains` holds the head of each partition's chain."""

    def __init__(self, domain: Domain, terms: Terms) -> None:
        self._domain = domain
        self._terms = terms
        self._definitions = domain.definitions_digest
        self._rules = domain.rules_digest
        self._explained_by: tuple[Scorer | None, Explainer] = None, Explainer([], {}, 0)
        self._buffer = bytearray()
        self.chains: dict[int, str] = {}

    def decide(self, applied: AppliedBatch, owned: Set[TopicPartition] | None = None) -> Effects:
        """What the batch wants done on the places owned; on all of them when None is given."""
        ranges = applied.plan.ranges
        touched = {JOURNAL, *((span.topic, span.partition) for span in ranges)}
        mine = None if owned is None or touched <= owned else owned
        records = applied.records
        is_mine = np.ones(len(records), np.bool_) if mine is None else records.is_on(mine)
        counts, dead = self._sort_out(applied, is_mine)
        sent, decided = self._claims(applied, is_mine, counts)
        has_journal = mine is None or JOURNAL in mine
        counts.unmatched_labels = applied.taken.unmatched_labels if has_journal else 0
        said = applied.said if has_journal else ()
        counts.alerts = sum(isinstance(each, DriftAlert) for each in said)
        rows = self._rows(applied, is_mine, decided, said)
        notices = tuple(
            f"drift alert {each.state}, {each.layer}: {each.text}"
            for each in said
            if isinstance(each, DriftAlert)
        )
        log_time_ms = int(records.log_times_ms[-1]) if len(records) else 0
        others = OutgoingBatch.of([*dead, *as_outgoing(list(said), log_time_ms)])
        return Effects(OutgoingBatch([*sent, *others.parts]), rows, counts, notices)

    def _sort_out(
        self, applied: AppliedBatch, is_mine: NDArray[np.bool_]
    ) -> tuple[Counts, list[Outgoing]]:
        """Count what came, and turn what can't be taken into dead letters, in log order."""
        facts, accepted, refused = applied.read
        statuses, mine = applied.taken.statuses, is_mine[accepted]
        conflicts = accepted[statuses == CONFLICT].tolist()
        odd = {**dict.fromkeys(conflicts, _CONFLICT), **refused}
        odd = {i: answer for i, answer in odd.items() if is_mine[i]}
        dead = [
            dead_letter(applied.records[i], answer)
            for i, answer in sorted(odd.items(), key=lambda each: each[0])
            if answer is not None
        ]
        is_new, labels = mine & (statuses == NEW), self._domain.labels
        known = facts.records.is_of(self._domain.claim.topic)
        counts = Counts(
            records=int(np.count_nonzero(is_mine)),
            tombstones=len(odd) - len(dead),
            dead=len(dead),
            duplicates=int(np.count_nonzero(mine & (statuses == DUPLICATE))),
        )
        if labels is not None:
            is_label = facts.records.is_of(labels.event.topic)
            counts.labels = int(np.count_nonzero(is_new & is_label))
            known |= is_label
        counts.changes = int(np.count_nonzero(is_new & ~known))
        return counts, dead

    def _claims(
        self, applied: AppliedBatch, is_mine: NDArray[np.bool_], counts: Counts
    ) -> tuple[list[OutgoingColumns], Decided | None]:
        """Judge, explain and seal the new claims of the places owned."""
        facts, accepted, _ = applied.read
        taken, scored = applied.taken, applied.scored
        hits, asked = rule_hits(self._domain.rules, taken.vectors.columns, len(taken.claims))
        levels = np.maximum(np.maximum(scored.levels, asked), scored.broken.astype(np.int64))
        chosen = np.flatnonzero(is_mine[accepted[taken.claims]])
        own_levels = levels[chosen]
        counts.claims = len(chosen)
        counts.late = int(np.count_nonzero(taken.late[chosen]))
        counts.referred = int(np.count_nonzero(own_levels == 2))
        counts.reviewed = int(np.count_nonzero(own_levels == 1))
        counts.scored = int(np.count_nonzero(~np.isnan(scored.scores[chosen])))
        counts.unseen_categories = int(np.count_nonzero(taken.vectors.flags[chosen] & UNSEEN))
        if not len(chosen):
            return [], None
        own = facts.take(taken.claims[chosen])
        ids = ByteStrings.of_texts(own.event_ids)
        verdicts = _verdicts(applied, own, chosen, own_levels, hits)
        explained = self._explain(applied, own, chosen, np.flatnonzero(own_levels == 2))
        threshold = thresholds_of(applied.scorer)[1] if applied.scorer is not None else None
        frame = Frame(self._domain.name, threshold, applied.plan.model, self._definitions,
                      self._rules)  # fmt: skip
        matrix = taken.vectors.matrix[chosen]
        sealed = seal_all(frame, own, ids, matrix, verdicts, explained, self.chains,
                          self._buffer)  # fmt: skip
        keys = taken.vectors.split_keys.take(chosen)
        # rows have no use for the bytes, and wait for long
        unsent = sealed._replace(bodies=ByteStrings.none(0))
        decided = Decided(frame, own, matrix, verdicts, unsent, keys,
                          taken.vectors.amounts[chosen])  # fmt: skip
        return [_outgoing(own, ids, sealed.bodies)], decided

    def _explain(
        self,
        applied: AppliedBatch,
        claims: AcceptedEvents,
        places: NDArray[np.int64],
        referred: NDArray[np.int64],
    ) -> dict[int, Explained]:
        """Why some of the claims (by place among them) are referred."""
        scorer, matrix = applied.scorer, applied.taken.vectors.matrix[places[referred]]
        if scorer is None or not referred.size or not self._terms.reasons:
            return {}
        if scorer is not self._explained_by[0]:
            baselines = scorer.manifest.baselines
            explainer = Explainer(self._domain.features, baselines, self._terms.reasons)
            self._explained_by = scorer, explainer
        times = claims.event_times_ms[referred].tolist()
        found = self._explained_by[1].explain(matrix, scorer.contributions(matrix), times)
        return dict(zip(referred.tolist(), found, strict=True))

    def _rows(
        self,
        applied: AppliedBatch,
        is_mine: NDArray[np.bool_],
        decided: Decided | None,
        said: Sequence[DriftRecord | DriftAlert],
    ) -> dict[str, BatchRows]:
        """What the rows for the offline store are made of; tables without rows are left out."""
        domain, read = self._domain, applied.read
        labels = domain.labels.event.topic if domain.labels else ""
        is_new = is_mine[read.accepted] & (applied.taken.statuses == NEW)
        by_topic = {
            topic: read.facts.take(np.flatnonzero(is_new & read.facts.records.is_of(topic)))
            for topic in (labels, *(group.event.topic for group in domain.groups))
        }
        made = BatchRows(
            domain=domain,
            records=applied.records.take(np.flatnonzero(is_mine)),
            read=read.part(is_mine),
            decided=decided,
            labels=by_topic[labels],
            changes={g.name: by_topic[g.event.topic] for g in domain.groups
                     if by_topic[g.event.topic]},
            drift=[each for each in said if isinstance(each, DriftRecord)],
        )  # fmt: skip
        return dict.fromkeys(made.tables(), made)


def _verdicts(
    applied: AppliedBatch,
    claims: AcceptedEvents,
    places: NDArray[np.int64],
    levels: NDArray[np.int64],
    hits: Mapping[int, list[RuleHit]],
) -> Verdicts:
    scored, scorer = applied.scored, applied.scorer
    known = ~np.isnan(scored.scores[places])
    margins = np.where(known, scored.margins[places].astype(np.float64), np.nan)
    bits = claims.flags | applied.taken.vectors.flags[places]
    odd, flags = np.unique(bits << 1 | scored.broken[places], return_inverse=True)
    return Verdicts(
        scores=scored.scores[places],
        margins=margins,
        bands=np.where(known, scored.levels[places], UNSCORED),
        outcomes=levels,
        flags=flags,
        flag_sets=[_flags(each >> 1, scorer, bool(each & 1)) for each in odd.tolist()],
        rules={i: hits[place] for i, place in enumerate(places.tolist()) if place in hits},
    )


def _flags(bits: int, scorer: Scorer | None, broken: bool) -> tuple[str, ...]:
    names = flag_names(bits) if bits else []
    if scorer is None:
        names.append(NO_MODEL)
    if broken:
        names.append(MODEL_ERROR)
    return tuple(names)


def _outgoing(claims: AcceptedEvents, ids: ByteStrings, bodies: ByteStrings) -> OutgoingColumns:
    """Decisions on their way, each with the trace that its claim came with."""
    records = claims.records
    traces: list[Headers] | None = None
    if records.headers is not None:
        traces = [tuple(h for h in each if h[0] == TRACE_HEADER) for each in records.headers]
    return OutgoingColumns(
        DECISIONS_TOPIC, records.partitions(), ids, bodies, records.log_times_ms, traces
    )
