"""The domain of the folder beside this file. Frozen: an edit here would make the folder unreadable.

Theft and damage claims of a bicycle insurer, small but with most kinds of features. It imports
nothing but the language, by the paths that users of this edition imported it by; those paths and
the digests of these definitions must go on working.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from claimtrace.clock import DAY_MS
from claimtrace.events import Category, Cents, Count, EntityId, Event, EventId, Pii
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


class BikeClaimed(Event, topic="bikes.claimed", id="claim_id", time="filed_at", frozen=True):
    """A claim for a stolen or damaged bicycle."""

    claim_id: EventId
    filed_at: datetime | None = None
    happened_at: datetime | None = None
    currency: str = "EUR"
    contract_id: EntityId | None = None
    shop_id: EntityId | None = None
    phone: Annotated[EntityId, Pii] | None = None
    second_phone: Annotated[EntityId, Pii] | None = None
    account: Annotated[EntityId, Pii] | None = None
    cause: Category | None = None
    severity: Category | None = None
    month: Count | None = None
    witnesses: Count | None = None
    parts_cents: Cents | None = None
    total_cents: Cents | None = None


class ContractChanged(
    Event, topic="bikes.contracts", id="change_id", time="changed_at", frozen=True
):
    """What is known of a contract from `changed_at` on."""

    change_id: EventId
    changed_at: datetime | None = None
    contract_id: EntityId | None = None
    inception_at: datetime | None = None
    premium: Count | None = None
    cover: Category | None = None
    region: Category | None = None


class BikeAdjudicated(
    Event, topic="bikes.adjudicated", id="adjudication_id", time="decided_at", frozen=True
):
    """How a claim ended."""

    adjudication_id: EventId
    decided_at: datetime | None = None
    claim_id: EventId | None = None
    outcome: Category | None = None
    source: Category | None = None


contract = Entity("contract", key="contract_id")
shop = Entity("shop", key="shop_id", deny=("Hinterhof",))
phone = Entity("phone", key="phone", also=("second_phone",), form="phone")
account = Entity("account", key="account", form="code")

DOMAIN = Domain(
    name="bikes",
    currency="EUR",
    claim=BikeClaimed,
    labels=Labels(BikeAdjudicated),
    groups=(Group("contracts", contract, ContractChanged),),
    split_by=contract,
    amount="total_cents",
    missing=("House account",),
    features=(
        number("amount", "total_cents", unit=100, text="amount claimed",
               baseline="contract.claimed.mean.200d"),
        number("month", "month", moving=True, text="month of the event"),
        number("witnesses", "witnesses", text="witnesses"),
        ordered("severity", "severity", ("scratch", "broken", "gone"), text="severity"),
        *one_hot("cause", "cause", ("theft", "fall", "crash")),
        latest("contract.premium", of=contract, group="contracts", text="premium"),
        latest("contract.cover", of=contract, group="contracts", order=("basic", "full"),
               text="cover (0 basic, 1 full)"),
        *latest_one_hot("region", of=contract, group="contracts", source="region",
                        values=("north", "south"), known=("abroad",)),
        ratio("parts_share", "parts_cents", "total_cents", text="share of parts"),
        computed("report_days", (field("filed_at") - field("happened_at")) / DAY_MS,
                 text="days from the event to the claim"),
        computed("contract.age_days",
                 (field("happened_at") - profile("contracts", "inception_at")) / DAY_MS,
                 text="age of the contract, in days"),
        count("contract.claims.90d", of=contract, window="90d", text="claims on this contract"),
        total("contract.claimed.200d", of=contract, value="total_cents", window="200d",
              current="in", text="amount claimed on this contract"),
        mean("contract.claimed.mean.200d", of=contract, value="total_cents", window="200d",
             empty=0.0, text="mean amount of this contract"),
        since_last("contract.since_last", of=contract, within="200d",
                   text="days since this contract's last claim"),
        count("shop.claims.12h", of=shop, window="12h", text="claims at this shop"),
        std("shop.claimed.std.60d", of=shop, value="total_cents", window="60d",
            text="spread of the amounts at this shop"),
        smallest("shop.claimed.min.60d", of=shop, value="total_cents", window="60d",
                 text="smallest amount at this shop"),
        largest("shop.claimed.max.60d", of=shop, value="total_cents", window="60d",
                text="largest amount at this shop"),
        rate("shop.fraud.rate.120d", of=shop, window="120d", known=ARRIVED,
             text="share of frauds among this shop's outcomes that arrived"),
        rate("shop.fraud.rate.60d.ago", of=shop, window="60d", delay="14d", empty=0.0,
             text="share of frauds at this shop, 14 days ago"),
        count("phone.claims.60d", of=phone, window="60d", text="claims that name this phone"),
        distinct("account.contracts.90d", of=account, value="contract_id", window="90d",
                 current="in", text="different contracts paid to this account"),
        rate("shop.known.rate.90d", of=shop, window="90d", text="share of frauds at this shop"),
        outcomes("account.frauds.200d", of=account, window="200d", known=ARRIVED,
                 text="frauds that arrived among claims paid to this account"),
        computed("of_contract_mean", field("total_cents") / feature("contract.claimed.mean.200d"),
                 text="amount over this contract's own mean"),
    ),
    rules=(
        rule("new_contract_large_claim",
             (feature("contract.age_days") < 30) & (field("total_cents") > 250_000),
             outcome="review", text="the contract is younger than 30 days, the claim over 2,500"),
        rule("shared_account", feature("account.contracts.90d") >= 12,
             outcome="refer", text="twelve or more contracts were paid to this account"),
        rule("known_frauds", (feature("account.frauds.200d") >= 30)
             | (feature("shop.fraud.rate.120d") > 0.9),
             outcome="review", text="earlier frauds at this account or shop"),
    ),
)  # fmt: skip
