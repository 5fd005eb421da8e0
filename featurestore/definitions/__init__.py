"""The language of a domain: entities, rules, outcomes, the words for features and aggregates.

A domain module imports every name from this package, as in
`from featurestore.definitions import count, Domain`.
"""

from .domain import Domain, Labels
from .expressions import Expression, feature, field, profile
from .facets import Facet
from .features import (
    Computed,
    Entity,
    Feature,
    Group,
    Own,
    Rule,
    WindowFeature,
    computed,
    count,
    distinct,
    largest,
    latest,
    latest_one_hot,
    mean,
    number,
    one_hot,
    ordered,
    outcomes,
    rate,
    ratio,
    rule,
    since_last,
    smallest,
    std,
    total,
)

__all__ = [
    "Computed",
    "Domain",
    "Entity",
    "Expression",
    "Facet",
    "Feature",
    "Group",
    "Labels",
    "Own",
    "Rule",
    "WindowFeature",
    "computed",
    "count",
    "distinct",
    "feature",
    "field",
    "largest",
    "latest",
    "latest_one_hot",
    "mean",
    "number",
    "one_hot",
    "ordered",
    "outcomes",
    "profile",
    "rate",
    "ratio",
    "rule",
    "since_last",
    "smallest",
    "std",
    "total",
]
