"""Domain of card payments: the 15 inputs of the Fraud Detection Handbook's simulated transactions.

Windows over the customer include the current payment; windows over the terminal end seven days
before it, because an outcome takes seven days to become known. The engine has no code for cards.
"""

from __future__ import annotations

from datetime import datetime

from claimtrace.events import Category, Cents, Count, EntityId, Event, EventId
from featurestore.definitions.domain import Domain, Labels
from featurestore.definitions.expressions import field
from featurestore.definitions.features import Entity, computed, count, mean, number, rate


class CardPaid(Event, topic="payments.made", id="payment_id", time="paid_at", frozen=True):
    """A payment by card; `hour` and `weekday` (0 is Monday) are read from the terminal's clock."""

    payment_id: EventId
    paid_at: datetime | None = None
    currency: str = "EUR"
    customer_id: EntityId | None = None
    terminal_id: EntityId | None = None
    amount_cents: Cents | None = None
    weekday: Count | None = None
    hour: Count | None = None


class PaymentReviewed(
    Event, topic="payments.reviewed", id="review_id", time="reviewed_at", frozen=True
):
    """The outcome of a payment's review."""

    review_id: EventId
    reviewed_at: datetime | None = None
    claim_id: EventId | None = None
    outcome: Category | None = None
    source: Category | None = None


customer = Entity("customer", key="customer_id")
terminal = Entity("terminal", key="terminal_id")
WINDOW_DAYS = (1, 7, 30)

DOMAIN = Domain(
    name="card_payments",
    currency="EUR",
    claim=CardPaid,
    labels=Labels(PaymentReviewed),
    split_by=customer,
    amount="amount_cents",
    features=(
        number("payment.amount_cents", "amount_cents", text="amount paid, in cents"),
        computed("payment.on_weekend", field("weekday") >= 5, text="paid on a weekend"),
        computed("payment.at_night", field("hour") <= 6, text="paid at night"),
        *(
            window
            for days in WINDOW_DAYS
            for window in (
                count(f"customer.payments.count.{days}d", of=customer, window=f"{days}d",
                      current="in", text="payments of this customer"),
                mean(f"customer.paid.mean_cents.{days}d", of=customer, value="amount_cents",
                     window=f"{days}d", current="in", text="mean amount of this customer"),
            )
        ),
        *(
            window
            for days in WINDOW_DAYS
            for window in (
                count(f"terminal.payments.count.{days}d", of=terminal, window=f"{days}d",
                      delay="7d", text="payments at this terminal, seven days ago"),
                rate(f"terminal.fraud.rate.{days}d", of=terminal, window=f"{days}d", delay="7d",
                     empty=0.0, more="worse",
                     text="share of frauds at this terminal, seven days ago"),
            )
        ),
    ),
)  # fmt: skip
