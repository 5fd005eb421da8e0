"""Advisory answers: what would be decided on a claim that isn't on the log, and as of which state.

Such an answer has the fields of a decision without `decision_id`, `chain` and `position`, which
only a decision on the log has. It begins with `"advisory":true`, so that nobody stores it as a
decision, and ends with `as_of`. It is a function of the state after a plan, the models in charge,
the claim and its log time; so `claimtrace score --at-plan` gives the same bytes again.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from .decisions import BYTES_BEHIND, ModelRef, OtherVerdict, Reason, RolloutRef, RuleHit

_encode = msgspec.json.Encoder().encode
_DECISION_ID: Final = b'"decision_id":"'
_CLAIM_ID: Final = b'"claim_id":"'
_POSITION: Final = b',"position":'


class AsOf(msgspec.Struct, frozen=True):
    """The state that an advisory answer is of.

    `plan` is the number of the last plan applied (0: none), `plan_digest` the digest of that plan,
    `watermark_ms` the newest event time among claims (null: none), and `behind_ms` the time from
    that plan to the log time of the claim: the age of the state.
    """

    plan: int
    plan_digest: str
    watermark_ms: int | None
    behind_ms: int


class AdvisoryDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An advisory answer as read back; the fields are those of `claimtrace.decisions.Decision`."""

    advisory: bool
    schema_version: int
    claim_id: str
    policy: str
    topic: str
    partition: int
    event_time_ms: int
    log_time_ms: int
    known_time_ms: int
    score: float | None
    margin: float | None
    band: str
    outcome: str
    threshold: float | None
    review_threshold: float | UnsetType | None = UNSET
    rules: list[RuleHit]
    base_margin: float | None
    rest_margin: float | None
    reasons: list[Reason]
    features: list[float | None]
    feature_hash: str
    model: ModelRef | None
    definitions: str
    rules_digest: str
    shadow: list[OtherVerdict]
    flags: list[str]
    arm: str | UnsetType = UNSET
    rollout: RolloutRef | UnsetType = UNSET
    as_of: AsOf


def unsealed(sealed: bytes) -> bytes:
    """Return the bytes of a sealed decision without `decision_id`, `position` and `chain`.

    >>> behind = b',"chain":"' + b"0" * 64 + b'"}'
    >>> unsealed(b'{"schema_version":1,"decision_id":"d","claim_id":"c","position":7,"score":0.5'
    ...          + behind)
    b'{"schema_version":1,"claim_id":"c","score":0.5}'
    """
    # a text in JSON has its quotes escaped, so none of these can be found inside of one
    first = sealed.index(_DECISION_ID)
    claim = sealed.index(_CLAIM_ID, first)
    position = sealed.index(_POSITION, claim)
    rest = sealed.index(b",", position + 1)
    return sealed[:first] + sealed[claim:position] + sealed[rest:-BYTES_BEHIND] + b"}"


def advisory_answer(decision: bytes, as_of: AsOf) -> bytes:
    """Return an advisory answer as JSON.

    Args:
        decision: the bytes of `unsealed`.
        as_of: the state that it is of.

    >>> advisory_answer(b'{"score":0.5}', AsOf(7, "ab", None, 12))
    b'{"advisory":true,"score":0.5,"as_of":{"plan":7,"plan_digest":"ab",...
    """
    return b'{"advisory":true,%b,"as_of":%b}' % (decision[1:-1], _encode(as_of))
