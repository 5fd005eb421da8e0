"""A second domain of card payments: the handbook's 15 inputs and 24 more of our own.

Every outcome is counted seven days after its payment, as in the first domain: nothing looks past
the delay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from claimtrace_examples.card_payments import DOMAIN as HANDBOOK
from claimtrace_examples.card_payments import customer, terminal
from featurestore.definitions.expressions import feature, field
from featurestore.definitions.features import (
    Feature,
    computed,
    count,
    distinct,
    largest,
    mean,
    outcomes,
    rate,
    since_last,
    std,
)

_PAID: Final = field("amount_cents")

_CUSTOMER: Final[tuple[Feature, ...]] = (
    since_last("customer.payments.since_last", of=customer, within="30d"),
    mean("customer.paid.mean_cents.90d", of=customer, value="amount_cents", window="90d"),
    std("customer.paid.std_cents.30d", of=customer, value="amount_cents", window="30d"),
    std("customer.paid.std_cents.90d", of=customer, value="amount_cents", window="90d"),
    largest("customer.paid.max_cents.14d", of=customer, value="amount_cents", window="14d"),
    largest("customer.paid.max_cents.90d", of=customer, value="amount_cents", window="90d"),
    distinct("customer.terminals.distinct.7d", of=customer, value="terminal_id", window="7d"),
    outcomes("customer.fraud.count.7d", of=customer, window="7d", delay="7d"),
    outcomes("customer.fraud.count.30d", of=customer, window="30d", delay="7d"),
    computed("payment.of_mean.7d", _PAID / feature("customer.paid.mean_cents.7d")),
    computed("payment.of_mean.30d", _PAID / feature("customer.paid.mean_cents.30d")),
    computed("payment.of_mean.90d", _PAID / feature("customer.paid.mean_cents.90d")),
    computed("payment.of_max.90d", _PAID / feature("customer.paid.max_cents.90d")),
    computed("customer.mean.1d_of_90d", feature("customer.paid.mean_cents.1d")
             / feature("customer.paid.mean_cents.90d")),
    computed("customer.mean.7d_of_90d", feature("customer.paid.mean_cents.7d")
             / feature("customer.paid.mean_cents.90d")),
)  # fmt: skip

_TERMINAL: Final[tuple[Feature, ...]] = (
    *(rate(f"terminal.fraud.rate.{days}d", of=terminal, window=f"{days}d", delay="7d", empty=0.0)
      for days in (3, 14, 21)),
    *(outcomes(f"terminal.fraud.count.{days}d", of=terminal, window=f"{days}d", delay="7d")
      for days in (3, 14, 28)),
    since_last("terminal.payments.since_last", of=terminal, within="30d"),
    count("terminal.payments.count.1d.now", of=terminal, window="1d"),
    mean("terminal.paid.mean_cents.30d", of=terminal, value="amount_cents", window="30d"),
)  # fmt: skip

DOMAIN: Final = replace(
    HANDBOOK, name="wide_payments", features=(*HANDBOOK.features, *_CUSTOMER, *_TERMINAL)
)
