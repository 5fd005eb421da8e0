"""Domains with every word of the language: each kind of feature, option, operator and outcome.

They exist for their digests and make no sense as domains. The test
`tests/featurestore/definitions/test_golden_digests.py` holds the digests and finds missing words. A
domain is never edited once its digests are there: new words of the language go into another domain.

"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from claimtrace.events import Category, Cents, Count, EntityId, Event, EventId, Pii, Text
from featurestore.definitions import (
    Entity,
    Group,
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
from featurestore.domain import Domain, Labels
from featurestore.expressions import feature, field, profile

ARRIVED = "when the label arrived"


class Filed(Event, topic="every.filed", id="claim_id", time="filed_at", frozen=True):
    claim_id: EventId
    filed_at: datetime | None = None
    currency: str = "CHF"
    person: EntityId | None = None
    phone: Annotated[EntityId, Pii] | None = None
    other_phone: Annotated[EntityId, Pii] | None = None
    account: Annotated[EntityId, Pii] | None = None
    color: Category | None = None
    size: Category | None = None
    pieces: Count | None = None
    cents: Cents | None = None
    note: Annotated[Text, Pii] | None = None


class PersonChanged(Event, topic="every.persons", id="change_id", time="changed_at", frozen=True):
    change_id: EventId
    changed_at: datetime | None = None
    person: EntityId | None = None
    age: Count | None = None
    since: datetime | None = None
    tier: Category | None = None


class AccountChanged(Event, topic="every.accounts", id="change_id", time="changed_at", frozen=True):
    change_id: EventId
    changed_at: datetime | None = None
    account: Annotated[EntityId, Pii] | None = None
    bank: Category | None = None


class Settled(Event, topic="every.settled", id="settled_id", time="settled_at", frozen=True):
    settled_id: EventId
    settled_at: datetime | None = None
    about: EventId | None = None
    result: Category | None = None
    whence: Category | None = None


person = Entity("person", key="person")
phone = Entity("phone", key="phone", also=("other_phone",), form="phone", deny=("000", "110"))
account = Entity("account", key="account", form="code", deny=("DE00",))

PLAIN = (
    number("pieces", "pieces"),
    number("whole", "cents", unit=100, moving=True, text="whole francs", baseline="mean"),
    ordered("size", "size", ("small", "large")),
    ordered("size_in_words", "size", ["small", "large"], text="size of it"),
    *one_hot("color", "color", ("red", "blue")),
    *one_hot("paint", "color", ("red", "blue"), text="its paint"),
    latest("age", of=person, group="persons"),
    latest("person.years", of=person, group="persons", source="age", text="age in years"),
    latest("person.tier", of=person, group="persons", order=("silver", "gold")),
    *latest_one_hot("bank", of=account, group="accounts", source="bank", values=("a", "b")),
    *latest_one_hot("house", of=account, group="accounts", source="bank", values=("a",),
                    known=("c",)),
)  # fmt: skip

WINDOWS = (
    count("count", of=person, window="30d"),
    replace(count("count.365d", of=person, window="365d"), baseline="count"),
    count("count.all", of=phone, window="36h", delay="90s", current="in", text="calls"),
    total("sum", of=person, value="cents", window="1d"),
    total("sum.all", of=person, value="cents", window="1d", delay="1h", current="in", text="sum"),
    mean("mean", of=person, value="cents", window="45m"),
    mean("mean.all", of=person, value="pieces", window="1d", delay="1h", current="in", empty=0.0,
         text="mean"),
    std("std", of=person, value="cents", window="1d"),
    std("std.all", of=person, value="cents", window="1d", delay="1h", current="in", empty=-1.5,
        text="spread"),
    smallest("min", of=account, value="cents", window="1d"),
    smallest("min.all", of=account, value="cents", window="1d", delay="1h", current="in",
             empty=0.0, text="least"),
    largest("max", of=account, value="cents", window="1d"),
    largest("max.all", of=account, value="cents", window="1d", delay="1h", current="in",
            empty=1e9, text="most"),
    distinct("distinct", of=phone, value="person", window="1d"),
    distinct("distinct.all", of=phone, value="account", window="1d", delay="1h", current="in",
             text="persons"),
    since_last("since", of=person, within="400d"),
    since_last("since.all", of=account, within="400d", text="days since"),
    outcomes("frauds", of=person, window="90d"),
    outcomes("frauds.all", of=person, window="90d", outcome="fraud", delay="7d", known=ARRIVED,
             text="frauds"),
    rate("rate", of=account, window="90d"),
    rate("rate.all", of=account, window="90d", outcome="fraud", delay="7d", known=ARRIVED,
         empty=0.0, text="share"),
)  # fmt: skip

ARITHMETIC = (
    ratio("share", "cents", "pieces"),
    ratio("share.all", "cents", "pieces", text="cents a piece"),
    computed("plus", field("cents") + 1),
    computed("minus", field("cents") - feature("pieces")),
    computed("from", 1 - feature("share"), text="the rest", baseline="share.all"),
    computed("times", field("cents") * 0.1),
    computed("over", (field("filed_at") - profile("persons", "since")) / 86_400_000),
    computed("less", feature("plus") < 2.5),
    computed("at_most", feature("plus") <= -3),
    computed("more", feature("plus") > 1e300),
    computed("at_least", feature("plus") >= 0),
    computed("same", feature("plus").equals(7)),
    computed("both", (feature("less") > 0) & (feature("more") > 0)),
    computed("either", feature("less").equals(1) | feature("more").equals(feature("same"))),
)

RULES = (
    rule("many", feature("count") >= 3, outcome="review", text="three or more"),
    rule(
        "odd",
        (feature("over") < 1) & (field("cents") > 100_000)
        | profile("persons", "age").equals(feature("age")),
        outcome="refer",
        text="“odd”: €, ü and more than ASCII",
    ),
)

DOMAIN = Domain(
    name="every_kind",
    currency="CHF",
    claim=Filed,
    labels=Labels(
        Settled,
        claim="about",
        outcome="result",
        source="whence",
        fraud=("fraud", "staged"),
        legit=("legit", "paid"),
    ),
    groups=(Group("persons", person, PersonChanged), Group("accounts", account, AccountChanged)),
    features=(*PLAIN, *WINDOWS, *ARITHMETIC),
    rules=RULES,
    split_by=person,
    amount="cents",
)

DIRECTED = replace(
    DOMAIN,
    name="every_kind_directed",
    features=(
        number("pieces", "pieces", more="worse"),
        ordered("size", "size", ("small", "large"), more="better"),
        latest("age", of=person, group="persons", more="better"),
        count("count", of=person, window="30d", more="worse"),
        total("sum", of=person, value="cents", window="1d", more="worse"),
        mean("mean", of=person, value="cents", window="45m", more="worse"),
        std("std", of=person, value="cents", window="1d", more="worse"),
        smallest("min", of=account, value="cents", window="1d", more="worse"),
        largest("max", of=account, value="cents", window="1d", more="worse"),
        distinct("distinct", of=phone, value="person", window="1d", more="worse"),
        since_last("since", of=person, within="400d", more="better"),
        outcomes("frauds", of=person, window="90d", more="worse"),
        rate("rate", of=account, window="90d", more="worse"),
        ratio("share", "cents", "pieces", more="worse"),
        computed("plus", field("cents") + 1, more="worse"),
        computed("minus", field("cents") - feature("pieces"), more="better"),
    ),
    rules=(),
)
"""The same language with directions, which are part of no digest."""

UNDIRECTED = replace(DIRECTED, features=tuple(replace(each, more="") for each in DIRECTED.features))

DOMAINS = (DOMAIN, DIRECTED)
