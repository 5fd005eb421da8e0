"""Apply batches of records to the state: decoding, windows, scores; no clock, network or disk.

    records -> decode -> refuse or accept -> de-duplicate -> features -> score -> drift
            -> `AppliedBatch`: everything needed to decide on this batch, now or later

Every worker applies every plan, in order; it never matters for the result which worker decides
(`stream.engine.decider`). Events of one batch see each other in order, and no decision depends on
where a batch ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from claimtrace.batches.accepted import AcceptedEvents, DecodedBatch, decoded_batch_of
from claimtrace.batches.records import Records
from claimtrace.buffers.siphash import Key
from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.editions import OLDEST, ROLLOUTS, check_known
from claimtrace.encoding.column_decoder import ColumnDecoder
from claimtrace.encoding.json_columns import JsonColumns
from claimtrace.errors import StateError
from claimtrace.event_flags import UNSEEN
from claimtrace.events import Record
from claimtrace.schemas.confluent_frame import Plain
from featurestore.definitions.domain import Domain
from featurestore.state.intake import Intake, IntakeResult
from featurestore.state_arrays import Arrays, below, under
from models.rollout.manifest import Rollout
from models.scorer import Scorer
from monitoring.layers.records import DriftAlert, DriftRecord

from ..journal.plan import Plan, TopicPartition
from ..journal.terms import Terms
from .applied_batch import AppliedBatch, RolledOut, Scored, deciding, roll_out, score
from .decider import Decider
from .drift_watch import DriftWatch
from .effects import Effects
from .guard_watch import GuardWatch


def no_rollouts(ref: RolloutRef) -> Rollout:
    """Refuse a roll-out where none can be read.

    Raises:
        StateError: always.
    """
    raise StateError(f"a plan needs {ref.label}, and there is no registry", where="models")


class Engine:
    """The state after a sequence of plans, and the arithmetic that advances it.

    Args:
        domain: definitions and rules.
        terms: the terms that the journal was begun with.
        key: the SipHash key of the id indexes.
        scorer_of: returns the loaded, verified model of a version.
        plain: turns a value framed by a schema registry into plain JSON; None without a registry.
        rollout_of: returns the verified manifest of a roll-out.
    """

    def __init__(
        self,
        domain: Domain,
        terms: Terms,
        key: Key,
        scorer_of: Callable[[ModelRef], Scorer],
        plain: Plain | None = None,
        rollout_of: Callable[[RolloutRef], Rollout] = no_rollouts,
    ) -> None:
        self.domain = domain
        self.edition = terms.edition
        """The edition in force; a plan may begin a newer one."""
        self.tie_order = domain.tie_order(terms.edition)
        """The input topics in their order among equal log times, as of the edition in force."""
        self.decider = Decider(domain, terms)
        self._load = scorer_of
        self._names = domain.feature_names
        self._rollout_of = rollout_of
        self.decoder = ColumnDecoder(domain.events, domain.currency, key, plain)
        self.intake = Intake(domain, key, terms.lateness_ms, terms.remember_ms, terms.edition)
        self._is_flat = self.intake.features.can_read(self.decoder.claims)
        self._drift = DriftWatch(terms, domain.moving_features)
        self._guards = GuardWatch()
        self.positions: dict[TopicPartition, int] = {}
        self.plan = 0

    def step(self, plan: Plan, records: Sequence[Record]) -> Effects:
        """Apply a plan and decide on all of its partitions."""
        return self.decider.decide(self.apply(plan, records))

    def apply(self, plan: Plan, records: Sequence[Record]) -> AppliedBatch:
        """Apply the next plan to the state.

        Args:
            plan: its number must follow the last one applied.
            records: the plan's records, in plan order.
        """
        assert plan.number == self.plan + 1, "plans are applied in order, each once"
        if plan.edition:
            self.begin(plan.edition)
        scorer = self._scorer_of(plan.model) if plan.model is not None else None
        rollout, scorers = self._models_of(plan)  # before anything changes: it may have to wait
        records = Records.of(records)
        decoded, ingested = self.ingest(records, plan.unknown_schemas)
        drift_results: list[DriftRecord | DriftAlert] = []
        if plan.model is not None and scorer is not None:
            # before anything of this batch is counted: a tile holds claims of one model only
            drift_results += self._drift.switch_model(plan.model, scorer)
        scored, rolled = score(scorer, ingested.vectors.matrix), None
        if scorer is not None:
            self._count_drift(scorer, decoded.facts, ingested, scored)
        drift_results += self._drift.judge_closed()
        if rollout is not None and plan.rollout is not None:
            vectors = ingested.vectors
            rolled = roll_out(
                plan.rollout, rollout, scorers, scored, vectors.matrix, vectors.split_keys
            )
            scored = deciding(rolled)
        drift_results += self._guard(plan, decoded.facts, ingested, rolled)
        for span in plan.ranges:
            self.positions[span.topic, span.partition] = span.to_position
        self.plan = plan.number
        return AppliedBatch(
            plan, records, decoded, ingested, scorer, scored, drift_results, self.edition, rolled
        )

    @property
    def breached(self) -> RolloutRef | None:
        """The roll-out whose guards were breached and that ends by itself; None: none did."""
        return self._guards.breached

    @property
    def breach(self) -> str:
        """The breach in words; empty without one."""
        return self._guards.breach

    def begin(self, edition: int) -> None:
        """Read ids and count labels by an edition from now on; what was counted stays as it is."""
        self.edition = edition
        self.tie_order = self.domain.tie_order(edition)
        self.intake.begin(edition)

    def ingest(
        self, records: Sequence[Record], unknown_schemas: Sequence[int] = ()
    ) -> tuple[DecodedBatch, IntakeResult]:
        """Decode records and apply the accepted events to the feature state."""
        records = Records.of(records)
        columns: JsonColumns | None = None
        if self._is_flat:
            decoded, columns = self.decoder.read(records, unknown_schemas)
        else:  # a field that the features read isn't in the columns: an event object for each
            decoded = decoded_batch_of(records, self.decoder.decode(records, unknown_schemas))
        return decoded, self.intake.take(decoded.facts, columns)

    def compaction(self) -> Iterator[int]:
        """Free memory that no later event can reach, in slices; see `Intake.compaction`."""
        return self.intake.compaction()

    def arrays(self) -> Arrays:
        """Return all state as named arrays, for a snapshot."""
        state: list[object] = [
            self.plan, sorted(self.positions.items()), sorted(self.decider.chains.items())
        ]  # fmt: skip
        # edition 1 is left out: versions from before editions can go back to such a snapshot, and
        # refuse one that has an edition
        plain = msgspec.json.encode(state if self.edition == OLDEST else [*state, self.edition])
        return {
            "engine": np.frombuffer(plain, np.uint8),
            **under("intake/", self.intake.arrays()),
            **under("drift/", self._drift.arrays()),
            **under("guards/", self._guards.arrays()),
        }

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot."""
        self.plan, positions, chains, edition = plain_state(arrays)
        self.begin(edition)
        self.positions, self.decider.chains = dict(positions), dict(chains)
        self.intake.restore(below("intake/", arrays))
        self._drift.restore(below("drift/", arrays), self._scorer_of)
        self._guards.restore(below("guards/", arrays), self._rollout_of, self._scorer_of)

    def _models_of(self, plan: Plan) -> tuple[Rollout | None, list[Scorer]]:
        """Return the roll-out of a plan and the scorers of all of its models.

        Raises:
            StateError: the plan contradicts itself.
        """
        if plan.rollout is None:
            return None, []
        rollout = self._rollout_of(plan.rollout)
        if self.edition < ROLLOUTS or rollout.champion != plan.model:
            raise StateError(
                f"plan {plan.number} names {plan.rollout.label}, which can't be in force there",
                where="journal", hint="restore the journal from a copy",
            )  # fmt: skip
        return rollout, [self._scorer_of(ref) for ref in rollout.models]

    def _guard(
        self, plan: Plan, facts: AcceptedEvents, ingested: IntakeResult, rolled: RolledOut | None
    ) -> list[DriftAlert]:
        """Count the claims of a roll-out with a canary, and judge the tiles that have closed."""
        self._guards.switch(plan.rollout, rolled)
        if rolled is None or rolled.rollout.canary is None:
            return []
        unseen = ((ingested.vectors.flags & UNSEEN) != 0).astype(np.int64)
        return self._guards.count(facts.event_times_ms[ingested.claims], rolled, unseen)

    def _scorer_of(self, ref: ModelRef) -> Scorer:
        """Return the model of a version; it picks its features out of the served vectors."""
        return self._load(ref).taking(self._names)

    def _count_drift(
        self, scorer: Scorer, facts: AcceptedEvents, ingested: IntakeResult, scored: Scored
    ) -> None:
        times = facts.event_times_ms[ingested.claims]
        unseen = ((ingested.vectors.flags & UNSEEN) != 0).astype(np.int64)
        referred = scored.levels == 2
        inputs = scorer.inputs(ingested.vectors.matrix)
        self._drift.count(times, inputs, scored.scores, referred, unseen)
        self._drift.count_outcomes(ingested.outcomes)


_Positions = list[tuple[TopicPartition, int]]
_Chains = list[tuple[int, str]]


def plain_state(arrays: Arrays) -> tuple[int, _Positions, _Chains, int]:
    """Read the plan number, the positions, the chain heads and the edition of a snapshot.

    Raises:
        StateError: the snapshot is of an edition that this version doesn't know.
    """
    written = msgspec.json.decode(arrays["engine"].tobytes())
    edition = written.pop() if len(written) > _WITHOUT_EDITION else OLDEST
    check_known(edition, "", "snapshots")
    shape = tuple[int, _Positions, _Chains]
    plan, positions, chains = msgspec.convert(written, shape)
    return plan, positions, chains, edition


_WITHOUT_EDITION = 3
