"""A batch of records in, effects out: the decision path, without a clock, a network or a disk.

    records -> decode -> refuse or accept -> de-duplicate -> features -> score -> rules -> explain
            -> sealed decisions, dead letters, drift records, alerts, offline rows

Events of one batch see each other in order, and no decision depends on where a batch ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.decisions import (
    DECISIONS_TOPIC,
    GENESIS,
    Decision,
    ModelRef,
    RuleHit,
    seal,
)
from claimtrace.events import Outgoing, Record
from claimtrace.ids import decision_id
from claimtrace.models.scorer import Scorer
from claimtrace.monitoring.records import DriftAlert, DriftRecord
from claimtrace.siphash import Key
from claimtrace.wire import UNSEEN, Accepted, Refusal, Wire, flag_names
from featurestore.arrays import Arrays, below, under
from featurestore.domain import Domain
from featurestore.intake import Fact, Intake, Taken
from featurestore.ledger import CONFLICT, DUPLICATE, NEW
from featurestore.offline import DECISIONS, DRIFT, EVENTS, LABELS, PROFILES

from .deadletter import dead_letter
from .drift import DriftWatch, as_outgoing
from .effects import Counts, Effects
from .outcomes import BANDS, OUTCOMES, SCORE_DIGITS, UNSCORED, levels_of, rule_hits
from .plans import Place, Plan, Terms
from .reasons import Explained, explain
from .rows import Decided, decision_rows, drift_rows, event_rows, label_rows, profile_rows

NO_MODEL, MODEL_ERROR = "no_model", "model_error"
"""Flags of a decision that the model had no part in."""


class Scored(NamedTuple):
    """What the model says of each claim: margins float32[n], scores float64[n], NaN if none."""

    margins: NDArray[np.float32]
    scores: NDArray[np.float64]
    broken: NDArray[np.bool_]


class Judged(NamedTuple):
    """What stands on each claim's decision, as plain values; no score, no margin."""

    scores: list[float | None]
    margins: list[float | None]
    bands: list[str]
    outcomes: list[str]
    flags: list[list[str]]


class Engine:
    """The state of one order of events, and the arithmetic over it.

    Args:
        domain: definitions and rules.
        terms: what the journal was begun with.
        key: for the indexes of ids.
        scorer_of: gives the loaded, verified model of a version.
    """

    def __init__(
        self, domain: Domain, terms: Terms, key: Key, scorer_of: Callable[[ModelRef], Scorer]
    ) -> None:
        self._domain = domain
        self._terms = terms
        self._scorer_of = scorer_of
        self.wire = Wire(domain.events, domain.currency, key)
        self.intake = Intake(domain, key, terms.lateness_ms, terms.remember_ms)
        self._drift = DriftWatch(terms, domain.moving_features)
        self._definitions = domain.definitions_digest
        self._rules = domain.rules_digest
        self.positions: dict[Place, int] = {}
        self.chains: dict[int, str] = {}
        self.plan = 0

    def step(self, plan: Plan, records: Sequence[Record]) -> Effects:
        """Apply a plan to its records, given in plan order; the next plan must follow this one."""
        assert plan.number == self.plan + 1, "plans are applied in order, each once"
        answers = self.wire.decode(records)
        pairs = list(zip(records, answers, strict=True))
        facts = [Fact(record, answer) for record, answer in pairs if isinstance(answer, Accepted)]
        taken = self.intake.take(facts)
        counts, dead = self._sort_out(pairs, taken)
        scorer = self._scorer_of(plan.model) if plan.model is not None else None
        said: list[DriftRecord | DriftAlert] = []
        if plan.model is not None and scorer is not None:
            said += self._drift.take_charge(plan.model, scorer)
        sealed, decided = self._decide(facts, taken, plan.model, scorer, counts)
        said += self._drift.closed()
        counts.alerts = sum(isinstance(each, DriftAlert) for each in said)
        log_time_ms = records[-1].log_time_ms if records else 0
        rows = self._rows(records, answers, facts, taken, decided, said)
        for span in plan.ranges:
            self.positions[span.topic, span.partition] = span.to_position
        self.plan = plan.number
        notices = tuple(
            f"drift alert {each.state}, {each.layer}: {each.text}"
            for each in said
            if isinstance(each, DriftAlert)
        )
        return Effects([*sealed, *dead, *as_outgoing(said, log_time_ms)], rows, counts, notices)

    def forget(self) -> None:
        """Give back memory that nothing can reach; never changes a decision."""
        self.intake.forget()

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        places = sorted(self.positions.items())
        plain = msgspec.json.encode([self.plan, places, sorted(self.chains.items())])
        return {
            "engine": np.frombuffer(plain, np.uint8),
            **under("intake/", self.intake.arrays()),
            **under("drift/", self._drift.arrays()),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        kind = tuple[int, list[tuple[Place, int]], list[tuple[int, str]]]
        plain = msgspec.json.decode(arrays["engine"].tobytes(), type=kind)
        self.plan, self.positions, self.chains = plain[0], dict(plain[1]), dict(plain[2])
        self.intake.restore(below("intake/", arrays))
        self._drift.restore(below("drift/", arrays), self._scorer_of)

    def _sort_out(
        self,
        pairs: list[tuple[Record, Accepted | Refusal | None]],
        taken: Taken,
    ) -> tuple[Counts, list[Outgoing]]:
        """Count what came, and turn what can't be taken into dead letters, in log order."""
        counts = Counts(records=len(pairs), claims=len(taken.claims))
        dead: list[Outgoing] = []
        place = 0
        label_topic = self._domain.labels.event.topic if self._domain.labels else ""
        for record, answer in pairs:
            if answer is None:
                counts.tombstones += 1
            elif isinstance(answer, Refusal):
                dead.append(dead_letter(record, answer))
            else:
                status = taken.statuses[place]
                place += 1
                if status == CONFLICT:
                    dead.append(dead_letter(record, Refusal("id_conflict")))
                elif status == DUPLICATE:
                    counts.duplicates += 1
                elif record.topic == label_topic:
                    counts.labels += 1
                elif record.topic != self._domain.claim.topic:
                    counts.changes += 1
        counts.dead = len(dead)
        counts.late = sum(taken.late)
        counts.unmatched_labels = taken.unmatched_labels
        counts.unseen_categories = int(np.count_nonzero(taken.vectors.flags & UNSEEN))
        return counts, dead

    def _decide(
        self,
        facts: list[Fact],
        taken: Taken,
        ref: ModelRef | None,
        scorer: Scorer | None,
        counts: Counts,
    ) -> tuple[list[Outgoing], list[Decided]]:
        """Score, judge, explain and seal the new claims."""
        claims = [facts[place] for place in taken.claims]
        matrix = taken.vectors.matrix
        scored = _score(scorer, matrix)
        review, refer = _thresholds(scorer)
        hits, asked = rule_hits(self._domain.rules, taken.vectors.columns, len(claims))
        model_levels = levels_of(scored.scores, review, refer)
        levels = np.maximum(np.maximum(model_levels, asked), scored.broken.astype(np.int64))
        self._count_drift(claims, taken, scorer, scored, model_levels == 2)
        explained = self._explain(claims, matrix, scorer, np.flatnonzero(levels == 2))
        counts.referred = int(np.count_nonzero(levels == 2))
        counts.reviewed = int(np.count_nonzero(levels == 1))
        counts.scored = int(np.count_nonzero(~np.isnan(scored.scores)))
        judged = _judged(claims, taken.vectors.flags, scored, model_levels, levels, scorer)
        threshold = refer if scorer is not None else None
        return self._seal(claims, taken, judged, hits, explained, ref, threshold)

    def _seal(
        self,
        claims: list[Fact],
        taken: Taken,
        judged: Judged,
        hits: list[list[RuleHit]],
        explained: dict[int, Explained],
        ref: ModelRef | None,
        threshold: float | None,
    ) -> tuple[list[Outgoing], list[Decided]]:
        """Write the decisions down and link each to the one before it on its partition."""
        matrix = taken.vectors.matrix
        vectors, row_bytes = matrix.tolist(), matrix.tobytes()
        stride = matrix.shape[1] * matrix.itemsize
        keys = taken.vectors.keys[self._domain.split_by.key]
        amounts = taken.vectors.amounts.tolist()
        sealed: list[Outgoing] = []
        decided: list[Decided] = []
        for i, (record, accepted) in enumerate(claims):
            why = explained.get(i)
            row = row_bytes[i * stride : (i + 1) * stride]
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
                score=judged.scores[i],
                margin=judged.margins[i],
                band=judged.bands[i],
                outcome=judged.outcomes[i],
                threshold=threshold,
                rules=hits[i],
                base_margin=why.base_margin if why else None,
                rest_margin=why.rest_margin if why else None,
                reasons=why.reasons if why else [],
                features=vectors[i],
                feature_hash=hashlib.sha256(row).hexdigest()[:32],
                model=ref,
                definitions=self._definitions,
                rules_digest=self._rules,
                shadow=[],
                flags=judged.flags[i],
            )
            body, chain = seal(decision, self.chains.get(record.partition, GENESIS))
            self.chains[record.partition] = chain
            key = accepted.event_id.encode()
            sealed.append(
                Outgoing(DECISIONS_TOPIC, record.partition, key, body, record.log_time_ms)
            )
            decided.append(Decided(decision, chain, keys[i], amounts[i]))
        return sealed, decided

    def _explain(
        self,
        claims: list[Fact],
        matrix: NDArray[np.float64],
        scorer: Scorer | None,
        places: NDArray[np.int64],
    ) -> dict[int, Explained]:
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

    def _count_drift(
        self,
        claims: list[Fact],
        taken: Taken,
        scorer: Scorer | None,
        scored: Scored,
        referred: NDArray[np.bool_],
    ) -> None:
        if scorer is None:
            return
        times = np.array([fact.accepted.event_time_ms for fact in claims], np.int64)
        unseen = ((taken.vectors.flags & UNSEEN) != 0).astype(np.int64)
        self._drift.count(times, taken.vectors.matrix, scored.scores, referred, unseen)
        labels = taken.outcomes
        self._drift.count_outcomes([time for time, _ in labels], [fraud for _, fraud in labels])

    def _rows(
        self,
        records: Sequence[Record],
        answers: Sequence[Accepted | Refusal | None],
        facts: list[Fact],
        taken: Taken,
        decided: list[Decided],
        said: list[DriftRecord | DriftAlert],
    ) -> dict[str, pa.Table]:
        """Rows for the offline store; tables without rows are left out."""
        domain = self._domain
        new = [f for f, s in zip(facts, taken.statuses, strict=True) if s == NEW]
        by_topic: dict[str, list[Fact]] = {}
        for fact in new:
            by_topic.setdefault(fact.record.topic, []).append(fact)
        rows: dict[str, pa.Table] = {}
        if records:
            rows[EVENTS] = event_rows(records, answers)
        if decided:
            rows[DECISIONS] = decision_rows(decided, taken.vectors.matrix)
        if domain.labels is not None and domain.labels.event.topic in by_topic:
            rows[LABELS] = label_rows(domain, by_topic[domain.labels.event.topic])
        groups = {
            g.name: by_topic[g.event.topic] for g in domain.groups if g.event.topic in by_topic
        }
        if groups:
            rows[PROFILES] = profile_rows(domain, groups)
        judged = [each for each in said if isinstance(each, DriftRecord)]
        if judged:
            rows[DRIFT] = drift_rows(judged)
        return rows


def _score(scorer: Scorer | None, matrix: NDArray[np.float64]) -> Scored:
    rows = len(matrix)
    if scorer is None or not rows:
        nothing = np.full(rows, np.nan)
        return Scored(nothing.astype(np.float32), nothing, np.zeros(rows, np.bool_))
    margins = scorer.margins(matrix)
    scores = np.round(scorer.probabilities(margins), SCORE_DIGITS)
    broken = ~((scores >= 0.0) & (scores <= 1.0))
    return Scored(margins, np.where(broken, np.nan, scores), broken)


def _thresholds(scorer: Scorer | None) -> tuple[float, float]:
    if scorer is None:
        return np.inf, np.inf
    thresholds = scorer.manifest.thresholds
    return thresholds.review, thresholds.refer


def _judged(
    claims: list[Fact],
    flags: NDArray[np.int64],
    scored: Scored,
    model_levels: NDArray[np.int64],
    levels: NDArray[np.int64],
    scorer: Scorer | None,
) -> Judged:
    scores = [score if score == score else None for score in scored.scores.tolist()]
    pairs = list(zip(scores, scored.margins.tolist(), model_levels.tolist(), strict=True))
    bits = [fact.accepted.flags | more for fact, more in zip(claims, flags.tolist(), strict=True)]
    broken = scored.broken.tolist()
    return Judged(
        scores=scores,
        margins=[None if score is None else margin for score, margin, _ in pairs],
        bands=[UNSCORED if score is None else BANDS[level] for score, _, level in pairs],
        outcomes=[OUTCOMES[level] for level in levels.tolist()],
        flags=[_flags(each, scorer, wrong) for each, wrong in zip(bits, broken, strict=True)],
    )


def _flags(bits: int, scorer: Scorer | None, broken: bool) -> list[str]:
    names = flag_names(bits) if bits else []
    if scorer is None:
        names.append(NO_MODEL)
    if broken:
        names.append(MODEL_ERROR)
    return names
