"""The canonical workload: one claim of 35 fields and 1.1 kB, 40 features, 200 trees of depth 6.

The workload is a function of its size and a seed: the claims, the model, and the 5 % of the claims
that are referred are the same in every run. A policy has one claim a year and a repair shop 200, so
the number of policies changes how much memory an event touches, but not how much work it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from claimtrace.clock import DAY_MS
from claimtrace.encoding.encoder import encode
from claimtrace.events import EPOCH, Record
from claimtrace.ids import partition_of
from claimtrace_examples.auto_claims import ClaimAdjudicated, ClaimFiled
from claimtrace_examples.auto_claims.entities import account, phone, policy, shop, vehicle
from claimtrace_examples.auto_claims.features import AMOUNT, ARRIVED
from featurestore.definitions.domain import Domain, Labels
from featurestore.definitions.expressions import feature, field
from featurestore.definitions.features import (
    computed,
    count,
    distinct,
    largest,
    mean,
    number,
    one_hot,
    ordered,
    outcomes,
    rate,
    ratio,
    rule,
    since_last,
    std,
    total,
)
from stream.journal.plan import TopicPartition

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
YEAR_MS: Final = 365 * DAY_MS
PARTITIONS: Final = 4
LABELLED_RATIO, FRAUD_RATIO = 0.05, 0.2
LABEL_DELAY_MS: Final = 20 * DAY_MS
POLICIES_PER_SHOP: Final = 200
CLAIMS_PER_DRIFT_WINDOW: Final = 10_000

DOMAIN = Domain(
    name="canonical",
    currency="USD",
    claim=ClaimFiled,
    labels=Labels(ClaimAdjudicated),
    split_by=policy,
    amount=AMOUNT,
    features=(
        number("total_claim", AMOUNT, unit=100, baseline="policy.mean_cents.365d"),
        number("injury_claim", "injury_claim_cents", unit=100),
        number("vehicle_claim", "vehicle_claim_cents", unit=100),
        number("num_vehicles", "num_vehicles_involved"),
        number("num_injuries", "num_injuries"),
        number("num_witnesses", "num_witnesses"),
        number("incident_hour", "incident_hour"),
        ordered("severity", "incident_severity", ("minor", "major", "totaled")),
        ordered("police_report", "police_report_available", ("no", "yes")),
        *one_hot("incident", "incident_type", ("collision", "breakin", "theft")),
        *one_hot("collision", "collision_type", ("front", "rear", "side", "na")),
        ratio("injury_share", "injury_claim_cents", AMOUNT),
        computed("report_lag_days", (field("filed_at") - field("incident_at")) / DAY_MS),
        count("policy.count.30d", of=policy, window="30d"),
        count("policy.count.365d", of=policy, window="365d"),
        total("policy.sum_cents.365d", of=policy, value=AMOUNT, window="365d"),
        mean("policy.mean_cents.365d", of=policy, value=AMOUNT, window="365d"),
        since_last("policy.since_last_days", of=policy, within="365d"),
        count("vehicle.count.365d", of=vehicle, window="365d"),
        distinct("vehicle.policies.365d", of=vehicle, value="policy_id", window="365d"),
        count("shop.count.7d", of=shop, window="7d"),
        count("shop.count.30d", of=shop, window="30d"),
        mean("shop.mean_cents.90d", of=shop, value=AMOUNT, window="90d"),
        std("shop.std_cents.90d", of=shop, value=AMOUNT, window="90d"),
        largest("shop.max_cents.90d", of=shop, value=AMOUNT, window="90d"),
        rate("shop.fraud.rate.180d", of=shop, window="180d", known=ARRIVED),
        count("phone.count.90d", of=phone, window="90d"),
        distinct("phone.policies.90d", of=phone, value="policy_id", window="90d"),
        total("phone.sum_cents.90d", of=phone, value=AMOUNT, window="90d"),
        count("account.count.90d", of=account, window="90d"),
        distinct("account.policies.90d", of=account, value="policy_id", window="90d"),
        total("account.sum_cents.90d", of=account, value=AMOUNT, window="90d"),
        outcomes("account.frauds.180d", of=account, window="180d", known=ARRIVED),
        computed("of_policy_mean", field(AMOUNT) / feature("policy.mean_cents.365d")),
        computed("of_shop_mean", field(AMOUNT) / feature("shop.mean_cents.90d")),
    ),
    rules=(
        rule("shared_account", feature("account.policies.90d") >= 6, outcome="review", text="six"),
        rule("late_report", feature("report_lag_days") > 300, outcome="review", text="late"),
    ),
)
assert len(DOMAIN.features) == 40


class Sent(NamedTuple):
    """A record that has no position on the log yet."""

    topic: str
    key: str
    value: bytes
    log_time_ms: int


def drift_window_ms(policies: int) -> int:
    """The width of a drift window that holds `CLAIMS_PER_DRIFT_WINDOW` claims."""
    return YEAR_MS * CLAIMS_PER_DRIFT_WINDOW // policies


def events(
    policies: int, claims: int, seed: int = 7, yearly: int = 1, first: int = 0
) -> Iterator[Sent]:
    """Generate claims in the order of their time, and labels when they fall due.

    Args:
        policies: number of policies that file claims.
        claims: number of the claim to stop before.
        seed: the same seed gives the same bytes.
        yearly: claims of a policy in a year, on average.
        first: number of the first claim, a multiple of 10,000; earlier claims get no labels.
    """
    chunk = 10_000
    waiting: list[Sent] = []
    for start in range(first, claims, chunk):
        size = min(chunk, claims - start)
        rng = np.random.default_rng([seed, policies, start])
        sent = _claims(policies, start, size, rng, yearly)
        decided = [_label(each.key, each.log_time_ms, n, rng) for n, each in enumerate(sent, start)]
        waiting += [each for each in decided if each is not None]
        until_ms = sent[-1].log_time_ms
        due = [each for each in waiting if each.log_time_ms <= until_ms]
        waiting = waiting[len(due) :]
        yield from sorted(sent + due, key=lambda each: each.log_time_ms)


def as_records(sent: Sequence[Sent], positions: dict[TopicPartition, int]) -> list[Record]:
    """Give events their positions on the log, as a source delivers them.

    Args:
        sent: the events.
        positions: the next position of each partition; updated for the next call.
    """
    records = []
    for topic, key, value, log_time_ms in sent:
        place = topic, partition_of(key, PARTITIONS)
        position = positions.get(place, 0)
        positions[place] = position + 1
        records.append(Record(*place, position, None, value, log_time_ms))
    return records


def _claims(
    policies: int, start: int, size: int, rng: np.random.Generator, yearly: int
) -> list[Sent]:
    owner = rng.integers(0, policies, size).tolist()
    other = rng.integers(0, policies, size).tolist()
    shops = rng.integers(0, max(1, policies // POLICIES_PER_SHOP), size).tolist()
    kinds = rng.integers(0, 1 << 30, size).tolist()
    injury = (rng.pareto(2.5, size) * 3e5).astype(np.int64).clip(0, 10**9).tolist()
    damage = (rng.pareto(2.0, size) * 8e5 + 5e4).astype(np.int64).clip(0, 10**9).tolist()
    lag_ms = (rng.exponential(4.0, size) * DAY_MS).astype(np.int64).tolist()
    sent = []
    for i in range(size):
        n, mine, kind = start + i, owner[i], kinds[i]
        filed_ms = n * YEAR_MS // (policies * yearly)
        filed_at = START + timedelta(milliseconds=filed_ms)
        hurt = injury[i] if kind % 3 == 0 else 0
        claim = ClaimFiled(
            claim_id=f"claim-{n:010d}",
            filed_at=filed_at,
            incident_at=filed_at - timedelta(milliseconds=lag_ms[i]),
            policy_id=f"POL-{mine:09d}",
            customer_id=f"CUS-{mine:09d}",
            vin=f"1HGCM826{mine if kind % 23 else other[i]:09d}",
            repair_shop_id=f"SHOP-{shops[i]:07d}",
            clinic_id=f"CLINIC-{shops[i] // 3:06d}" if hurt else None,
            phone=f"+1 555 {mine:09d}",
            other_party_phone=f"+1 555 {other[i]:09d}" if kind % 5 < 3 else None,
            bank_account=f"DE89 3704 0044 {mine if kind % 29 else other[i] // 50:010d}",
            address=f"{mine % 997} Long Street, Springfield, IL {mine:09d}",
            driver_relationship=("Self", "Spouse", "Child", "Other")[kind >> 3 & 3],
            incident_type=("Collision", "Collision", "Break-In", "Theft")[kind >> 5 & 3],
            collision_type=("Front", "Rear", "Side", "N/A")[kind >> 7 & 3],
            incident_severity=("Minor", "Major", "Totaled", "Minor")[kind >> 9 & 3],
            authorities_contacted=("Police", "None", "Fire", "Ambulance")[kind >> 11 & 3],
            police_report_available=("No", "Yes")[kind >> 13 & 1],
            num_vehicles_involved=1 + (kind >> 14 & 3),
            num_injuries=(kind >> 16 & 3) if hurt else 0,
            num_witnesses=None if kind % 19 == 0 else kind >> 18 & 3,
            injury_claim_cents=hurt,
            vehicle_claim_cents=damage[i],
            total_claim_cents=hurt + damage[i],
            incident_month=filed_at.month,
            incident_day=filed_at.day,
            incident_dow=filed_at.weekday(),
            incident_hour=kind % 24,
            channel=("web", "phone", "broker", "app")[kind >> 20 & 3],
            line_of_business="personal_auto",
            country="US",
            postcode=f"{62000 + mine % 999}",
            narrative=_NARRATIVE,
        )
        sent.append(Sent(ClaimFiled.topic, claim.policy_id or "", encode(claim), to_ms(filed_at)))
    return sent


_NARRATIVE: Final = (
    "Insured states that while stopped at a red light on Main Street the other vehicle failed to"
    " brake in time and struck the rear bumper; both drivers exchanged details at the scene."
)


def _label(key: str, filed_ms: int, n: int, rng: np.random.Generator) -> Sent | None:
    draw = rng.random()
    if draw >= LABELLED_RATIO:
        return None
    decided_ms = filed_ms + LABEL_DELAY_MS
    label = ClaimAdjudicated(
        adjudication_id=f"verdict-{n:010d}",
        decided_at=EPOCH + timedelta(milliseconds=decided_ms),
        claim_id=f"claim-{n:010d}",
        outcome="fraud" if draw < LABELLED_RATIO * FRAUD_RATIO else "legit",
        source="siu",
    )
    return Sent(ClaimAdjudicated.topic, key, encode(label), decided_ms)


def to_ms(when: datetime) -> int:
    """Milliseconds since 1970 UTC."""
    return (when - EPOCH) // timedelta(milliseconds=1)
