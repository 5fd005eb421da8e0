"""From an applied batch to decisions: rules, explanation, seal, dead letters, offline rows.

A worker decides on the places that it owns: a record's effects belong to the partition it came on,
what drift has to say belongs to the journal. Who decides never matters for the bytes; the chains
are the only state here, one a partition of the claims.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import DECISIONS_TOPIC, RuleHit
from claimtrace.events import Outgoing
from claimtrace.models.scorer import Scorer
from claimtrace.monitoring.records import DriftAlert, DriftRecord
from claimtrace.wire import UNSEEN, Accepted, Refusal, flag_names
from featurestore.domain import Domain
from featurestore.intake import Fact
from featurestore.ledger import CONFLICT, DUPLICATE, NEW

from .applied import Applied
from .deadletter import dead_letter
from .drift import as_outgoing
from .effects import Counts, Effects
from .outcomes import BANDS, OUTCOMES, UNSCORED, rule_hits, thresholds_of
from .plans import JOURNAL, Place, Terms
from .reasons import Explained, explain
from .rows import BatchRows, Decided
from .sealing import Frame, Verdicts, seal_all

NO_MODEL, MODEL_ERROR = "no_model", "model_error"
"""Flags of a decision that the model had no part in."""

TRACE_HEADER = "traceparent"
"""W3C trace context: a decision carries on the trace of its claim."""


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
        sealed, decided = self._claims(applied, mine, counts)
        said = applied.said if mine is None or JOURNAL in mine else ()
        counts.alerts = sum(isinstance(each, DriftAlert) for each in said)
        rows = self._rows(applied, mine, decided, said)
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
    ) -> tuple[list[Outgoing], Decided | None]:
        """Judge, explain and seal the new claims of the places owned."""
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
        counts.claims = len(places)
        counts.late = sum(taken.late[i] for i in places)
        counts.referred = int(np.count_nonzero(own_levels == 2))
        counts.reviewed = int(np.count_nonzero(own_levels == 1))
        counts.scored = int(np.count_nonzero(~np.isnan(scored.scores[chosen])))
        counts.unseen_categories = int(np.count_nonzero(taken.vectors.flags[chosen] & UNSEEN))
        if not places:
            return [], None
        own = [claims[i] for i in places]
        verdicts = _verdicts(applied, own, chosen, own_levels, [hits[i] for i in places])
        explained = self._explain(applied, own, chosen, np.flatnonzero(own_levels == 2))
        threshold = thresholds_of(applied.scorer)[1] if applied.scorer is not None else None
        frame = Frame(self._domain.name, threshold, applied.plan.model, self._definitions,
                      self._rules)  # fmt: skip
        matrix = taken.vectors.matrix[chosen]
        sealed = seal_all(frame, own, matrix, verdicts, explained, self.chains)
        keys = taken.vectors.split_keys
        unsent = sealed._replace(bodies=[])  # rows have no use for them, and wait for long
        decided = Decided(frame, own, matrix, verdicts, unsent, [keys[i] for i in places],
                          taken.vectors.amounts[chosen])  # fmt: skip
        return list(map(_outgoing, own, sealed.bodies)), decided

    def _explain(
        self,
        applied: Applied,
        claims: list[Fact],
        places: NDArray[np.int64],
        referred: NDArray[np.int64],
    ) -> dict[int, Explained]:
        """Why some of the claims (by place among them) are referred."""
        scorer, matrix = applied.scorer, applied.taken.vectors.matrix[places[referred]]
        if scorer is None or not referred.size:
            return {}
        shares = scorer.contributions(matrix)
        return {
            i: explain(
                self._domain.features,
                vector,
                share,
                scorer.manifest.baselines,
                claims[i].accepted.event_time_ms,
                self._terms.reasons,
            )
            for i, vector, share in zip(referred.tolist(), matrix, shares, strict=True)
        }

    def _rows(
        self,
        applied: Applied,
        mine: Set[Place] | None,
        decided: Decided | None,
        said: Sequence[DriftRecord | DriftAlert],
    ) -> dict[str, BatchRows]:
        """What the rows for the offline store are made of; tables without rows are left out."""
        domain = self._domain
        records, answers = applied.records, applied.answers
        if mine is not None:
            own = [i for i, r in enumerate(records) if (r.topic, r.partition) in mine]
            records, answers = [records[i] for i in own], [answers[i] for i in own]
        by_topic: dict[str, list[Fact]] = {}
        for fact, status in zip(applied.facts, applied.taken.statuses, strict=True):
            record = fact.record
            if status == NEW and (mine is None or (record.topic, record.partition) in mine):
                by_topic.setdefault(record.topic, []).append(fact)
        made = BatchRows(
            domain=domain,
            records=records,
            answers=answers,
            decided=decided,
            labels=by_topic.get(domain.labels.event.topic, ()) if domain.labels else (),
            changes={g.name: by_topic[g.event.topic] for g in domain.groups
                     if g.event.topic in by_topic},
            drift=[each for each in said if isinstance(each, DriftRecord)],
        )  # fmt: skip
        return dict.fromkeys(made.tables(), made)


def _verdicts(
    applied: Applied,
    claims: list[Fact],
    places: NDArray[np.int64],
    levels: NDArray[np.int64],
    hits: list[list[RuleHit]],
) -> Verdicts:
    scored, scorer = applied.scored, applied.scorer
    known = ~np.isnan(scored.scores[places])
    margins = np.where(known, scored.margins[places].astype(np.float64), np.nan)
    bits = applied.taken.vectors.flags[places].tolist()
    broken = scored.broken[places].tolist()
    return Verdicts(
        scores=scored.scores[places],
        margins=margins,
        bands=[
            BANDS[level] if is_scored else UNSCORED
            for level, is_scored in zip(scored.levels[places].tolist(), known.tolist(), strict=True)
        ],
        outcomes=[OUTCOMES[level] for level in levels.tolist()],
        flags=[
            _flags(fact.accepted.flags | more, scorer, is_broken)
            for fact, more, is_broken in zip(claims, bits, broken, strict=True)
        ],
        rules=hits,
    )


def _flags(bits: int, scorer: Scorer | None, broken: bool) -> tuple[str, ...]:
    names = flag_names(bits) if bits else []
    if scorer is None:
        names.append(NO_MODEL)
    if broken:
        names.append(MODEL_ERROR)
    return tuple(names)


def _outgoing(fact: Fact, body: bytes) -> Outgoing:
    """A decision on its way, with the trace that its claim came with."""
    record = fact.record
    traces = tuple(h for h in record.headers if h[0] == TRACE_HEADER) if record.headers else ()
    key = fact.accepted.event_id.encode()
    return Outgoing(DECISIONS_TOPIC, record.partition, key, body, record.log_time_ms, traces)
