"""The stream's output topics, and the sealed decision.

A decision is encoded once; its bytes are hashed into the chain of its partition:

    chain = SHA-256(chain of the decision before it + the decision's bytes without its chain)

so that `verify --chain` finds the position of every decision edited, dropped or inserted later.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import UNSET, UnsetType

DECISIONS_TOPIC = "claims.decisions"
DEAD_TOPIC = "claims.dead"
DRIFT_TOPIC = "claims.drift"
ALERTS_TOPIC = "claims.alerts"
JOURNAL_TOPIC = "claims.journal"
AUDIT_TOPIC = "claims.audit"
"""Written by `serving`: who was refused, who looked at whom, and which keys were made."""

GENESIS = "0" * 64
"""The chain before the first decision of a partition."""

_encode = msgspec.json.Encoder().encode
_CHAIN_FIELD = b',"chain":"'
CHAIN_AT = len(_CHAIN_FIELD)
"""Offset of the chain's hex digits in the tail that follows a decision's own fields."""
UNLINKED = b"}" + _CHAIN_FIELD[1:] + GENESIS.encode() + b'"}'
"""The tail of a decision before it is linked: its `}` is hashed, and then becomes a comma."""
BYTES_BEHIND = len(UNLINKED)
"""Length of that tail."""


class ModelRef(msgspec.Struct, frozen=True):
    """The reference of a model version, which is immutable; the digest proves its bytes.

    >>> ModelRef("auto_claims", 3, "ab12").label
    'auto_claims/3'
    """

    name: str
    version: int
    digest: str

    @property
    def label(self) -> str:
        """The name and version in one word, `NAME/VERSION`, for people and drift records."""
        return f"{self.name}/{self.version}"


class RolloutRef(msgspec.Struct, frozen=True):
    """The reference of a roll-out, which is immutable; the digest proves its bytes.

    >>> RolloutRef("auto_claims", 2, "cd34").label
    'auto_claims roll-out 2'
    """

    name: str
    version: int
    digest: str

    @property
    def label(self) -> str:
        """The name and version for people."""
        return f"{self.name} roll-out {self.version}"


class OtherVerdict(msgspec.Struct, frozen=True):
    """The verdict of a model of the roll-out that didn't decide.

    `role` is `champion`, `canary` or `shadow`; `score` is None where the model's score was outside
    of [0, 1]; `outcome` is what it would have decided, after rules and its own thresholds.
    """

    role: str
    model: ModelRef
    score: float | None
    outcome: str


class Baseline(msgspec.Struct, frozen=True):
    """A value to compare with: `kind` is `own` (this entity's past) or `peers` (training data)."""

    kind: str
    value: float
    percentile: float | None = None


class Window(msgspec.Struct, frozen=True):
    """The rows that a feature counted.

    These are the events of this claim's `entity` in `(from_ms, to_ms]` that had arrived.
    """

    entity: str
    from_ms: int
    to_ms: int


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One feature's share of a referred claim's margin, in words.

    The contributions of all reasons, plus `rest_margin` and `base_margin` of the decision, sum to
    its `margin`.
    """

    feature: str
    value: float | None
    contribution: float
    text: str
    baseline: Baseline | None = None
    counted: Window | None = None


class RuleHit(msgspec.Struct, frozen=True):
    """A rule that fired, with its text."""

    rule: str
    text: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one accepted claim event; field names end in their units.

    Where a roll-out is in force the decision has `arm` (`champion` or `canary`, whose model
    decided), `rollout`, and in `shadow` the verdicts of its other models.

    `schema_version` is 3 since edition 4, whose decisions have `review_threshold`; before, it is 2
    under a roll-out and 1 without.
    """

    schema_version: int = 1
    decision_id: str
    claim_id: str
    policy: str
    topic: str
    partition: int
    position: int
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


class SealedDecision(Decision, frozen=True, kw_only=True):
    """A decision as read back from the log, with its link in the chain."""

    chain: str


def seal(decision: Decision, chain_before: str) -> tuple[bytes, str]:
    """Encode a decision and link it to the one before; returns its bytes and its chain value.

    The stream seals whole batches instead (`stream.decisions.sealer`); this is the slow oracle of
    that sealer, whose bytes must be equal to these.

    >>> check_seal(b'{"a":1,"chain":"' + b"0" * 64 + b'"}', GENESIS)
    False
    """
    body = _encode(decision)[:-1]
    chain = _link(chain_before, body + b"}")
    return b'%b%b%b"}' % (body, _CHAIN_FIELD, chain.encode()), chain


def check_seal(sealed: bytes, chain_before: str) -> bool:
    """Whether the bytes of a sealed decision follow from the chain before them."""
    body = sealed[:-BYTES_BEHIND] + b"}"
    return sealed[-BYTES_BEHIND:] == _CHAIN_FIELD + _link(chain_before, body).encode() + b'"}'


def chain_of(sealed: bytes) -> str:
    """Return the chain value in a sealed decision."""
    return sealed[-66:-2].decode("latin-1")  # total: an edited decision may hold any bytes


class ClaimPosition(msgspec.Struct, frozen=True):
    """The partition and position of the claim's record on the log."""

    position: int
    partition: int = 0


_claim_position = msgspec.json.Decoder(ClaimPosition)


def claim_position_of(sealed: bytes) -> ClaimPosition:
    """Return the claim's position from a sealed decision, without decoding its other fields.

    Raises:
        msgspec.DecodeError: the bytes are not a decision.

    >>> claim_position_of(b'{"partition":2,"position":7,"outcome":"refer"}')
    ClaimPosition(position=7, partition=2)
    """
    return _claim_position.decode(sealed)


def _link(chain_before: str, body: bytes) -> str:
    return hashlib.sha256(chain_before.encode() + body).hexdigest()
