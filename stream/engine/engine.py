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
from claimtrace.ids import digest
from claimtrace.looks import AsOf
from claimtrace.schemas.confluent_frame import Plain
from featurestore.definitions.domain import Domain
from featurestore.state.event_ledger import BEGINNING
from featurestore.state.intake import Intake, IntakeResult
from featurestore.state_arrays import Arrays, below, under
from models.rollout.manifest import Rollout
from models.scorer import Scorer
from monitoring.layers.records import DriftAlert, DriftRecord

from ..journal.plan import Plan, TopicPartition, encoded_plan
from ..journal.terms import Terms
from .applied_batch import AppliedBatch, RolledOut, Scored, deciding, roll_out, score
from .decider import Decider
from .drift_watch import DriftWatch
from .effects import Effects
from .guard_watch import GuardWatch
from .looked import Charge, Looked, looked_at


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
        watches: whether drift and the guards of roll-outs are watched; never part of a decision.
    """

    def __init__(
        self,
        domain: Domain,
        terms: Terms,
        key: Key,
        scorer_of: Callable[[ModelRef], Scorer],
        plain: Plain | None = None,
        rollout_of: Callable[[RolloutRef], Rollout] = no_rollouts,
        *,
        watches: bool = True,
    ) -> None:
        self.domain = domain
        self._watches = watches
        self.edition = terms.edition
        """The edition in force; a plan may begin a newer one."""
        self.tie_order = domain.tie_order(terms.edition)
        """The input topics in their order among equal log times, as of the edition in force."""
        self.decider = Decider(domain, terms)
        self._looker = Decider(domain, terms)
        """Decides on what is only looked at: its chains lead nowhere."""
        self._load = scorer_of
        self._names = domain.feature_names
        self._rollout_of = rollout_of
        self.decoder = ColumnDecoder(domain.events, domain.currency, key, plain)
        self.intake = Intake(domain, key, terms.lateness_ms, terms.remember_ms, terms.edition)
        self._is_flat = self.intake.features.reading.can_read(self.decoder.claims)
        self._drift = DriftWatch(terms, domain.moving_features)
        self._guards = GuardWatch()
        self.positions: dict[TopicPartition, int] = {}
        self.plan = 0
        self.newest_plan: Plan | None = None
        """The last plan applied; None after a restore, until `recall` or the next one."""
        self._charge = Charge(None)

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
        watched = scorer if self._watches else None
        if plan.model is not None and watched is not None:
            # before anything of this batch is counted: a tile holds claims of one model only
            drift_results += self._drift.switch_model(plan.model, watched)
        scored = score(scorer, ingested.vectors.matrix)
        if watched is not None:
            self._count_drift(watched, decoded.facts, ingested, scored)
        drift_results += self._drift.judge_closed()
        rolled = self._roll_out(plan, rollout, scorers, scored, ingested)
        if rolled is not None:
            scored = deciding(rolled)
        if self._watches:
            drift_results += self._guard(plan, decoded.facts, ingested, rolled)
        for span in plan.ranges:
            self.positions[span.topic, span.partition] = span.to_position
        self.plan = plan.number
        self.recall(plan)
        return AppliedBatch(
            plan, records, decoded, ingested, scorer, scored, drift_results, self.edition, rolled
        )

    def look(
        self,
        records: Sequence[Record],
        model: ModelRef | None = None,
        charge: Charge | None = None,
        unknown_schemas: Sequence[int] = (),
    ) -> list[Looked]:
        """Say what would be decided on some claims now; nothing is changed.

        Each claim is looked at as if it was the next record, alone: it doesn't see the others.
        Entities that only they name are forgotten again. Neither state nor chains, ledger and
        drift know afterwards that there was a look.

        Args:
            records: claims, as they would be on the log; positions don't matter.
            model: another model that is to decide alone, such as an earlier version.
            charge: who is in charge; None: as of the newest plan.
            unknown_schemas: ids of schemas that the schema registry doesn't know.

        Returns:
            An answer for each record, in order.

        Raises:
            StateError: `charge` is needed: the state is that of a snapshot, which doesn't have it.
            ModelError: the model takes features that the definitions don't have.
        """
        if not records:
            return []
        records = Records.of(records)
        assert records.is_of(self.domain.claim.topic).all(), "only claims are looked at"
        charge = Charge(model) if model is not None else charge or self.charge
        plan = Plan(number=self.plan + 1, ranges=[], model=charge.model, now_ms=0,
                    rollout=charge.rollout)  # fmt: skip
        scorer = self._scorer_of(charge.model) if charge.model is not None else None
        rollout, scorers = self._models_of(plan)
        decoded, columns = self.decode(records, unknown_schemas)
        ingested = self.intake.look(decoded.facts, columns)
        scored = score(scorer, ingested.vectors.matrix)
        rolled = self._roll_out(plan, rollout, scorers, scored, ingested)
        if rolled is not None:
            scored = deciding(rolled)
        applied = AppliedBatch(
            plan, records, decoded, ingested, scorer, scored, [], self.edition, rolled
        )
        return looked_at(applied, self._looker.verdicts(applied))

    @property
    def charge(self) -> Charge:
        """Who is in charge as of the newest plan.

        Raises:
            StateError: the state is that of a snapshot, which doesn't have it.
        """
        self._check_recalled()
        model, rollout = self._charge
        return Charge(model, None if rollout == self.breached else rollout)

    def recall(self, plan: Plan) -> None:
        """Note the newest plan, which has been applied, and who was in charge of it.

        After a restore the plans of the journal up to `plan` tell this; the snapshot doesn't.
        """
        self.newest_plan = plan
        if not plan.edition:  # a plan that begins an edition has no records, and names no model
            self._charge = Charge(plan.model, plan.rollout)

    def _check_recalled(self) -> None:
        if self.plan and self.newest_plan is None:
            raise StateError(f"plan {self.plan} isn't known beside its snapshot", where="journal")

    @property
    def watermark_ms(self) -> int | None:
        """The newest event time among claims, in ms; None before the first one."""
        watermark = self.intake.watermark
        return None if watermark == BEGINNING else watermark

    def as_of(self, log_time_ms: int) -> AsOf:
        """Return which state a look at a claim with this log time is of.

        Raises:
            StateError: the state is that of a snapshot, whose plan isn't known.
        """
        self._check_recalled()
        newest = self.newest_plan
        if newest is None:
            return AsOf(0, "", None, 0)
        behind_ms = max(log_time_ms - newest.now_ms, 0)
        return AsOf(self.plan, digest(encoded_plan(newest)), self.watermark_ms, behind_ms)

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
        decoded, columns = self.decode(Records.of(records), unknown_schemas)
        return decoded, self.intake.take(decoded.facts, columns)

    def decode(
        self, records: Records, unknown_schemas: Sequence[int] = ()
    ) -> tuple[DecodedBatch, JsonColumns | None]:
        """Decode records; returns also the columns of the accepted claims, if there are any."""
        if self._is_flat:
            return self.decoder.read(records, unknown_schemas)
        # a field that the features read isn't in the columns: an event object for each
        return decoded_batch_of(records, self.decoder.decode(records, unknown_schemas)), None

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
        self.newest_plan = None
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

    def _roll_out(
        self,
        plan: Plan,
        rollout: Rollout | None,
        scorers: Sequence[Scorer],
        champion: Scored,
        ingested: IntakeResult,
    ) -> RolledOut | None:
        """Score by all models of the plan's roll-out; None without one."""
        if rollout is None or plan.rollout is None:
            return None
        vectors = ingested.vectors
        return roll_out(
            plan.rollout, rollout, scorers, champion, vectors.matrix, vectors.split_keys
        )

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
