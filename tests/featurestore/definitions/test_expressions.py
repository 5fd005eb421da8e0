"""Expressions over columns equal scalar arithmetic row by row; missing values stay missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.definitions.expressions import Expression, feature, field, profile
from tests.oracles.naive_features import evaluate

NAMES = ("a", "b")
LEAVES = st.one_of(
    st.sampled_from([feature(name) for name in NAMES]),
    st.sampled_from([-1.0, 0.0, 0.5, 3.0]).map(lambda n: Expression("number", (n,))),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.tuples(
        st.sampled_from(["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "&", "|"]), inner, inner
    ).map(lambda t: Expression(t[0], (t[1], t[2]))),
    max_leaves=8,
)
VALUES = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0, 3.0, 1e300, math.nan])


@given(TREES, st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6))
@settings(deadline=None)
def test_columns_are_one_number_at_a_time(tree, rows):
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(NAMES)}
    found = np.broadcast_to(tree.evaluate(columns), len(rows))
    assert found.dtype == np.float64
    want = [evaluate(tree, dict(zip(NAMES, row, strict=True))) for row in rows]
    np.testing.assert_array_equal(found, want)


@given(TREES)
@settings(deadline=None)
def test_a_tree_names_what_it_reads(tree):
    assert set(tree.names()) <= set(NAMES)
    reads = {name: np.array([1.0]) for name in set(tree.names())}
    tree.evaluate(reads)
    for name in reads:
        with pytest.raises(KeyError):
            tree.evaluate({other: column for other, column in reads.items() if other != name})


def test_operators_build_the_tree_they_look_like():
    tree = (10 - field("a") * 2 + feature("b") / profile("g", "c") >= 1) & (feature("b") < 5)
    assert str(tree) == "((((10.0 - (a * 2.0)) + (b / g.c)) >= 1.0) & (b < 5.0))"
    assert list(tree.names()) == ["field:a", "b", "profile:g.c", "b"]
    assert (feature("b") > 1).tree() == [">", ["name", "b"], ["number", 1.0]]
    assert ((feature("b") <= 1) | feature("b").equals(2)).tree()[0] == "|"


def test_missing_is_never_true_and_nothing_divides_by_zero():
    columns = {"a": np.array([np.nan, 1.0]), "b": np.array([0.0, 0.0])}
    for condition in (feature("a") < 2, feature("a") >= 2, feature("a").equals(np.nan)):
        assert condition.evaluate(columns)[0] == 0.0
    assert np.isnan((feature("a") / feature("b")).evaluate(columns)).all()
    assert np.isnan((feature("a") + 1).evaluate(columns)).tolist() == [True, False]
