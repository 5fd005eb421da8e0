"""From an applied batch to decisions: rules, explanation, seal, dead letters, offline rows.

A worker decides on the topic-partitions that it owns: a record's effects belong to the partition it
came from, drift records and alerts belong to the owner of the journal. The bytes are the same
whichever worker decides; the only state is the head of the chain of each claims partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from claimtrace.batches.accepted import AcceptedEvents
from claimtrace.batches.outgoing import OutgoingBatch, OutgoingColumns
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.decisions import DECISIONS_TOPIC, ModelRef, RuleHit
from claimtrace.editions import REVIEWS
from claimtrace.event_flags import UNSEEN, flag_names
from claimtrace.events import Headers, Outgoing
from claimtrace.refusals import Refusal
from featurestore.definitions.domain import Domain
from featurestore.state.event_ledger import CONFLICT, DUPLICATE, NEW
from models.scorer import Scorer
from monitoring.layers.records import GUARD, DriftAlert, DriftRecord

from ..decisions.dead_letters import dead_letter
from ..decisions.outcomes import UNSCORED, rule_hits, thresholds_of
from ..decisions.reasons import Explainer, Explanation
from ..decisions.rolled_out import Arm, OtherModels
from ..decisions.sealer import Frame, Verdicts, seal_all
from ..journal.plan import JOURNAL, TopicPartition
from ..journal.terms import Terms
from ..offline_rows.rows import BatchRows, DecisionColumns
from .applied_batch import AppliedBatch, RolledOut
from .drift_watch import as_outgoing
from .effects import Counts, Effects

NO_MODEL, MODEL_ERROR = "no_model", "model_error"
"""Flags of a decision without a score: no model was live, or its score was outside of [0, 1]."""

_CONFLICT = Refusal("id_conflict")

_MOST_EXPLAINERS = 4
"""Models whose explainers are kept: two arms, and those before them."""

TRACE_HEADER = "traceparent"
"""Header of the W3C trace context; a decision carries that of its claim."""


class Decider:
    """Decides on applied batches; `chains` holds the head of each partition's chain.

    Args:
        domain: definitions and rules.
        terms: of the journal; they set which claims get reasons, and how many.
    """

    def __init__(self, domain: Domain, terms: Terms) -> None:
        self._domain = domain
        self._terms = terms
        self._definitions = domain.definitions_digest
        self._rules = domain.rules_digest
        self._explainers: dict[ModelRef, Explainer] = {}
        self._buffer = bytearray()
        self.chains: dict[int, str] = {}

    def decide(self, applied: AppliedBatch, owned: Set[TopicPartition] | None = None) -> Effects:
        """Decide on a batch; returns the effects of the topic-partitions that are owned.

        Args:
            applied: the batch; each partition's batches must be decided in plan order, because
                every decision is linked to the one before it.
            owned: the topic-partitions to decide on, `JOURNAL` for drift; None: all of them.
        """
        ranges = applied.plan.ranges
        touched = {JOURNAL, *((span.topic, span.partition) for span in ranges)}
        # None is the usual case of a worker that owns all of the batch: no record is looked up
        selected = None if owned is None or touched <= owned else owned
        records = applied.records
        is_owned = np.ones(len(records), np.bool_) if selected is None else records.is_on(selected)
        counts, dead = self._count_records(applied, is_owned)
        sent, decided = self._decide_claims(applied, is_owned, counts)
        has_journal = selected is None or JOURNAL in selected
        counts.unmatched_labels = applied.ingested.unmatched_labels if has_journal else 0
        drift_results = applied.drift_results if has_journal else ()
        counts.alerts = sum(isinstance(each, DriftAlert) for each in drift_results)
        rows = self._offline_rows(applied, is_owned, decided, drift_results)
        log_lines = tuple(
            f"{_kind(each)} {each.state}, {each.layer}: {each.text}"
            for each in drift_results
            if isinstance(each, DriftAlert)
        )
        # no clock is read: drift records get the log time of the batch's last record
        log_time_ms = int(records.log_times_ms[-1]) if len(records) else 0
        others = OutgoingBatch.of([*dead, *as_outgoing(list(drift_results), log_time_ms)])
        return Effects(OutgoingBatch([*sent, *others.parts]), rows, counts, log_lines)

    def verdicts(self, applied: AppliedBatch) -> Sequence[bytes]:
        """Return the sealed decisions on the new claims of a batch, in order, and nothing else."""
        everything = np.ones(len(applied.records), np.bool_)
        sent, _ = self._decide_claims(applied, everything, Counts())
        return [value or b"" for columns in sent for value in columns.values]

    def _count_records(
        self, applied: AppliedBatch, is_owned: NDArray[np.bool_]
    ) -> tuple[Counts, list[Outgoing]]:
        """Count owned records by outcome and make dead letters of refused ones, in log order."""
        facts, accepted, refused = applied.decoded
        statuses, owned = applied.ingested.statuses, is_owned[accepted]
        conflicts = accepted[statuses == CONFLICT].tolist()
        # by index among the records; None is a tombstone, which is counted but no dead letter
        rejected = {**dict.fromkeys(conflicts, _CONFLICT), **refused}
        rejected = {i: refusal for i, refusal in rejected.items() if is_owned[i]}
        dead = [
            dead_letter(applied.records[i], refusal)
            for i, refusal in sorted(rejected.items(), key=lambda each: each[0])
            if refusal is not None
        ]
        is_new, labels = owned & (statuses == NEW), self._domain.labels
        is_counted = facts.records.is_of(self._domain.claim.topic)  # new claims: `_decide_claims`
        counts = Counts(
            records=int(np.count_nonzero(is_owned)),
            tombstones=len(rejected) - len(dead),
            dead=len(dead),
            duplicates=int(np.count_nonzero(owned & (statuses == DUPLICATE))),
        )
        if labels is not None:
            is_label = facts.records.is_of(labels.event.topic)
            counts.labels = int(np.count_nonzero(is_new & is_label))
            is_counted |= is_label
        counts.changes = int(np.count_nonzero(is_new & ~is_counted))
        return counts, dead

    def _decide_claims(
        self, applied: AppliedBatch, is_owned: NDArray[np.bool_], counts: Counts
    ) -> tuple[list[OutgoingColumns], DecisionColumns | None]:
        """Judge, explain and seal the new claims of the owned partitions, and count them."""
        facts, accepted, _ = applied.decoded
        ingested, scored = applied.ingested, applied.scored
        rules, columns = self._domain.rules, ingested.vectors.columns
        hits, rule_levels = rule_hits(rules, columns, len(ingested.claims))
        # the strictest of model and rules; a claim whose score broke is reviewed at the least (1)
        levels = np.maximum(np.maximum(scored.levels, rule_levels), scored.broken.astype(np.int64))
        chosen = np.flatnonzero(is_owned[accepted[ingested.claims]])
        own_levels = levels[chosen]
        counts.claims = len(chosen)
        counts.late = int(np.count_nonzero(ingested.late[chosen]))
        counts.referred = int(np.count_nonzero(own_levels == 2))
        counts.reviewed = int(np.count_nonzero(own_levels == 1))
        counts.scored = int(np.count_nonzero(~np.isnan(scored.scores[chosen])))
        counts.unseen_categories = int(np.count_nonzero(ingested.vectors.flags[chosen] & UNSEEN))
        if not len(chosen):
            return [], None
        claims = facts.take(ingested.claims[chosen])
        ids = ByteStrings.of_texts(claims.event_ids)
        verdicts = _verdicts(applied, claims, chosen, own_levels, hits)
        explained = np.flatnonzero(own_levels >= self._least_explained(applied.edition))
        explanations = self._explain(applied, claims, chosen, explained)
        frame = self._frame(applied)
        matrix = ingested.vectors.matrix[chosen]
        others = None if applied.rolled is None else _others(applied.rolled, chosen, rule_levels)
        sealed = seal_all(frame, claims, ids, matrix, verdicts, explanations, self.chains,
                          self._buffer, others)  # fmt: skip
        keys = ingested.vectors.split_keys.take(chosen)
        # offline rows don't contain the bytes, and wait in memory until the next append
        without_bodies = sealed._replace(bodies=ByteStrings.none(0))
        decided = DecisionColumns(frame, claims, matrix, verdicts, without_bodies, keys,
                                  ingested.vectors.amounts[chosen], others)  # fmt: skip
        return [_outgoing(claims, ids, sealed.bodies)], decided

    def _least_explained(self, edition: int) -> int:
        """Return the least level of outcomes whose claims get reasons."""
        return 1 if edition >= REVIEWS and self._terms.reasons_for == "review" else 2

    def _frame(self, applied: AppliedBatch) -> Frame:
        """Return the values that all decisions of a batch share."""
        scorer = applied.scorer
        review, refer = (None, None) if scorer is None else thresholds_of(scorer)
        return Frame(
            self._domain.name, refer, applied.plan.model, self._definitions, self._rules,
            review if applied.edition >= REVIEWS else UNSET,
        )  # fmt: skip

    def _explain(
        self,
        applied: AppliedBatch,
        claims: AcceptedEvents,
        chosen: NDArray[np.int64],
        referred: NDArray[np.int64],
    ) -> dict[int, Explanation]:
        """Explain claims of the batch; returns the explanations by index among `claims`.

        Args:
            applied: the batch.
            claims: its owned claims.
            chosen: int64, the rows of `claims` among the new claims of the batch.
            referred: int64, indexes among `claims` of those that get reasons.
        """
        if applied.scorer is None or not referred.size or not self._terms.reasons:
            return {}
        rolled = applied.rolled
        if rolled is None:
            return self._explained(applied.scorer, applied, claims, chosen, referred)
        arms, found = rolled.arms[chosen[referred]], dict[int, Explanation]()
        for arm in np.unique(arms).tolist():  # sorted: the reasons are those of the arm's model
            rows = referred[arms == arm]
            found |= self._explained(rolled.scorers[arm], applied, claims, chosen, rows)
        return found

    def _explained(
        self,
        scorer: Scorer,
        applied: AppliedBatch,
        claims: AcceptedEvents,
        chosen: NDArray[np.int64],
        referred: NDArray[np.int64],
    ) -> dict[int, Explanation]:
        """Explain claims by one model; see `_explain`."""
        explainer = self._explainers.get(scorer.ref)
        if explainer is None:
            if len(self._explainers) >= _MOST_EXPLAINERS:
                self._explainers.clear()
            manifest = scorer.manifest
            explainer = Explainer(self._domain.features, manifest.baselines, self._terms.reasons,
                                  manifest.features)  # fmt: skip
            self._explainers[scorer.ref] = explainer
        matrix = applied.ingested.vectors.matrix[chosen[referred]]
        times = claims.event_times_ms[referred].tolist()
        found = explainer.explain(matrix, scorer.contributions(matrix), times)
        return dict(zip(referred.tolist(), found, strict=True))

    def _offline_rows(
        self,
        applied: AppliedBatch,
        is_owned: NDArray[np.bool_],
        decided: DecisionColumns | None,
        drift_results: Sequence[DriftRecord | DriftAlert],
    ) -> dict[str, BatchRows]:
        """Collect the sources of the offline rows by table, without tables that get none."""
        domain, decoded = self._domain, applied.decoded
        labels = domain.labels.event.topic if domain.labels else ""
        is_new = is_owned[decoded.accepted] & (applied.ingested.statuses == NEW)
        by_topic = {
            topic: decoded.facts.take(np.flatnonzero(is_new & decoded.facts.records.is_of(topic)))
            for topic in (labels, *(group.event.topic for group in domain.groups))
        }
        sources = BatchRows(
            domain=domain,
            records=applied.records.take(np.flatnonzero(is_owned)),
            decoded=decoded.part(is_owned),
            decided=decided,
            labels=by_topic[labels],
            changes={g.name: by_topic[g.event.topic] for g in domain.groups
                     if by_topic[g.event.topic]},
            drift=[each for each in drift_results if isinstance(each, DriftRecord)],
            edition=applied.edition,
        )  # fmt: skip
        return dict.fromkeys(sources.tables(), sources)


def _others(
    rolled: RolledOut, chosen: NDArray[np.int64], rule_levels: NDArray[np.int64]
) -> OtherModels:
    """Collect what the models of a roll-out that didn't decide say about rows `chosen`."""
    arms = rolled.arms[chosen]
    named = list(zip(rolled.rollout.roles, rolled.rollout.models, strict=True))
    scores = [each.scores[chosen] for each in rolled.scored]
    levels = [
        np.maximum(np.maximum(each.levels, rule_levels), each.broken.astype(np.int64))[chosen]
        for each in rolled.scored
    ]
    decides = named[: 1 if rolled.rollout.canary is None else 2]
    by_arm = tuple(
        Arm(model, *thresholds_of(rolled.scorers[arm])[::-1],
            tuple(each for each in (*decides, *named[len(decides):]) if each[1] != model))
        for arm, (_, model) in enumerate(decides)
    )  # fmt: skip
    if len(decides) == 1:  # a champion and its shadows
        return OtherModels(rolled.ref, by_arm, arms, scores[1:], levels[1:])
    is_canary = arms == 1
    beside = [np.where(is_canary, part[0], part[1]) for part in (scores, levels)]
    return OtherModels(rolled.ref, by_arm, arms, [beside[0], *scores[2:]], [beside[1], *levels[2:]])


def _verdicts(
    applied: AppliedBatch,
    claims: AcceptedEvents,
    chosen: NDArray[np.int64],
    levels: NDArray[np.int64],
    hits: Mapping[int, list[RuleHit]],
) -> Verdicts:
    """Collect the verdicts on `claims`, which are rows `chosen` of the batch's new claims."""
    scored, scorer = applied.scored, applied.scorer
    has_score = ~np.isnan(scored.scores[chosen])
    margins = np.where(has_score, scored.margins[chosen].astype(np.float64), np.nan)
    bits = claims.flags | applied.ingested.vectors.flags[chosen]
    # few combinations occur in a batch: each is named and, in the sealer, encoded once
    combinations, flags = np.unique(bits << 1 | scored.broken[chosen], return_inverse=True)
    return Verdicts(
        scores=scored.scores[chosen],
        margins=margins,
        bands=np.where(has_score, scored.levels[chosen], UNSCORED),
        outcomes=levels,
        flags=flags,
        flag_sets=[_flags(each >> 1, scorer, bool(each & 1)) for each in combinations.tolist()],
        rules={i: hits[row] for i, row in enumerate(chosen.tolist()) if row in hits},
    )


def _kind(alert: DriftAlert) -> str:
    return "alert" if alert.layer == GUARD else "drift alert"


def _flags(bits: int, scorer: Scorer | None, broken: bool) -> tuple[str, ...]:
    names = flag_names(bits) if bits else []
    if scorer is None:
        names.append(NO_MODEL)
    if broken:
        names.append(MODEL_ERROR)
    return tuple(names)


def _outgoing(claims: AcceptedEvents, ids: ByteStrings, bodies: ByteStrings) -> OutgoingColumns:
    """Make outgoing records of decisions, each with the trace header of its claim."""
    records = claims.records
    traces: list[Headers] | None = None
    if records.headers is not None:
        traces = [tuple(h for h in each if h[0] == TRACE_HEADER) for each in records.headers]
    return OutgoingColumns(
        DECISIONS_TOPIC, records.partitions(), ids, bodies, records.log_times_ms, traces
    )
