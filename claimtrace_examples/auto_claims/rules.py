"""Rules that a person can read and challenge; each sets the least outcome of a matching claim."""

from __future__ import annotations

from featurestore.definitions.expressions import feature, field
from featurestore.definitions.features import rule

RULES = (
    rule(
        "new_policy_large_claim",
        (feature("policy.age_days") < 30) & (field("total_claim_cents") > 2_500_000),
        outcome="review",
        text="the policy is younger than 30 days and the claim is over 25,000",
    ),
    rule(
        "shared_bank_account",
        feature("bank_account.policies.distinct.90d") >= 4,
        outcome="refer",
        text="four or more policies were paid to this bank account within 90 days",
    ),
    rule(
        "shared_phone",
        feature("phone.policies.distinct.90d") >= 6,
        outcome="review",
        text="six or more policies name this phone within 90 days",
    ),
    rule(
        "account_with_known_fraud",
        feature("bank_account.fraud.count.180d") >= 2,
        outcome="refer",
        text="two or more claims paid to this bank account were found to be fraud",
    ),
    rule(
        "shop_with_known_frauds",
        (feature("repair_shop.fraud.rate.180d") > 0.25)
        & (feature("repair_shop.fraud.count.180d") >= 5),
        outcome="review",
        text="more than a quarter of this repair shop's known outcomes are fraud, at least five",
    ),
)
