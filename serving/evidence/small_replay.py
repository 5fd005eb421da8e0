"""One decision again, on a fresh engine that is given only the records that it may depend on.

The hash of the vector tells whether it is the sealed one. Nothing watches for drift: the plans of
the history name no model, so that nothing is scored or counted but the claim itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.batches.records import Records
from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, Reason, SealedDecision
from claimtrace.events import Record
from models.scorer import Scorer
from stream.decisions.reasons import Explainer
from stream.engine.applied_batch import AppliedBatch
from stream.engine.engine import Engine
from stream.engine.looked import Charge
from stream.journal.plan import Plan

from .index import EvidenceIndex
from .selection import Rows

LEAST_REASONS: Final = 5
"""Reasons of a decision whose journal asks for none."""

_NO_PLAN: Final = 2**31 - 1
"""A number that no plan reaches."""


class Replayed(NamedTuple):
    """The decision that a small replay gave.

    Args:
        decision: with the chain that follows from the one before.
        sealed: its bytes.
        vector: float64[features], NaN for missing.
        columns: features, `field:` and `profile:` numbers by name, one value each.
        scorer: the model that decided; None without one.
        contributions: float64[taken + 1], of the margin; None without a model.
        reasons: the largest contributions, whatever the outcome.
        base_margin, rest_margin: of `reasons`; None without a model.
    """

    decision: SealedDecision
    sealed: bytes
    vector: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]
    scorer: Scorer | None
    contributions: NDArray[np.float64] | None
    reasons: list[Reason]
    base_margin: float | None
    rest_margin: float | None


class SmallReplay:
    """A fresh engine with the history of one claim; claims can be looked at, and one decided.

    Args:
        engine: without any state, on the terms of the journal.
        index: tells the edition of each record, by its plan.
        editions: (plan, edition) of the plans that began one before the claim, ascending.
    """

    def __init__(
        self, engine: Engine, index: EvidenceIndex, editions: Sequence[tuple[int, int]]
    ) -> None:
        self.engine = engine
        self._index, self._editions = index, editions

    def take(self, rows: Rows, records: Records) -> None:
        """Apply the history.

        Args:
            rows: ascending rows of the index.
            records: their records, in the same order.
        """
        plans = self._index.columns["plans"][rows]
        start = 0
        for plan, edition in [*self._editions, (_NO_PLAN, 0)]:
            end = int(np.searchsorted(plans, plan))
            if end > start:
                self.engine.ingest(records.take(np.arange(start, end)))
            start = end
            if edition:
                self.engine.begin(edition)

    def decide(
        self, record: Record, charge: Charge, unknown_schemas: Sequence[int], chain_before: str,
        reasons: int,
    ) -> Replayed | None:  # fmt: skip
        """Decide on a claim as the next record; None if it doesn't get a decision.

        Args:
            record: the claim.
            charge: the model and the roll-out that decide.
            unknown_schemas: as the claim's plan has them.
            chain_before: the chain of the decision before it.
            reasons: how many reasons at the most; 0: `LEAST_REASONS`.
        """
        engine = self.engine
        engine.decider.chains[record.partition] = chain_before or GENESIS
        plan = Plan(number=engine.plan + 1, ranges=[], model=charge.model, now_ms=0,
                    unknown_schemas=list(unknown_schemas), rollout=charge.rollout)  # fmt: skip
        applied = engine.apply(plan, [record])
        if not len(applied.ingested.claims):
            return None
        outgoing = engine.decider.decide(applied).outgoing
        sealed = next(each.value for each in outgoing if each.topic == DECISIONS_TOPIC) or b""
        decision = msgspec.json.decode(sealed, type=SealedDecision)
        return _replayed(engine, applied, decision, sealed, reasons)


def _replayed(
    engine: Engine, applied: AppliedBatch, decision: SealedDecision, sealed: bytes, most: int
) -> Replayed:
    vectors = applied.ingested.vectors
    columns = {name: column[:1] for name, column in vectors.columns.items()}
    scorer = applied.scorer
    if applied.rolled is not None:
        scorer = applied.rolled.scorers[int(applied.rolled.arms[0])]
    if scorer is None:
        return Replayed(decision, sealed, vectors.matrix[0], columns, None, None, [], None, None)
    manifest = scorer.manifest
    explainer = Explainer(engine.domain.features, manifest.baselines, most or LEAST_REASONS,
                          manifest.features)  # fmt: skip
    contributions = scorer.contributions(vectors.matrix)
    found = explainer.explain(vectors.matrix, contributions, [decision.event_time_ms])[0]
    return Replayed(decision, sealed, vectors.matrix[0], columns, scorer, contributions[0],
                    found.reasons, found.base_margin, found.rest_margin)  # fmt: skip
