"""Gather the evidence for one decision from an index, the log, the journal and the registry.

A `Gatherer` may be kept: a process that answers many questions opens index and models once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from claimtrace.batches.records import Records
from claimtrace.decisions import DECISIONS_TOPIC, SealedDecision, chain_of, check_seal
from claimtrace.errors import StateError
from claimtrace.events import Record
from stream.engine.looked import Looked
from stream.journal.terms import Terms

from .cases import Case, Cases, When
from .changed_claim import changed, check_changes
from .counting import Counter
from .evidence import AsOf, ChainProof, Evidence, ModelEvidence, Recomputed, WhatIf
from .explained import features_of, rules_of_decision
from .history import PastClaim, past_of
from .index import EvidenceIndex
from .record_columns import columns_of
from .small_replay import Replayed
from .sources import Sealed, Sources
from .thinking import smallest_changes, what_if


class Gatherer:
    """Gathers evidence.

    Args:
        index: extended to the journal's end.
        sources: see there.
        terms: of the journal.
    """

    def __init__(self, index: EvidenceIndex, sources: Sources, terms: Terms) -> None:
        self._index, self._sources, self._terms = index, sources, terms
        self._cases = Cases(index, sources, terms)

    def refresh(self) -> None:
        """Note plans that were added to the journal; the index must have been extended before."""
        self._cases = Cases(self._index, self._sources, self._terms)

    def evidence(
        self, claim_id: str, when: When | None = None, changes: Mapping[str, Any] | None = None
    ) -> Evidence:
        """Return the evidence for the newest decision on a claim.

        Args:
            claim_id: the claim.
            when: the day to look from; None: when it was decided.
            changes: fields of the claim that are thought otherwise; None: no what-if.

        Raises:
            UsageError: there is no decision on such a claim, no such plan, or no such field.
            StateError: the claim's own record is gone, so that nothing can be computed.
        """
        if changes is not None:
            check_changes(self._index.domain, changes)
        case = self._cases.open(self._cases.row_of(claim_id), when or When())
        before = self._index.decisions_before(case.row)
        sealed = self._sources.sealed(case.record.partition, before, case.record.position)
        chain_before = sealed.before if sealed is not None else ""
        replayed = self._decided(case, case.record, chain_before)
        thought = None if changes is None else self._what_if(case, replayed, changes)
        return self._told(case, sealed, replayed, thought)

    def _decided(self, case: Case, record: Record, chain_before: str) -> Replayed:
        """Decide on a claim by a small replay.

        Raises:
            StateError: it gets no decision, because records are missing.
        """
        found = self._cases.replay(case).decide(
            record, self._cases.charge(case.plan), case.plan.unknown_schemas, chain_before,
            self._terms.reasons,
        )  # fmt: skip
        if found is None:
            raise StateError(
                "the claim gets no decision in the replay: records are missing",
                where=f"{record.topic}/{record.partition} position {record.position}",
                hint="; ".join(case.missing) or "claimtrace verify tells more",
            )  # fmt: skip
        return found

    def _what_if(self, case: Case, now: Replayed, changes: Mapping[str, Any]) -> WhatIf:
        """Decide on the changed claim, and search its smallest change to a milder outcome."""
        engine, number = self._index.engine, np.array([case.plan.number])
        record, event = changed(engine, case.record, case.event, changes)
        keys = columns_of(engine, self._index.key, Records.of([record]), number)["keys"][:, 0]
        if not np.array_equal(keys, case.keys):  # other entities: another history
            case = self._cases.with_history(case, keys)
        then = self._decided(case, record, "")
        replay, charge = self._cases.replay(case), self._cases.charge(case.plan)

        def look(records: Sequence[Record]) -> list[Looked]:
            return replay.engine.look(records, charge=charge)

        domain, outcome = self._index.domain, then.decision.outcome
        smallest = smallest_changes(domain, look, record, event, outcome)
        return what_if(now, then, domain, case.event, changes, smallest)

    def _told(
        self, case: Case, sealed: Sealed | None, replayed: Replayed, thought: WhatIf | None
    ) -> Evidence:
        domain, index = self._index.domain, self._index
        decision = replayed.decision
        on_log = (
            msgspec.json.decode(sealed.value, type=SealedDecision) if sealed is not None else None
        )
        edition_of = {row: self._cases.edition_at(int(index.columns["plans"][row]))
                      for row in case.events}  # fmt: skip
        limits = self._terms.lateness_ms, self._terms.remember_ms
        past = past_of(index, case.chosen, case.events, edition_of, limits)
        claim = PastClaim(
            case.row, case.event, decision.claim_id, decision.event_time_ms,
            decision.log_time_ms, case.edition, case.keys, "late" not in decision.flags,
        )  # fmt: skip
        counter = Counter(index, past, claim, case.edition)
        is_sealed = case.is_decision and on_log is not None and bool(on_log.reasons)
        told = on_log if is_sealed and on_log is not None else None
        missing = list(case.missing)
        recomputed = self._recomputed(case, on_log, replayed, sealed)
        if missing and recomputed.same:
            missing.append(
                "the vector is the sealed one all the same: what is gone changed no number"
            )
        if case.is_decision and on_log is None:
            missing.append(
                "the sealed decision isn't on claims.decisions any more: what is shown was "
                "computed again, and there is nothing to compare it with"
            )
        return Evidence(
            claim_id=decision.claim_id, outcome=decision.outcome, score=decision.score,
            band=decision.band, margin=decision.margin, flags=decision.flags,
            decision_id=on_log.decision_id if on_log is not None else "",
            topic=decision.topic, partition=decision.partition, position=decision.position,
            event_time_ms=decision.event_time_ms, known_time_ms=decision.known_time_ms,
            claim=msgspec.Raw(msgspec.json.encode(case.event)),
            definitions=decision.definitions, rules_digest=decision.rules_digest,
            reasons=told.reasons if told else replayed.reasons, reasons_sealed=told is not None,
            base_margin=told.base_margin if told else replayed.base_margin,
            rest_margin=told.rest_margin if told else replayed.rest_margin,
            features=features_of(domain, replayed, counter, claim),
            rules=rules_of_decision(domain, replayed.columns),
            model=self._model(case, replayed),
            chain=_chain_proof(decision.partition, sealed) if sealed is not None else None,
            recomputed=recomputed, complete=not case.missing, missing=missing,
            as_of=AsOf(case.plan.number, self._known_ms(case), case.is_decision),
            what_if=thought,
        )  # fmt: skip

    def _recomputed(
        self, case: Case, on_log: SealedDecision | None, replayed: Replayed,
        sealed: Sealed | None,
    ) -> Recomputed:  # fmt: skip
        decision = replayed.decision
        count, of_count = len(case.records) + 1, case.chosen.below + 1
        if on_log is None:
            return Recomputed(decision.feature_hash, "", None, [], count, of_count)
        same = decision.feature_hash == on_log.feature_hash
        differing = []
        if case.is_decision and sealed is not None and replayed.sealed != sealed.value:
            differing = [
                name
                for name in SealedDecision.__struct_fields__
                if name != "chain" and getattr(decision, name) != getattr(on_log, name)
            ]
        return Recomputed(decision.feature_hash, on_log.feature_hash, same, differing, count,
                          of_count)  # fmt: skip

    def _model(self, case: Case, replayed: Replayed) -> ModelEvidence | None:
        if replayed.scorer is None:
            return None
        ref, thresholds = replayed.scorer.ref, replayed.scorer.manifest.thresholds
        acts, approved, live = self._sources.acts(ref, case.plan.now_ms)
        by_number = {act.number: act for act in acts}
        return ModelEvidence(ref, thresholds.review, thresholds.refer, acts,
                             by_number.get(approved), by_number.get(live))  # fmt: skip

    def _known_ms(self, case: Case) -> int:
        times = self._index.columns["log_times"]
        if case.is_decision:
            return int(times[case.row])
        return int(times[: case.chosen.below].max()) if case.chosen.below else 0


def _chain_proof(partition: int, sealed: Sealed) -> ChainProof:
    chain = chain_of(sealed.value)
    behind = check_seal(sealed.behind, chain) if sealed.behind else None
    return ChainProof(DECISIONS_TOPIC, partition, sealed.position, chain, sealed.before,
                      check_seal(sealed.value, sealed.before), behind)  # fmt: skip
