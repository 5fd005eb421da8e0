"""A feature's digest changes with whatever can change its value, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from claimtrace.batches.accepted import Accepted, AcceptedRecord
from claimtrace.encoding.decoder import Decoder
from claimtrace.events import Category, EntityId, Event, EventId, Pii, Record
from claimtrace.ids import digest_of
from claimtrace_examples import auto_claims, card_payments
from featurestore.definitions import (
    Domain,
    Entity,
    Group,
    Labels,
    Own,
    computed,
    count,
    distinct,
    feature,
    field,
    latest,
    number,
    one_hot,
    ordered,
    outcomes,
    profile,
    rate,
    total,
)
from featurestore.fields.feature_digests import feature_digests
from featurestore.state.intake import Intake
from tests.worlds import every_kind
from tests.worlds.random_events import KEY

GOLDEN = {
    "auto_claims": "e38087ee8ead090ed40967705b88103d9e161a54daad00787aae2dfef3e22d23",
    "card_payments": "4821d5efe0b3d5ed5958a8339d0473f07d22dd20cf056448a1ebd895622ac3d4",
    "every_kind": "50e6b16dcd8b1479d49c1db85212aae5353b489280d46157ced290db2686bfde",
}
"""The digest over all feature digests of a domain; models hold them, so they must never change."""


@pytest.mark.parametrize(
    "domain",
    [auto_claims.DOMAIN, card_payments.DOMAIN, every_kind.DOMAINS[0]],
    ids=lambda domain: domain.name,
)
def test_digests_are_these_for_ever(domain: Domain) -> None:
    assert digest_of(feature_digests(domain)) == GOLDEN[domain.name]


# -- one change at a time -------------------------------------------------------------------------


class Filed(Event, topic="filed", id="claim_id", time="filed_at"):
    claim_id: EventId
    filed_at: datetime | None = None
    happened_at: datetime | None = None
    currency: str = "USD"
    shop_id: EntityId | None = None
    garage_id: EntityId | None = None
    owner_id: EntityId | None = None
    kind: Category | None = None
    amount: int | None = None
    pieces: int | None = None


class ShopChanged(Event, topic="shops", id="change_id", time="changed_at"):
    change_id: EventId
    changed_at: datetime | None = None
    shop_id: EntityId | None = None
    age: int | None = None
    tier: Category | None = None


class Settled(Event, topic="settled", id="settled_id", time="settled_at"):
    settled_id: EventId
    settled_at: datetime | None = None
    claim_id: EventId | None = None
    outcome: Category | None = None


def like(kind: type[Event], name: str = "", **annotations: Any) -> type[Event]:
    """Make an event type with some fields annotated otherwise, or more fields."""
    inherited = {
        each.name: (each.type, None) for each in msgspec.structs.fields(kind)
        if each.default is None and each.name not in annotations
    }  # fmt: skip
    body: dict[str, Any] = {"__annotations__": {kind.id_field: EventId}}
    if "currency" in kind.__struct_fields__ and "currency" not in annotations:
        body["__annotations__"]["currency"] = str
        body["currency"] = "USD"
    for field_name, (annotation, default) in {**inherited, **annotations}.items():
        if annotation is None:
            continue
        body["__annotations__"][field_name] = annotation
        body[field_name] = default
    time = kind.time_field
    made: type[Event] = type(Event)(  # type: ignore[call-arg]
        name or kind.__name__, (Event,), body, topic=kind.topic, id=kind.id_field, time=time,
        frozen=True, kw_only=True,
    )  # fmt: skip
    return made


shop = Entity("shop", key="shop_id", also=("garage_id",))
owner = Entity("owner", key="owner_id", form="code")

FEATURES = {
    each.name: each
    for each in (
        number("amount", "amount", unit=100, text="claimed", baseline="sum"),
        ordered("kind", "kind", ("glass", "theft")),
        latest("age", of=shop, group="shops", source="age"),
        latest("tier", of=shop, group="shops", source="tier", order=("low", "high")),
        count("count", of=shop, window="30d"),
        count("count.owner", of=owner, window="30d"),
        total("sum", of=shop, value="amount", window="30d"),
        distinct("owners", of=shop, value="owner_id", window="30d"),
        distinct("kinds", of=owner, value="kind", window="30d"),
        outcomes("frauds", of=shop, window="90d"),
        rate("rate", of=owner, window="90d", known="when the label arrived"),
        computed("per_piece", field("amount") / field("pieces")),
        computed("twice", feature("sum") * 2),
        computed("young", feature("twice") / profile("shops", "age")),
    )
}
ALL = set(FEATURES)
SHOP_WINDOWS = {"count", "sum", "owners", "frauds"}
OWNER_WINDOWS = {"count.owner", "kinds", "rate"}
WINDOWS = SHOP_WINDOWS | OWNER_WINDOWS
OVER_SUM = {"sum", "twice", "young"}
PROFILES = {"age", "tier", "young"}


def small(**changes: Any) -> Domain:
    given = {name: changes.pop(name) for name in list(changes) if name in FEATURES}
    parts: dict[str, Any] = {
        "name": "small",
        "currency": "USD",
        "claim": Filed,
        "labels": Labels(Settled),
        "split_by": owner,
        "groups": (Group("shops", shop, ShopChanged),),
        "features": tuple({**FEATURES, **given}.values()),
    }
    return Domain(**{**parts, **changes})


def of(changes: dict[str, Any], **entities: Entity) -> Domain:
    """Make the domain with other entities of the same names."""
    by_name = {"shop": shop, "owner": owner, **entities}
    features = tuple(
        replace(each, entity=by_name[each.entity.name]) if hasattr(each, "entity") else each
        for each in FEATURES.values()
    )
    group = Group("shops", by_name["shop"], ShopChanged)
    return small(**{"features": features, "groups": (group,), "split_by": by_name["owner"],
                    **changes})  # fmt: skip


@dataclass(frozen=True)
class Grown(Own):
    """A number as a later version defines it."""

    digest_word: ClassVar[str] = "Own"
    digest_later: ClassVar[dict[str, str]] = {"scale": "scale"}
    digest_never: ClassVar[frozenset[str]] = frozenset({"direction", "facet"})
    scale: int = 1
    direction: str = ""
    facet: bool = False


def grown(**values: Any) -> Domain:
    return small(amount=Grown("amount", "amount", unit=100, **values))


CASES: dict[str, tuple[Callable[[], Domain], set[str]]] = {
    # words and views
    "a text": (lambda: small(amount=replace(FEATURES["amount"], text="other")), set()),
    "a baseline": (lambda: small(amount=replace(FEATURES["amount"], baseline="count")), set()),
    "what follows the calendar": (
        lambda: small(amount=replace(FEATURES["amount"], moving=True)), set()
    ),
    "a direction and a facet": (lambda: grown(direction="worse", facet=True), set()),
    "a later field at its default": (lambda: grown(), set()),
    "a later field that is used": (lambda: grown(scale=2), {"amount"}),
    "the domain's name": (lambda: small(name="other"), set()),
    "a personal mark": (
        lambda: small(claim=like(Filed, owner_id=(Annotated[EntityId, Pii] | None, None))), set()
    ),
    "the class of an event": (lambda: small(claim=like(Filed, "Renamed")), set()),
    "another field of the claim": (
        lambda: small(claim=like(Filed, more=(int | None, None))), set()
    ),
    "another feature": (
        lambda: small(features=(*FEATURES.values(), number("pieces", "pieces"))), set()
    ),
    "another entity's windows": (
        lambda: small(features=(
            *FEATURES.values(), count("g", of=Entity("garage", key="garage_id"), window="9d")
        )), set(),
    ),
    "the order": (
        lambda: small(features=(*list(FEATURES.values())[10::-1], *list(FEATURES.values())[11:])),
        set(),
    ),
    # a definition of its own
    "a unit": (lambda: small(amount=number("amount", "amount")), {"amount"}),
    "a field": (lambda: small(amount=number("amount", "pieces", unit=100)), {"amount"}),
    "an order": (lambda: small(kind=ordered("kind", "kind", ("theft", "glass"))), {"kind"}),
    "a width": (lambda: small(sum=total("sum", of=shop, value="amount", window="9d")), OVER_SUM),
    "a delay": (lambda: small(count=count("count", of=shop, window="30d", delay="1d")), {"count"}),
    "the current event": (
        lambda: small(count=count("count", of=shop, window="30d", current="in")), {"count"}
    ),
    "a constant": (
        lambda: small(twice=computed("twice", feature("sum") * 3)), {"twice", "young"}
    ),
    "an operator": (
        lambda: small(per_piece=computed("per_piece", field("amount") - field("pieces"))),
        {"per_piece"},
    ),
    "arrival or not": (lambda: small(rate=rate("rate", of=owner, window="90d")), {"rate"}),
    # an entity
    "other fields of an entity": (
        lambda: of({}, shop=Entity("shop", key="shop_id")), SHOP_WINDOWS | {"twice", "young"}
    ),
    "the order of other fields": (
        lambda: of({}, shop=replace(shop, also=("garage_id", "garage_id"))), set()
    ),
    "a form": (
        lambda: of({}, owner=Entity("owner", key="owner_id")), OWNER_WINDOWS | {"owners"}
    ),
    "denied ids": (
        lambda: of({}, owner=replace(owner, deny=("test",))), OWNER_WINDOWS | {"owners"}
    ),
    "denied ids of a profile's key": (
        lambda: of({}, shop=replace(shop, deny=("test",))), SHOP_WINDOWS | PROFILES | OVER_SUM
    ),
    "more missing ids": (
        lambda: small(missing=("n/s",)), WINDOWS | PROFILES | OVER_SUM
    ),
    # what only another definition says
    "whether a counted id is an entity's": (
        lambda: small(
            split_by=shop, features=tuple(
                each for each in FEATURES.values() if each.name not in OWNER_WINDOWS
            ),
        ), {"owners"},
    ),
    "another order of the same categories": (
        lambda: small(features=(*FEATURES.values(), ordered("k", "kind", ("theft", "glass")))),
        {"kind"},
    ),
    "a category of a number's field": (
        lambda: small(features=(*FEATURES.values(), ordered("p", "amount", ("1", "2")))),
        {"amount"},
    ),
    "a category of a profile's field": (
        lambda: small(features=(
            *FEATURES.values(), latest("a", of=shop, group="shops", source="age", order=("1",))
        )), {"age", "young"},
    ),
    "a second group of the same events": (
        lambda: small(groups=(Group("shops", shop, ShopChanged), Group("b", shop, ShopChanged))),
        PROFILES,
    ),
    "an entity of the same name": (
        lambda: small(features=(
            *FEATURES.values(), count("g", of=Entity("shop", key="garage_id"), window="9d")
        )), SHOP_WINDOWS | PROFILES | OVER_SUM,
    ),
    # events
    "a type": (
        lambda: small(claim=like(Filed, amount=(float | None, None))),
        OVER_SUM | {"amount", "per_piece"},
    ),
    "a limit": (
        lambda: small(claim=like(Filed, pieces=(Annotated[int, Meta(le=9)] | None, None))),
        {"per_piece"},
    ),
    "a default": (
        lambda: small(claim=like(Filed, amount=(int | None, 5))),
        OVER_SUM | {"amount", "per_piece"},
    ),
    "a name on the log": (
        lambda: small(claim=like(
            Filed, amount=(int | None, msgspec.field(default=None, name="amountCents"))
        )), OVER_SUM | {"amount", "per_piece"},
    ),
    "a currency that is checked": (lambda: small(currency="EUR"), ALL - {"age", "tier"}),
    "the time of a change": (
        lambda: small(groups=(Group("shops", shop, like(
            ShopChanged, changed_at=(datetime | None, datetime(2020, 1, 1))
        )),)), PROFILES,
    ),
    # labels
    "what fraud is": (lambda: small(labels=Labels(Settled, fraud=("fraud", "ring"))),
                      {"frauds", "rate"}),
    "what legitimate is": (lambda: small(labels=Labels(Settled, legit=("legit", "small"))),
                           {"frauds", "rate"}),
    "the order of outcomes": (lambda: small(labels=Labels(Settled, legit=("legit", "fraud"))),
                              set()),
    "the source of a label": (lambda: small(labels=Labels(Settled, source="settled_id")), set()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_changes_the_digests_of_the_features_concerned(case: str) -> None:
    change, concerned = CASES[case]
    before, after = feature_digests(small()), feature_digests(change())
    assert list(after) == change().feature_names
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == (
        concerned & after.keys()
    )


def test_a_new_category_leaves_its_siblings_as_they_are() -> None:
    before = feature_digests(small(features=tuple(one_hot("k", "kind", ("glass", "theft")))))
    after = feature_digests(small(features=tuple(one_hot("k", "kind", ("fire", "glass", "theft")))))
    assert before.items() <= after.items()


def test_a_currency_that_no_event_has_is_not_in_a_digest() -> None:
    claim = like(Filed, currency=(None, None))
    assert "currency" not in claim.__struct_fields__
    one, other = (feature_digests(small(claim=claim, currency=each)) for each in ("USD", "EUR"))
    assert one == other


# -- whatever changes a vector ---------------------------------------------------------------------

FORMS = ("id", "code", "phone")
KINDS = ("Glass", "glass!", "theft", "fire", "9", None)
IDS = ("S-1", "s1", " s 1", "7 7", "77", "n/s", "x-2", "X2", None)
HappenedAt = like(Filed)
HappenedAt.time_field = "happened_at"
Defaulted = like(Filed, amount=(int | None, 700))
CHOICES: dict[str, tuple[Any, ...]] = {
    "claim": (Filed, HappenedAt, Defaulted),
    "form": FORMS,
    "also": ((), ("garage_id",)),
    "deny": ((), ("x-2",), ("X2", "77")),
    "missing": ((), ("s-1",)),
    "owner_form": FORMS,
    "split_by_owner": (False, True),
    "aggregate": ("count", "sum", "mean", "std", "min", "max", "since_last", "outcomes", "rate"),
    "value": ("amount", "pieces"),
    "width_ms": (3_600_000, 20_000_000),
    "delay_ms": (0, 1_800_000),
    "known": (False, True),
    "current": (False, True),
    "empty": (float("nan"), -1.0),
    "counted": ("owner_id", "kind", "amount"),
    "fraud": (("fraud",), ("fraud", "ring"), ("ring",)),
    "legit": (("legit",), ("legit", "ring"), ()),
    "order": (("glass", "theft"), ("theft", "Glass", "glass"), ("fire",)),
    "among": (("glass", "theft"), ("fire", "theft", "glass"), ("GLASS", "glass", "theft")),
    "second": ((), ("theft", "glass"), ("fire", "glass", "theft")),
    "coded_amount": (False, True),
    "tier": (("low", "high"), ("high", "low")),
    "coded_age": (False, True),
    "groups": (1, 2),
    "unit": (1, 100),
    "plus": (1.0, 2.0, float("inf")),
    "namesake": (False, True),
}  # fmt: skip


def built(chosen: dict[str, Any]) -> Domain:
    """Make a domain from one value of each choice."""
    a = Entity("shop", key="shop_id", also=chosen["also"], form=chosen["form"], deny=chosen["deny"])
    b = Entity("owner", key="owner_id", form=chosen["owner_form"])
    aggregate = chosen["aggregate"]
    window = replace(
        count("window", of=a, window="1h"), aggregate=aggregate, width_ms=chosen["width_ms"],
        delay_ms=chosen["delay_ms"], current=chosen["current"], empty=chosen["empty"],
        value=chosen["value"] if aggregate in ("sum", "mean", "std", "min", "max") else "",
        known=chosen["known"] and aggregate in ("outcomes", "rate"),
    )  # fmt: skip
    features: list[Any] = [
        number("number", "amount", unit=chosen["unit"]),
        ordered("order", "kind", chosen["order"]),
        *one_hot("is", "kind", chosen["among"]),
        window,
        distinct("distinct", of=a, value=chosen["counted"], window="5h"),
        latest("age", of=a, group="shops", source="age"),
        latest("tier", of=a, group="shops", source="tier", order=chosen["tier"]),
        computed("plus", feature("window") + field("pieces") * chosen["plus"]),
        computed("aged", feature("plus") - profile("shops", "age")),
    ]
    if chosen["second"]:
        features.append(ordered("second", "kind", chosen["second"]))
    if chosen["coded_amount"]:
        features.append(ordered("coded", "amount", ("700", "900")))
    if chosen["coded_age"]:
        features.append(latest("coded_age", of=a, group="shops", source="age", order=("3", "4")))
    if chosen["namesake"]:
        features.append(count("garages", of=Entity("shop", key="garage_id"), window="1h"))
    groups = [Group("shops", a, ShopChanged), Group("again", a, ShopChanged)][: chosen["groups"]]
    claims = Entity("claim", key="claim_id")
    return Domain(
        name="built", currency="USD", claim=chosen["claim"], features=tuple(features),
        split_by=b if chosen["split_by_owner"] else claims, groups=tuple(groups),
        labels=Labels(Settled, fraud=chosen["fraud"], legit=chosen["legit"]),
        missing=chosen["missing"],
    )  # fmt: skip


def a_log(seed: int) -> list[Record]:
    """Claims, labels and changes of a few hours; each is accepted under every domain above."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(40):
        now = 1_700_000_000_000 + i * 600_000

        def some(values: tuple[Any, ...]) -> Any:
            return values[int(rng.integers(len(values)))]

        def when(now: int = now) -> str:
            ago = int(rng.integers(0, 7_200_000))
            return str(np.datetime64(now - ago, "ms")) + "Z"

        topic = some(("filed", "filed", "filed", "settled", "shops"))
        event: dict[str, Any] = {
            "filed": {"claim_id": f"c-{i}", "filed_at": when(), "happened_at": when(),
                      "shop_id": some(IDS), "garage_id": some(IDS), "owner_id": some(IDS),
                      "kind": some(KINDS), "amount": some((700, 900, 12345, None)),
                      "pieces": some((1, 4, None))},
            "settled": {"settled_id": f"s-{i}", "settled_at": when(),
                        "claim_id": f"c-{int(rng.integers(max(i, 1)))}",
                        "outcome": some(("fraud", "legit", "ring", "retracted"))},
            "shops": {"change_id": f"p-{i}", "changed_at": when(), "shop_id": some(IDS),
                      "age": some((3, 4, None)), "tier": some(("low", "high", None))},
        }[topic]  # fmt: skip
        event = {name: value for name, value in event.items() if value is not None}
        records.append(Record(topic, 0, i, None, msgspec.json.encode(event), now))
    return records


def served(domain: Domain, records: list[Record]) -> dict[str, bytes]:
    """The bytes of each feature's column over the claims of a log."""
    decoder = Decoder(domain.events, domain.currency, KEY)
    answers = decoder.decode(records)
    assert all(isinstance(answer, Accepted) for answer in answers)
    facts = [AcceptedRecord(*pair) for pair in zip(records, answers, strict=True)]
    day_ms = 86_400_000
    matrix = Intake(domain, KEY, day_ms, 400 * day_ms).take(facts).vectors.matrix
    return {name: matrix[:, i].tobytes() for i, name in enumerate(domain.feature_names)}


def check_pair(data: st.DataObject, seed: int) -> None:
    first = {name: data.draw(st.sampled_from(values), name) for name, values in CHOICES.items()}
    changed = data.draw(st.lists(st.sampled_from(list(CHOICES)), min_size=1, max_size=2))
    second = {**first, **{n: data.draw(st.sampled_from(CHOICES[n]), n) for n in changed}}
    one, other = built(first), built(second)
    records = a_log(seed)
    digests, digests_then = feature_digests(one), feature_digests(other)
    values, values_then = served(one, records), served(other, records)
    for name in digests.keys() & digests_then.keys():
        if digests[name] == digests_then[name]:
            assert values[name] == values_then[name], name


@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_features_with_equal_digests_have_equal_values(data: st.DataObject, seed: int) -> None:
    check_pair(data, seed)


@pytest.mark.long
@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=1500, deadline=None)
def test_so_do_those_of_many_domains(data: st.DataObject, seed: int) -> None:
    check_pair(data, seed)
