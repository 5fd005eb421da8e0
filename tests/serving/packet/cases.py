"""Evidence to write packets of: a claim of the example domain, with chosen values and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from claimtrace.decisions import ModelRef
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.definitions.catalogue import describe
from featurestore.definitions.features import WindowFeature
from serving.evidence.evidence import (
    Approval,
    AsOf,
    ChainProof,
    CountedRow,
    Evidence,
    FeatureEvidence,
    ModelEvidence,
    Operand,
    Recomputed,
    RuleEvidence,
)

CLAIM: dict[str, Any] = {
    "claim_id": "c-77",
    "policy_id": "p-5",
    "phone": "+49 30 5550199",
    "bank_account": "DE0212345678",
    "address": "Elm Street 12",
    "narrative": "He said his name was Jane Roe",
    "total_claim_cents": 2_730_000,
    "note": "undeclared 0815",
}
SECRETS = ("5550199", "DE0212345678", "Elm Street", "Jane Roe", "undeclared 0815")
"""Parts of the personal values of `CLAIM`, the undeclared field's among them."""
GRID: Sequence[float] = [float(i) for i in range(101)]
"""A grid on which the value v is the v-th percentile."""


def row(number: int, **more: Any) -> CountedRow:
    """A claim that was counted."""
    values: dict[str, Any] = {
        "kind": "claim", "topic": "claims.filed", "partition": 0, "position": number,
        "event_time_ms": 1_764_000_000_000 + number * 86_400_000,
        "known_time_ms": 1_764_000_500_000 + number * 86_400_000,
        "claim_id": f"other-{number}", "amount_cents": 90_000 + number,
    }  # fmt: skip
    return CountedRow(**(values | more))


def evidence(
    values: Mapping[str, float | None],
    shares: Mapping[str, float],
    rows: Mapping[str, list[CountedRow]] | None = None,
    **more: Any,
) -> Evidence:
    """Evidence with values and contributions of some features; those of the others are 0."""
    features = []
    for described, feature in zip(describe(DOMAIN), DOMAIN.features, strict=True):
        entity = feature.entity.name if isinstance(feature, WindowFeature) else ""
        key = str(CLAIM.get(feature.entity.key, "")) if isinstance(feature, WindowFeature) else ""
        features.append(
            FeatureEvidence(
                place=described.place, name=described.name, kind=described.kind,
                how=described.how, text=described.text,
                value=values.get(described.name, 0.0),
                contribution=shares.get(described.name, 0.0),
                entity=entity, entity_key=key,
                rows=(rows or {}).get(described.name, []),
            )
        )  # fmt: skip
    margin = -2.0 + sum(shares.values())
    approval = Approval("promoted", "rita", "rita@example", 1_763_000_000_000, "better", 4)
    whole: dict[str, Any] = {
        "claim_id": "c-77", "outcome": "refer", "score": 0.83, "band": "high", "margin": margin,
        "flags": [], "decision_id": "d-1", "topic": "claims.filed", "partition": 1, "position": 9,
        "event_time_ms": 1_766_000_000_000, "known_time_ms": 1_766_000_900_000,
        "claim": msgspec.Raw(msgspec.json.encode(CLAIM)),
        "definitions": DOMAIN.definitions_digest, "rules_digest": DOMAIN.rules_digest,
        "reasons": [], "reasons_sealed": True, "base_margin": -2.0, "rest_margin": 0.0,
        "features": features,
        "rules": [
            RuleEvidence("shared_phone", "six or more policies name this phone", "review", True,
                         "phone.policies.distinct.90d >= 6",
                         [Operand("phone.policies.distinct.90d", 7.0), Operand("6", 6.0, True)]),
            RuleEvidence("quiet", "a rule that is silent", "refer", False, "secret >= 4", []),
        ],
        "model": ModelEvidence(ModelRef("auto_claims", 3, "ab" * 32), 0.2, 0.6, [approval],
                               approval, approval),
        "chain": ChainProof("claims.decisions", 1, 9, "cc" * 32, "bb" * 32, True, None),
        "recomputed": Recomputed("f" * 32, "f" * 32, True, [], 275, 60_000),
        "complete": True, "missing": [], "as_of": AsOf(31, 1_766_000_900_000, True),
    }  # fmt: skip
    return Evidence(**(whole | more))
