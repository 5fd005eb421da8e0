"""From an applied batch to decisions: rules, explanation, seal, dead letters, offline rows.

A worker decides on the places that it owns: a record's effects belong to the partition it came on,
what drift has to say belongs to the journal. Who decides never matters for the bytes; the chains
are the only state here, one a partition of the claims.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, Decision, RuleHit, seal
from claimtrace.events import Outgoing, Record
from claimtrace.ids import decision_id
from claimtrace.models.scorer import Scorer
from claimtrace.monitoring.records import DriftAlert, DriftRecord
from claimtrace.wire import UNSEEN, Accepted, Refusal, flag_names
from featurestore.domain import Domain
from featurestore.intake import Fact
from featurestore.ledger import CONFLICT, DUPLICATE, NEW
from featurestore.offline import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES

from .applied import Applied
from .deadletter import dead_letter
from .drift import as_outgoing
from .effects import Counts, Effects
from .outcomes import BANDS, OUTCOMES, UNSCORED, rule_hits, thresholds_of
from .plans import JOURNAL, Place, Terms
from .reasons import Explained, explain
from .rows import Decided, decision_rows, drift_rows, event_rows, label_rows, profile_rows

NO_MODEL, MODEL_ERROR = "no_model", "model_error"
"""Flags of a decision that the model had no part in."""

TRACE_HEADER = "traceparent"
"""W3C trace context: a decision carries on the trace of its claim."""


class Judged(NamedTuple):
    """What stands on a claim's decision beside its facts; no score without a model."""

    score: float | None
    margin: float | None
    band: str
    outcome: str
    flags: list[str]
    rules: list[RuleHit]


class Decider:
    """Decides on applied batches; `chains` holds the head of each partition's chain."""

    def __init__(self, domain: Domain, terms: Terms) -> None:
        self._domain = domain
        self._terms = terms
        self._definitions = domain.definitions_digest
        self._rules = domain.rules_digest
        self.chains: dict[int, str] = {}

    def decide(self, applied: Applied, owned: Set[Place] | None = None) -> Effects:
        """What the batch wants done on the places owned; on all of them when None is given."""
        ranges = applied.plan.ranges
        touched = {JOURNAL, *((span.topic, span.partition) for span in ranges)}
        whole = owned is None or touched <= owned
        mine = None if whole else owned
        counts, dead = self._sort_out(applied, mine)
        sealed, decided, places = self._claims(applied, mine, counts)
        said = applied.said if mine is None or JOURNAL in mine else ()
        counts.alerts = sum(isinstance(each, DriftAlert) for each in said)
        rows = self._rows(applied, mine, decided, places, said)
        notices = tuple(
            f"drift alert {each.state}, {each.layer}: {each.text}"
            for each in said
            if isinstance(each, DriftAlert)
        )
        log_time_ms = applied.records[-1].log_time_ms if applied.records else 0
        outgoing = [*sealed, *dead, *as_outgoing(list(said), log_time_ms)]
        return Effects(outgoing, rows, counts, notices)

    def _sort_out(self, applied: Applied, mine: Set[Place] | None) -> tuple[Counts, list[Outgoing]]:
        """Count what came, and turn what can't be taken into dead letters, in log order."""
        counts = Counts()
        dead: list[Outgoing] = []
        statuses = iter(applied.taken.statuses)
        label_topic = self._domain.labels.event.topic if self._domain.labels else ""
        for record, answer in zip(applied.records, applied.answers, strict=True):
            status = next(statuses) if isinstance(answer, Accepted) else NEW
            if mine is not None and (record.topic, record.partition) not in mine:
                continue
            counts.records += 1
            if answer is None:
                counts.tombstones += 1
            elif isinstance(answer, Refusal):
                dead.append(dead_letter(record, answer))
            elif status == CONFLICT:
                dead.append(dead_letter(record, Refusal("id_conflict")))
            elif status == DUPLICATE:
                counts.duplicates += 1
            elif record.topic == label_topic:
                counts.labels += 1
            elif record.topic != self._domain.claim.topic:
                counts.changes += 1
        counts.dead = len(dead)
        if mine is None or JOURNAL in mine:
            counts.unmatched_labels = applied.taken.unmatched_labels
        return counts, dead

    def _claims(
        self, applied: Applied, mine: Set[Place] | None, counts: Counts
    ) -> tuple[list[Outgoing], list[Decided], list[int]]:
        """Judge, explain and seal the new claims of the places owned; also their places among all
        claims of the batch."""
        taken, scored = applied.taken, applied.scored
        claims = [applied.facts[place] for place in taken.claims]
        hits, asked = rule_hits(self._domain.rules, taken.vectors.columns, len(claims))
        levels = np.maximum(np.maximum(scored.levels, asked), scored.broken.astype(np.int64))
        places = [
            i
            for i, (record, _) in enumerate(claims)
            if mine is None or (record.topic, record.partition) in mine
        ]
        chosen = np.array(places, np.int64)
        own_levels = levels[chosen]
        explained = self._explain(applied, claims, chosen[own_levels == 2])
        counts.claims = len(places)
        counts.late = sum(taken.late[i] for i in places)
        counts.referred = int(np.count_nonzero(own_levels == 2))
        counts.reviewed = int(np.count_nonzero(own_levels == 1))
        counts.scored = int(np.count_nonzero(~np.isnan(scored.scores[chosen])))
        counts.unseen_categories = int(np.count_nonzero(taken.vectors.flags[chosen] & UNSEEN))
        own = [claims[i] for i in places]
        judged = _judged(applied, own, chosen, own_levels, [hits[i] for i in places])
        sealed, decided = self._seal(applied, own, chosen, judged, explained)
        return sealed, decided, places

    def _seal(
        self,
        applied: Applied,
        claims: list[Fact],
        places: NDArray[np.int64],
        judged: list[Judged],
        explained: dict[int, Explained],
    ) -> tuple[list[Outgoing], list[Decided]]:
        """Write the decisions down and link each to the one before it on its partition."""
        found = applied.taken.vectors
        matrix = found.matrix[places]
        row_bytes, stride = matrix.tobytes(), matrix.shape[1] * matrix.itemsize
        keys = found.keys[self._domain.split_by.key]
        amounts = found.amounts.tolist()
        threshold = thresholds_of(applied.scorer)[1] if applied.scorer is not None else None
        sealed: list[Outgoing] = []
        decided: list[Decided] = []
        columns = zip(claims, places.tolist(), matrix.tolist(), judged, strict=True)
        for at, ((record, accepted), i, vector, verdict) in enumerate(columns):
            why = explained.get(i)
            row = row_bytes[at * stride : (at + 1) * stride]
            decision = Decision(
                decision_id=decision_id(accepted.event_id, self._domain.name),
                claim_id=accepted.event_id,
                policy=self._domain.name,
                topic=record.topic,
                partition=record.partition,
                position=record.position,
                event_time_ms=accepted.event_time_ms,
                log_time_ms=record.log_time_ms,
                known_time_ms=record.log_time_ms,
                score=verdict.score,
                margin=verdict.margin,
                band=verdict.band,
                outcome=verdict.outcome,
                threshold=threshold,
                rules=verdict.rules,
                base_margin=why.base_margin if why else None,
                rest_margin=why.rest_margin if why else None,
                reasons=why.reasons if why else [],
                features=vector,
                feature_hash=hashlib.sha256(row).hexdigest()[:32],
                model=applied.plan.model,
                definitions=self._definitions,
                rules_digest=self._rules,
                shadow=[],
                flags=verdict.flags,
            )
            body, chain = seal(decision, self.chains.get(record.partition, GENESIS))
            self.chains[record.partition] = chain
            sealed.append(_outgoing(record, accepted.event_id, body))
            decided.append(Decided(decision, chain, keys[i], amounts[i]))
        return sealed, decided

    def _explain(
        self, applied: Applied, claims: list[Fact], places: NDArray[np.int64]
    ) -> dict[int, Explained]:
        scorer, matrix = applied.scorer, applied.taken.vectors.matrix
        if scorer is None or not places.size:
            return {}
        shares = scorer.contributions(matrix[places])
        return {
            i: explain(
                self._domain.features,
                matrix[i],
                share,
                scorer.manifest.baselines,
                claims[i].accepted.event_time_ms,
                self._terms.reasons,
            )
            for i, share in zip(places.tolist(), shares, strict=True)
        }

    def _rows(
        self,
        applied: Applied,
        mine: Set[Place] | None,
        decided: list[Decided],
        places: list[int],
        said: Sequence[DriftRecord | DriftAlert],
    ) -> dict[str, pa.Table]:
        """Rows for the offline store; tables without rows are left out."""
        domain, rows = self._domain, dict[str, pa.Table]()
        pairs = [
            pair
            for pair in zip(applied.records, applied.answers, strict=True)
            if mine is None or (pair[0].topic, pair[0].partition) in mine
        ]
        by_topic: dict[str, list[Fact]] = {}
        for fact, status in zip(applied.facts, applied.taken.statuses, strict=True):
            record = fact.record
            if status == NEW and (mine is None or (record.topic, record.partition) in mine):
                by_topic.setdefault(record.topic, []).append(fact)
        if pairs:
            rows[EVENTS] = event_rows([r for r, _ in pairs], [a for _, a in pairs])
        if decided:
            rows[DECISIONS] = decision_rows(decided, applied.taken.vectors.matrix[places])
        if domain.labels is not None and domain.labels.event.topic in by_topic:
            rows[LABELS] = label_rows(domain, by_topic[domain.labels.event.topic])
        groups = {
            g.name: by_topic[g.event.topic] for g in domain.groups if g.event.topic in by_topic
        }
        if groups:
            rows[PROFILES] = profile_rows(domain, groups)
        windows = [each for each in said if isinstance(each, DriftRecord)]
        if windows:
            rows[DRIFT] = drift_rows(windows)
        return rows


def _judged(
    applied: Applied,
    claims: list[Fact],
    places: NDArray[np.int64],
    levels: NDArray[np.int64],
    hits: list[list[RuleHit]],
) -> list[Judged]:
    scored, scorer = applied.scored, applied.scorer
    columns = zip(
        claims, applied.taken.vectors.flags[places].tolist(), scored.scores[places].tolist(),
        scored.margins[places].tolist(), scored.levels[places].tolist(),
        scored.broken[places].tolist(), levels.tolist(), hits, strict=True,
    )  # fmt: skip
    judged = []
    for fact, more, score, margin, model_level, broken, level, fired in columns:
        flags = _flags(fact.accepted.flags | more, scorer, broken)
        if score != score:  # NaN
            judged.append(Judged(None, None, UNSCORED, OUTCOMES[level], flags, fired))
        else:
            band = BANDS[model_level]
            judged.append(Judged(score, margin, band, OUTCOMES[level], flags, fired))
    return judged


def _flags(bits: int, scorer: Scorer | None, broken: bool) -> list[str]:
    names = flag_names(bits) if bits else []
    if scorer is None:
        names.append(NO_MODEL)
    if broken:
        names.append(MODEL_ERROR)
    return names


def _outgoing(record: Record, event_id: str, body: bytes) -> Outgoing:
    """A decision on its way, with the trace that its claim came with."""
    traces = tuple(h for h in record.headers if h[0] == TRACE_HEADER) if record.headers else ()
    key = event_id.encode()
    return Outgoing(DECISIONS_TOPIC, record.partition, key, body, record.log_time_ms, traces)
