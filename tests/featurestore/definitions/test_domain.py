"""A domain is checked when created; its digest changes with anything that could change a vector."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from claimtrace.errors import DefinitionError
from claimtrace.events import Category, EntityId, Event, EventId
from claimtrace_examples import card_payments
from claimtrace_examples.auto_claims import DOMAIN
from featurestore.definitions.domain import Domain, Labels, load_domain
from featurestore.definitions.expressions import feature, field, profile
from featurestore.definitions.features import (
    Entity,
    Group,
    computed,
    count,
    distinct,
    latest,
    number,
    one_hot,
    ordered,
    rate,
    rule,
    total,
)

ROOT = Path(__file__).resolve().parents[3]


class Filed(Event, topic="filed", id="claim_id"):
    claim_id: EventId
    shop_id: EntityId | None = None
    amount: int | None = None


class Changed(Event, topic="changed", id="change_id"):
    change_id: EventId
    shop_id: EntityId | None = None
    age: int | None = None


class Ended(Event, topic="ended", id="ended_id"):
    ended_id: EventId
    claim_id: EventId | None = None
    outcome: str | None = None
    source: str | None = None


shop = Entity("shop", key="shop_id")


def small(**changes) -> Domain:
    parts = {
        "name": "small",
        "currency": "USD",
        "claim": Filed,
        "split_by": shop,
        "labels": Labels(Ended),
        "groups": (Group("shops", shop, Changed),),
        "features": (number("amount", "amount"), count("shop.count.1d", of=shop, window="1d")),
    }
    return Domain(**{**parts, **changes})


def with_seven_values():
    fields = {f"v{i}": (int | None, None) for i in range(7)}
    kind = type(
        "Wide",
        (Event,),
        {
            "__annotations__": {
                "claim_id": EventId,
                "shop_id": EntityId | None,
                **{k: v[0] for k, v in fields.items()},
            },
            "shop_id": None,
            **dict.fromkeys(fields),
        },
        topic="wide",
        id="claim_id",
    )
    return small(
        claim=kind,
        features=tuple(total(f"t{i}", of=shop, value=f"v{i}", window="1d") for i in range(7)),
    )


WRONG = {
    "defined twice": lambda: small(features=(number("a", "amount"), number("a", "amount"))),
    "has no field amuont": lambda: small(features=(number("a", "amuont"),)),
    "has no field nothing": lambda: small(
        features=(total("t", of=shop, value="nothing", window="1d"),)
    ),
    "has no field key": lambda: small(
        features=(count("c", of=Entity("e", key="key"), window="1d"),)
    ),
    "no labels": lambda: small(labels=None, features=(rate("r", of=shop, window="1d"),)),
    "no group shosp": lambda: small(features=(latest("age", of=shop, group="shosp"),)),
    "has no field years": lambda: small(features=(latest("years", of=shop, group="shops"),)),
    "not defined before": lambda: small(
        features=(computed("c", feature("amount")), number("amount", "amount"))
    ),
    "has no field when": lambda: small(features=(computed("c", field("when")),)),
    "there is no group g": lambda: small(features=(computed("c", profile("g", "age")),)),
    "baseline x is not defined": lambda: small(features=(number("a", "amount", baseline="x"),)),
    "more than 6 values": with_seven_values,
    "amuont is not defined": lambda: small(
        rules=(rule("r", feature("amuont") > 1, outcome="refer", text="t"),)
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_contradiction_is_an_error_that_names_it(message):
    with pytest.raises(DefinitionError, match=message) as caught:
        WRONG[message]()
    assert caught.value.where


def test_a_near_name_is_suggested():
    with pytest.raises(DefinitionError, match="did you mean amount"):
        WRONG["has no field amuont"]()


def test_topics_put_profiles_and_labels_before_claims():
    assert small().topics == ("changed", "ended", "filed")
    assert DOMAIN.topics == ("policies.changed", "claims.adjudicated", "claims.filed")
    assert small().events == (Filed, Changed, Ended)
    assert [entity.name for entity in small().entities] == ["shop"]


def test_since_edition_2_labels_follow_claims_of_the_same_log_time():
    assert small().tie_order(1) == ("changed", "ended", "filed")
    assert small().tie_order(2) == ("changed", "filed", "ended")
    assert small(labels=None).tie_order(2) == ("changed", "filed")


def test_a_domain_names_missing_ids_of_its_own():
    missing = small(missing=("House account",))
    assert missing.missing_ids(1) == frozenset()
    assert missing.missing_ids(2) == {"House account"}


CHANGES = {
    "a spelling of missing": {"missing": ("house account",)},
    "a wider window": {
        "features": (number("amount", "amount"), count("shop.count.1d", of=shop, window="2d"))
    },
    "another order": {
        "features": (count("shop.count.1d", of=shop, window="1d"), number("amount", "amount"))
    },
    "another form of ids": {
        "features": (
            number("amount", "amount"),
            count("shop.count.1d", of=Entity("shop", key="shop_id", form="code"), window="1d"),
        )
    },
    "another currency": {"currency": "EUR"},
    "another name": {"name": "other"},
    "no groups": {"groups": ()},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_with_what_could_change_a_vector(change):
    assert small(**CHANGES[change]).definitions_digest != small().definitions_digest


def test_rules_have_a_digest_of_their_own():
    strict = small(rules=(rule("r", feature("amount") > 1, outcome="refer", text="t"),))
    lax = replace(strict, rules=(rule("r", feature("amount") > 2, outcome="refer", text="t"),))
    assert strict.rules_digest != lax.rules_digest != small().rules_digest
    assert strict.definitions_digest == lax.definitions_digest == small().definitions_digest


def test_digests_are_the_same_in_another_process():
    code = (
        "from claimtrace_examples.auto_claims import DOMAIN as d; "
        "print(d.definitions_digest, d.rules_digest)"
    )
    for seed in ("0", "1"):
        process = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
        )
        assert process.stdout.split() == [DOMAIN.definitions_digest, DOMAIN.rules_digest]


def test_domains_are_loaded_by_the_name_of_their_module():
    assert load_domain("claimtrace_examples.card_payments") is card_payments.DOMAIN
    with pytest.raises(DefinitionError, match="holds no DOMAIN"):
        load_domain("claimtrace_examples.auto_claims.rules")
    with pytest.raises(DefinitionError, match="no module"):
        load_domain("no_such_module")


class Garaged(Event, topic="filed", id="claim_id"):
    claim_id: EventId
    shop_id: EntityId | None = None
    amount: int | None = None
    garage: Category | None = None
    filed_at: datetime | None = None
    share: Annotated[float, Meta(ge=0)] | None = None
    insured: bool = False


TEXT_AS_NUMBER = [
    ("b", {"features": (number("b", "garage"),)}),
    ("b", {"features": (number("b", "shop_id"),)}),
    ("c", {"features": (total("c", of=shop, value="garage", window="1d"),)}),
    ("d", {"features": (computed("d", field("garage") * 2, text=""),)}),
    ("e", {"features": (latest("e", of=shop, group="shops", source="shop_id"),)}),
    ("f", {"features": (computed("f", profile("shops", "shop_id") + 1, text=""),)}),
    ("g", {"rules": (rule("g", field("garage") > 1, outcome="review", text=""),)}),
    ("amount of the domain", {"amount": "garage"}),
]


@pytest.mark.parametrize(("where", "changes"), TEXT_AS_NUMBER, ids=[t[0] for t in TEXT_AS_NUMBER])
def test_a_text_is_no_number(where, changes):
    with pytest.raises(
        DefinitionError, match=r"(garage|shop_id) holds text, not numbers"
    ) as caught:
        small(claim=Garaged, **changes)
    assert caught.value.where == where


def test_numbers_times_and_truths_are_numbers_and_texts_are_categories():
    names = ("amount", "filed_at", "share", "insured")
    features = [number(f"n.{name}", name) for name in names]
    features += [*one_hot("g", "garage", ["big", "small"]), ordered("o", "garage", ["small"])]
    features.append(distinct("s", of=shop, value="garage", window="1d"))
    assert len(small(claim=Garaged, features=tuple(features)).features) == len(features)
