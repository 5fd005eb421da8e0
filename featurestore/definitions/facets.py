"""Facets of a domain: the groups of people between whom the outcomes of a model are compared.

    Facet("women", feature="customer_gender_female", against="customer_gender_male", given=STATES)
    Facet("under_26", feature="customer_age", below=26)

A facet is a mark on a feature, because the offline store holds served features and no raw fields:
to compare groups by a field of the event, define a feature of it. Facets only serve reports. They
stand in no digest, so they can be added, changed and removed while a stream runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from claimtrace.errors import DefinitionError


@dataclass(frozen=True)
class Facet:
    """A group of people, told by a feature, and those it is compared with.

    A claim belongs to the facet if the feature is 1; with `least` or `below` if it is in that
    range. It belongs to the others if `against` is 1, or, without `against`, if the feature has any
    other value. Claims of neither, such as those of an unknown gender, are left out and counted.

    Args:
        name: short name of the group, such as `women`.
        feature: the feature that tells who belongs to it.
        least: the lowest value that belongs to the facet.
        below: the lowest value above the facet.
        against: for a one-hot category, the feature of the group it is compared with.
        given: features whose values together form subgroups, such as those of a state: bias is
            also measured within each (CDDL, CDDPL).

    >>> Facet("under_26", feature="customer_age", below=26).is_range
    True
    """

    name: str
    feature: str
    least: float | None = None
    below: float | None = None
    against: str = ""
    given: tuple[str, ...] = ()

    @property
    def is_range(self) -> bool:
        """Whether a range of values tells who belongs to the facet."""
        return self.least is not None or self.below is not None

    @property
    def own_features(self) -> tuple[str, ...]:
        """The features that tell the sides apart."""
        return (self.feature, self.against) if self.against else (self.feature,)

    @property
    def features(self) -> tuple[str, ...]:
        """All features that the facet names."""
        return (*self.own_features, *self.given)


def check_facets(facets: Iterable[Facet], features: Iterable[str]) -> None:
    """Check the facets of a domain.

    Raises:
        DefinitionError: a name is taken twice or is missing, a feature isn't defined (the hint
            names the nearest), a range is empty, or a facet is compared with itself.
    """
    known, names = set(features), set[str]()
    for each in facets:
        where = f"facet {each.name}"
        if not each.name or each.name in names:
            raise DefinitionError("a facet needs a name of its own", where=where)
        names.add(each.name)
        for name in each.features:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                raise DefinitionError(
                    f"there is no feature {name}", where=where,
                    hint=f"did you mean {near[0]}?" if near else "a facet is a mark on a feature: "
                    "to compare by a field of the event, define a feature of it",
                )  # fmt: skip
        if each.against == each.feature:
            raise DefinitionError("a facet can't be compared with itself", where=where,
                                  hint="leave out against=")  # fmt: skip
        if each.least is not None and each.below is not None and not each.least < each.below:
            raise DefinitionError("the range has no values", where=where,
                                  hint="least must be lower than below")  # fmt: skip
