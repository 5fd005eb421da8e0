"""The evidence for one decision as data: what `claimtrace explain --json` prints.

Times are ms since 1970 UTC. NaN never occurs: a missing number is None. Field names last: programs
read them.
"""

from __future__ import annotations

import msgspec

from claimtrace.decisions import ModelRef, Reason


class CountedRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record of the log that a feature counted.

    Attributes:
        kind: `claim`, `label` (an outcome that arrived) or `profile` (a change of a profile).
        topic, partition, position: where the record stands on the log.
        event_time_ms: when it happened.
        known_time_ms: when the log took it; not before that could it be counted.
        claim_id: the claim that it is, or is about; for a profile the id of the change.
        value: the number that the feature takes from it; None: it has none.
        text: the id that a distinct count takes from it; empty elsewhere.
        amount_cents: the value of the claim, if the domain names one.
        outcome: `fraud`, `legit` or `retracted` as known at the decision; empty: not known then.
        outcome_known_ms: when that outcome arrived.
        is_current: whether it is the decided claim itself.
    """

    kind: str
    topic: str
    partition: int
    position: int
    event_time_ms: int
    known_time_ms: int
    claim_id: str
    value: float | None = None
    text: str = ""
    amount_cents: int | None = None
    outcome: str = ""
    outcome_known_ms: int | None = None
    is_current: bool = False


class Operand(msgspec.Struct, frozen=True):
    """A named number that an expression read; `is_number` tells a constant of the definitions."""

    name: str
    value: float | None
    is_constant: bool = False


class FeatureEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One feature of the vector with everything that made its value.

    Attributes:
        place: its index in the vector.
        name, kind, how, text: as in `claimtrace features show`.
        value: as served; None is missing.
        contribution: its share of the margin (log-odds), for any outcome; None without a model, or
            if the model doesn't take it.
        entity, entity_key: for a window or profile, the kind of entity, and its id on this claim.
        from_ms, to_ms: the window `(from_ms, to_ms]`.
        rows: the records that it counted, the newest first.
        operands: for a computed feature, what it was computed from.
        agrees: whether `rows` give exactly `value`; None: it isn't counted from rows.
        note: why there are no rows, in words.
    """

    place: int
    name: str
    kind: str
    how: str
    text: str
    value: float | None
    contribution: float | None = None
    entity: str = ""
    entity_key: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    rows: list[CountedRow] = []
    operands: list[Operand] = []
    agrees: bool | None = None
    note: str = ""


class RuleEvidence(msgspec.Struct, frozen=True):
    """A rule with the numbers that it read; `condition` is its text from the definitions."""

    rule: str
    text: str
    outcome: str
    fired: bool
    condition: str
    operands: list[Operand]


class Approval(msgspec.Struct, frozen=True):
    """An act in the approvals log about the model that decided; `act` as in `models show`."""

    act: str
    actor: str
    user: str
    at_ms: int
    reason: str
    number: int


class ModelEvidence(msgspec.Struct, frozen=True):
    """The model that scored: its thresholds, and who approved it and when.

    Attributes:
        ref: name, version and digest.
        review, refer: the least scores of the two outcomes.
        acts: what the approvals log says of this version, oldest first, up to the decision.
        approved: the act that approved it; None: nobody had to.
        live: the act that put it in charge of the decision; None for a model of a roll-out.
    """

    ref: ModelRef
    review: float
    refer: float
    acts: list[Approval]
    approved: Approval | None
    live: Approval | None


class ChainProof(msgspec.Struct, frozen=True):
    """The decision's place among those of its partition, and whether its links hold.

    Attributes:
        topic, partition, position: where the decision stands.
        chain, before: its link, and the link of the decision before it.
        holds: whether `chain` follows from `before` and the decision's bytes.
        next_holds: whether the decision behind it follows from `chain`; None: it is the newest.
    """

    topic: str
    partition: int
    position: int
    chain: str
    before: str
    holds: bool
    next_holds: bool | None


class Recomputed(msgspec.Struct, frozen=True):
    """The small replay beside the sealed decision.

    Attributes:
        feature_hash: of the vector that was computed again.
        sealed_hash: on the decision; empty where there is none to compare with.
        same: whether the two are equal; None: there is nothing to compare with.
        differing: the fields of the decision that came out otherwise, but its chain.
        records: how many records were replayed, of how many that the log had until then.
        of_records: all records until then.
    """

    feature_hash: str
    sealed_hash: str
    same: bool | None
    differing: list[str]
    records: int
    of_records: int


class Thought(msgspec.Struct, frozen=True):
    """A number now and as thought of; None is missing."""

    name: str
    now: float | None
    then: float | None


class WhatIf(msgspec.Struct, frozen=True):
    """The decision on the claim with some fields changed.

    Attributes:
        fields: field by field the value on the log, and the one that was asked about, as JSON.
        outcome, score, margin: of the changed claim.
        reasons: as for a referred claim.
        rules: the names of the rules that fire then.
        features: the features that change.
        smallest: the smallest change of one field that leaves the queue, each by itself; empty when
            no field alone does.
    """

    fields: dict[str, tuple[msgspec.Raw, msgspec.Raw]]
    outcome: str
    score: float | None
    margin: float | None
    reasons: list[Reason]
    rules: list[str]
    features: list[Thought]
    smallest: list[SmallestChange] = []


class SmallestChange(msgspec.Struct, frozen=True):
    """The smallest change of one field that gives a milder outcome, as far as was searched.

    `now` and `then` are values as JSON; `share` is the size of a number's change relative to it,
    None for categories.
    """

    field: str
    now: msgspec.Raw
    then: msgspec.Raw
    share: float | None
    outcome: str
    score: float | None


class AsOf(msgspec.Struct, frozen=True):
    """The state of knowledge: after plan `plan`, whose newest record is of `known_time_ms`.

    `is_decision` tells that it is the decision's own state; else it is a later or earlier day.
    """

    plan: int
    known_time_ms: int
    is_decision: bool


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that stands behind a decision.

    Attributes:
        claim_id, outcome, score, band, margin, flags: of the decision, or as they would be at
            `as_of`.
        decision_id: of the sealed decision; empty if it isn't on the log any more.
        topic, partition, position: of the claim's record.
        event_time_ms, known_time_ms: when it happened, and when the log took it.
        claim: the claim's own fields as they stand on the log.
        reasons: the contributions to the margin, the largest first; sealed ones for a referred
            claim, else from the small replay.
        reasons_sealed: which of the two.
        base_margin, rest_margin: they and the reasons sum to `margin`.
        features, rules, model, chain, recomputed: see there.
        complete: whether all records that the claim's features may have counted were there.
        missing: in words what wasn't, and what it means.
        as_of: the state of knowledge.
        what_if: the claim with other fields; None if nobody asked.
    """

    claim_id: str
    outcome: str
    score: float | None
    band: str
    margin: float | None
    flags: list[str]
    decision_id: str
    topic: str
    partition: int
    position: int
    event_time_ms: int
    known_time_ms: int
    claim: msgspec.Raw
    definitions: str
    rules_digest: str
    reasons: list[Reason]
    reasons_sealed: bool
    base_margin: float | None
    rest_margin: float | None
    features: list[FeatureEvidence]
    rules: list[RuleEvidence]
    model: ModelEvidence | None
    chain: ChainProof | None
    recomputed: Recomputed
    complete: bool
    missing: list[str]
    as_of: AsOf
    what_if: WhatIf | None = None
