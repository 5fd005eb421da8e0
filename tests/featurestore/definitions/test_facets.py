"""Facets are checked when a domain is created, and name features only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claimtrace.errors import DefinitionError
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.definitions import Facet


@pytest.mark.parametrize(
    ("facet", "words"),
    [
        (Facet("women", feature="customer_gender_femal"), "did you mean customer_gender_female"),
        (Facet("women", feature="customer_gender_female", against="customer_gender_mal"),
         "did you mean customer_gender_male"),
        (Facet("young", feature="customer_age", below=26, given=("policy_stat_ca",)),
         "did you mean policy_state_ca"),
        (Facet("zip", feature="@"), "define a feature of it"),
        (Facet("", feature="customer_age"), "a name of its own"),
        (Facet("age", feature="customer_age", against="customer_age"), "compared with itself"),
        (Facet("age", feature="customer_age", least=26, below=26), "no values"),
    ],
)  # fmt: skip
def test_a_facet_that_makes_no_sense_is_refused(facet, words):
    with pytest.raises(DefinitionError, match=words):
        replace(DOMAIN, facets=(facet,))


def test_two_facets_have_two_names():
    facet = Facet("young", feature="customer_age", below=26)
    with pytest.raises(DefinitionError, match="a name of its own"):
        replace(DOMAIN, facets=(facet, replace(facet, below=30)))


def test_facets_of_the_claims_domain_stand_in_no_digest():
    assert [each.name for each in DOMAIN.facets] == ["women", "under_26", "65_and_over"]
    bare = replace(DOMAIN, facets=())
    assert bare.definitions_digest == DOMAIN.definitions_digest
    assert bare.rules_digest == DOMAIN.rules_digest
