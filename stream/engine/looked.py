"""The answer to a look at a claim, and who is in charge when it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.looks import unsealed
from claimtrace.refusals import Refusal
from featurestore.state.event_ledger import CONFLICT, DUPLICATE, NEW

from .applied_batch import AppliedBatch


class Charge(NamedTuple):
    """The model in charge and the roll-out beside it, whose champion is that model."""

    model: ModelRef | None
    rollout: RolloutRef | None = None


class Looked(NamedTuple):
    """What would become of a claim if it was the next record on the log.

    It would be decided (`decision`), become a dead letter (`refusal`), or be left out, because an
    event with its id and the same bytes has been accepted already (`is_known`). All three are empty
    for a record without a value.

    Args:
        decision: the decision as JSON, without `decision_id`, `position` and `chain`; see
            `claimtrace.looks`.
        refusal: why it would become a dead letter.
        is_known: whether it is a duplicate; its decision is on the log.
    """

    decision: bytes = b""
    refusal: Refusal | None = None
    is_known: bool = False


def looked_at(applied: AppliedBatch, sealed: Sequence[bytes]) -> list[Looked]:
    """Return an answer for each record of a look.

    Args:
        applied: the claims as if they were a batch.
        sealed: the sealed decisions on the new ones among them, in order.
    """
    answers = [Looked() for _ in range(len(applied.records))]
    for at, refusal in applied.decoded.refused.items():
        answers[at] = Looked(refusal=refusal)
    accepted, statuses = applied.decoded.accepted, applied.ingested.statuses
    for at in accepted[statuses == DUPLICATE].tolist():
        answers[at] = Looked(is_known=True)
    for at in accepted[statuses == CONFLICT].tolist():
        answers[at] = Looked(refusal=Refusal("id_conflict"))
    for at, each in zip(accepted[statuses == NEW].tolist(), sealed, strict=True):
        answers[at] = Looked(decision=unsealed(each))
    return answers
