"""Groups of policyholders between whom training compares the outcomes of a model."""

from __future__ import annotations

from featurestore.definitions.facets import Facet

from .features import AWS_CUSTOMER

STATES = tuple(each.name for each in AWS_CUSTOMER if each.name.startswith("policy_state_"))
"""The features that together tell the state of a policy."""

FACETS = (
    Facet("women", feature="customer_gender_female", against="customer_gender_male", given=STATES),
    Facet("under_26", feature="customer_age", below=26, given=STATES),
    Facet("65_and_over", feature="customer_age", least=65, given=STATES),
)
