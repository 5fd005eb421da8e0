"""The definition language: the features its functions define, and the errors they raise."""

from __future__ import annotations

import math
from dataclasses import replace
from math import isnan

import pytest

from claimtrace.clock import DAY_MS, HOUR_MS
from claimtrace.errors import DefinitionError
from featurestore.definitions.expressions import feature, field
from featurestore.definitions.features import (
    Computed,
    Entity,
    Own,
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

shop = Entity("shop", key="shop_id", also=("other_shop_id",))


def test_an_entity_has_its_primary_field_first():
    assert shop.fields == ("shop_id", "other_shop_id")
    assert Entity("p", key="p").fields == ("p",)


def test_windows():
    counted = count("n", of=shop, window="30d")
    assert isnan(counted.empty)
    expected = WindowFeature("n", shop, "count", 30 * DAY_MS, empty=0.0)
    assert replace(counted, empty=0.0) == expected
    made = rate("r", of=shop, window="7d", delay="12h", empty=0.0)
    assert (made.aggregate, made.width_ms, made.delay_ms, made.empty) == (
        "rate",
        7 * DAY_MS,
        12 * HOUR_MS,
        0.0,
    )
    arrived = outcomes("o", of=shop, window="7d", known="when the label arrived")
    assert arrived.known
    assert not outcomes("o", of=shop, window="7d").known
    words = {
        total: "sum",
        mean: "mean",
        std: "std",
        smallest: "min",
        largest: "max",
        distinct: "distinct",
    }
    for word, aggregate in words.items():
        made = word("x", of=shop, value="v", window="1d", current="in", text="t")
        assert (made.aggregate, made.value, made.current, made.text) == (aggregate, "v", True, "t")
    assert since_last("s", of=shop, within="9d").width_ms == 9 * DAY_MS
    assert math.isnan(mean("m", of=shop, value="v", window="1d").empty)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda: count("bad", of=shop, window="30"), "not a duration"),
        (lambda: count("bad", of=shop, window="1d", delay="soon"), "not a duration"),
        (lambda: count("bad", of=shop, window="0d"), "no width"),
        (lambda: rate("bad", of=shop, window="1d", known="later"), "known='later'"),
        (lambda: rate("bad", of=shop, window="1d", outcome="legit"), "outcome='legit'"),
        (lambda: outcomes("bad", of=shop, window="1d", outcome="legit"), "outcome='legit'"),
    ],
)
def test_nonsense_is_refused_with_the_features_name(define, message):
    with pytest.raises(DefinitionError, match=message) as caught:
        define()
    assert caught.value.where == "bad"


def test_own_fields_and_profiles():
    assert number("n", "f", unit=100) == Own("n", "f", unit=100)
    assert ordered("o", "f", ["low", "high"]).order == ("low", "high")
    hot = one_hot("colour", "f", ["red", "blue"])
    assert [(each.name, each.equals, each.among) for each in hot] == [
        ("colour_red", "red", ("red", "blue")),
        ("colour_blue", "blue", ("red", "blue")),
    ]
    assert latest("shop.age", of=shop, group="shops") == Own("shop.age", "age", group="shops")
    assert latest("age", of=shop, group="shops", source="years").field == "years"
    assert [
        each.group for each in latest_one_hot("c", of=shop, group="g", source="c", values=["x"])
    ] == ["g"]


def test_arithmetic_and_rules():
    assert isinstance(ratio("r", "a", "b"), Computed)
    assert str(ratio("r", "a", "b").expression) == "(a / b)"
    assert str(computed("c", field("a") - feature("b")).expression) == "(a - b)"
    made = rule("r", feature("x") > 1, outcome="refer", text="because")
    assert (made.name, made.outcome, made.text) == ("r", "refer", "because")
