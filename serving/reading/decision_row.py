"""One decision as a row of a list: the same fields from the log and from the offline store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from claimtrace.decisions import SealedDecision


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a decision that a list shows; `claimtrace decisions show` has the rest.

    Scores are probabilities, times are ms since 1970 UTC. `rules` and `flags` are names. `model`
    and `model_version` are None where the rules decided alone, `arm` is None where no roll-out was
    in force. `policy_key` is the insured policy; None from the log, whose decisions don't name it.
    """

    decision_id: str
    claim_id: str
    policy_key: str | None
    outcome: str
    score: float | None
    band: str
    threshold: float | None
    model: str | None
    model_version: int | None
    arm: str | None
    rules: tuple[str, ...]
    flags: tuple[str, ...]
    event_time_ms: int
    log_time_ms: int
    topic: str
    partition: int
    position: int

    @property
    def order(self) -> tuple[int, int, int]:
        """The place in a list by time: log time of the claim, its partition, its position."""
        return self.log_time_ms, self.partition, self.position


STORED: Final = (
    "decision_id", "claim_id", "policy_key", "outcome", "score", "band", "threshold", "model_name",
    "model_version", "arm", "rules", "flags", "event_time_ms", "log_time_ms", "topic", "partition",
    "position",
)  # fmt: skip
"""The columns of the offline store from which `stored_row` makes a row."""

_decode = msgspec.json.Decoder(SealedDecision).decode


def logged_row(sealed: bytes) -> DecisionRow:
    """Return the row of a sealed decision.

    Raises:
        msgspec.DecodeError: the bytes are not a decision.
    """
    found = _decode(sealed)
    model = found.model
    return DecisionRow(
        decision_id=found.decision_id, claim_id=found.claim_id, policy_key=None,
        outcome=found.outcome, score=found.score, band=found.band, threshold=found.threshold,
        model=model.name if model else None, model_version=model.version if model else None,
        arm=None if found.arm is UNSET else found.arm,
        rules=tuple(hit.rule for hit in found.rules), flags=tuple(found.flags),
        event_time_ms=found.event_time_ms, log_time_ms=found.log_time_ms, topic=found.topic,
        partition=found.partition, position=found.position,
    )  # fmt: skip


def stored_row(columns: Mapping[str, Any]) -> DecisionRow:
    """Return the row of a row of the offline store, with the columns `STORED`."""
    values = dict(columns)
    values["model"] = values.pop("model_name")
    values["rules"] = tuple(values["rules"])
    values["flags"] = tuple(values["flags"])
    return DecisionRow(**values)
