"""A batch of records changes the state: decoding, windows, margins; no clock, network or disk.

    records -> decode -> refuse or accept -> de-duplicate -> features -> score -> drift
            -> `AppliedBatch`: all that decisions on this batch need, now or later

Every worker applies every plan, in order; which of them decides (`stream.engine.decider`) never
matters. Events of one batch see each other in order, and no decision depends on where a batch ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from claimtrace.batches.accepted import AcceptedEvents, DecodedBatch, decoded_batch_of
from claimtrace.batches.records import Records
from claimtrace.buffers.siphash import Key
from claimtrace.decisions import ModelRef
from claimtrace.encoding.column_decoder import ColumnDecoder
from claimtrace.encoding.json_columns import JsonColumns
from claimtrace.event_flags import UNSEEN
from claimtrace.events import Record
from claimtrace.schemas.confluent_frame import Plain
from featurestore.definitions.domain import Domain
from featurestore.state.intake import Intake, IntakeResult
from featurestore.state_arrays import Arrays, below, under
from models.scorer import Scorer
from monitoring.layers.records import DriftAlert, DriftRecord

from ..journal.plan import Plan, TopicPartition
from ..journal.terms import Terms
from .applied_batch import AppliedBatch, Scored, score
from .decider import Decider
from .drift_watch import DriftWatch
from .effects import Effects


class Engine:
    """The state of one order of events, and the arithmetic over it.

    Args:
        domain: definitions and rules.
        terms: what the journal was begun with.
        key: for the indexes of ids.
        scorer_of: gives the loaded, verified model of a version.
        plain: turns what a schema registry framed into plain JSON; None without a registry.
    """

    def __init__(
        self,
        domain: Domain,
        terms: Terms,
        key: Key,
        scorer_of: Callable[[ModelRef], Scorer],
        plain: Plain | None = None,
    ) -> None:
        self.domain = domain
        self.decider = Decider(domain, terms)
        self._scorer_of = scorer_of
        self.wire = ColumnDecoder(domain.events, domain.currency, key, plain)
        self.intake = Intake(domain, key, terms.lateness_ms, terms.remember_ms)
        self._is_flat = self.intake.features.can_read(self.wire.claims)
        self._drift = DriftWatch(terms, domain.moving_features)
        self.positions: dict[TopicPartition, int] = {}
        self.plan = 0

    def step(self, plan: Plan, records: Sequence[Record]) -> Effects:
        """Apply a plan and decide on all of it."""
        return self.decider.decide(self.apply(plan, records))

    def apply(self, plan: Plan, records: Sequence[Record]) -> AppliedBatch:
        """Apply a plan to its records, given in plan order; the next plan must follow this one."""
        assert plan.number == self.plan + 1, "plans are applied in order, each once"
        scorer = self._scorer_of(plan.model) if plan.model is not None else None
        records = Records.of(records)
        read, taken = self.take_in(records, plan.unknown_schemas)
        said: list[DriftRecord | DriftAlert] = []
        if plan.model is not None and scorer is not None:
            said += self._drift.switch_model(plan.model, scorer)
        scored = score(scorer, taken.vectors.matrix)
        if scorer is not None:
            self._count_drift(read.facts, taken, scored)
        said += self._drift.closed()
        for span in plan.ranges:
            self.positions[span.topic, span.partition] = span.to_position
        self.plan = plan.number
        return AppliedBatch(plan, records, read, taken, scorer, scored, said)

    def take_in(
        self, records: Sequence[Record], unknown_schemas: Sequence[int] = ()
    ) -> tuple[DecodedBatch, IntakeResult]:
        """Decode records, and take what is accepted into the features."""
        records = Records.of(records)
        columns: JsonColumns | None = None
        if self._is_flat:
            read, columns = self.wire.read(records, unknown_schemas)
        else:
            read = decoded_batch_of(records, self.wire.decode(records, unknown_schemas))
        return read, self.intake.take(read.facts, columns)

    def tidy(self) -> Iterator[int]:
        """Give back memory that nothing can reach, a slice at a time: see `Intake.tidy`."""
        return self.intake.tidy()

    def forget(self) -> None:
        """Do all of it now."""
        self.intake.forget()

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        topic_partitions = sorted(self.positions.items())
        plain = msgspec.json.encode(
            [self.plan, topic_partitions, sorted(self.decider.chains.items())]
        )
        return {
            "engine": np.frombuffer(plain, np.uint8),
            **under("intake/", self.intake.arrays()),
            **under("drift/", self._drift.arrays()),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        self.plan, positions, chains = plain_state(arrays)
        self.positions, self.decider.chains = dict(positions), dict(chains)
        self.intake.restore(below("intake/", arrays))
        self._drift.restore(below("drift/", arrays), self._scorer_of)

    def _count_drift(self, facts: AcceptedEvents, taken: IntakeResult, scored: Scored) -> None:
        times = facts.event_times_ms[taken.claims]
        unseen = ((taken.vectors.flags & UNSEEN) != 0).astype(np.int64)
        referred = scored.levels == 2
        self._drift.count(times, taken.vectors.matrix, scored.scores, referred, unseen)
        labels = taken.outcomes
        self._drift.count_outcomes([time for time, _ in labels], [fraud for _, fraud in labels])


def plain_state(
    arrays: Arrays,
) -> tuple[int, list[tuple[TopicPartition, int]], list[tuple[int, str]]]:
    """A snapshot's plan, positions and chains."""
    kind = tuple[int, list[tuple[TopicPartition, int]], list[tuple[int, str]]]
    found: tuple[int, list[tuple[TopicPartition, int]], list[tuple[int, str]]] = (
        msgspec.json.decode(arrays["engine"].tobytes(), type=kind)
    )
    return found
