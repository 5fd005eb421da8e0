"""Domain of auto-insurance claims: eight entities, the AWS example's 45 inputs, exact windows."""

from __future__ import annotations

from featurestore.definitions.domain import Domain, Labels

from .entities import GROUPS, policy
from .events import ClaimAdjudicated, ClaimFiled, PolicyChanged
from .facets import FACETS
from .features import FEATURES
from .rules import RULES

DOMAIN = Domain(
    name="auto_claims",
    currency="USD",
    claim=ClaimFiled,
    labels=Labels(ClaimAdjudicated),
    groups=GROUPS,
    features=FEATURES,
    rules=RULES,
    split_by=policy,
    amount="total_claim_cents",
    facets=FACETS,
)

__all__ = ["DOMAIN", "ClaimAdjudicated", "ClaimFiled", "PolicyChanged"]
