"""Honest claims, in columns: incident, severity, amounts, shop and clinic.

Shares of categories and amounts follow the published AWS auto-claims example (5,000 raw claims).
Scenarios start from these columns and change some of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from claimtrace.clock import DAY_MS, HOUR_MS, MINUTE_MS

from .draws import Floats, Ints, choose, lognormal
from .narrative import LARGEST, PARTS_COUNT
from .policies import Book
from .world import World

RELATIONSHIPS: Final = ("Self", "Spouse", "Child", "Other", "N/A")
INCIDENT_TYPES: Final = ("Collision", "Break-in", "Theft")
COLLISION_TYPES: Final = ("Front", "Rear", "Side", "N/A")
SEVERITIES: Final = ("Minor", "Major", "Totaled")
AUTHORITIES: Final = ("Police", "None", "Ambulance", "Fire")
POLICE_REPORTS: Final = ("No", "Yes", None)
CHANNELS: Final = ("web", "app", "phone", "agent")

COLLISION, BREAK_IN, THEFT = range(3)
MINOR, MAJOR, TOTALED = range(3)
APP: Final = 1
NOBODY: Final = -1
"""The number in place of a shop, clinic or other party that doesn't exist."""

_RELATIONSHIP_WEIGHTS: Final = (0.801, 0.1, 0.053, 0.046)
_INCIDENT_WEIGHTS: Final = (0.854, 0.097, 0.049)
_COLLISION_WEIGHTS: Final = (0.494, 0.259, 0.247)
_SEVERITY_WEIGHTS: Final = (0.42, 0.34, 0.24)
_AUTHORITY_WEIGHTS: Final = (0.702, 0.242, 0.029, 0.027)
_CHANNEL_WEIGHTS: Final = (0.36, 0.28, 0.22, 0.14)
_VEHICLE_WEIGHTS: Final = (0.0, 0.114, 0.541, 0.284, 0.056, 0.005)
_INJURY_WEIGHTS: Final = (0.62, 0.235, 0.06, 0.048, 0.037)
_WITNESS_WEIGHTS: Final = (0.521, 0.222, 0.162, 0.066, 0.022, 0.007)
_VEHICLE_MEDIANS_CENTS: Final = np.array([990_000.0, 1_490_000.0, 3_050_000.0])
_INJURY_MEDIAN_CENTS: Final = 900_000.0
_MAX_INJURY_CENTS: Final = 57_000_000
_HOUR_WEIGHTS: Final = (
    *(0.013, 0.013, 0.019, 0.017, 0.031, 0.046, 0.046, 0.049, 0.059, 0.058, 0.059, 0.061),
    *(0.058, 0.062, 0.066, 0.067, 0.067, 0.055, 0.045, 0.038, 0.029, 0.017, 0.012, 0.011),
)


@dataclass
class Claims:
    """Claims in columns, `[claims]` each; codes index the tuples above, entities are numbers."""

    policy: Ints
    filed_ms: Ints
    incident_ms: Ints
    shop: Ints
    clinic: Ints
    phone: Ints
    other_phone: Ints
    bank: Ints
    address: Ints
    postcode: Ints
    relationship: Ints
    incident_type: Ints
    collision_type: Ints
    severity: Ints
    authorities: Ints
    police_report: Ints
    vehicles: Ints
    injuries: Ints
    witnesses: Ints
    injury_cents: Ints
    vehicle_cents: Ints
    channel: Ints
    text: Ints
    """`[claims, PARTS_COUNT]`: the number that picks the sentence of each part of the narrative."""
    scenario: Ints
    """Ground truth, an index of `scenarios.SCENARIOS`; never on the log."""
    ring: Ints

    def __len__(self) -> int:
        return len(self.policy)

    def check(self) -> None:
        """Assert that all columns have one length, so that a broken scenario fails early."""
        for field in fields(self):
            if len(getattr(self, field.name)) != len(self.policy):
                raise AssertionError(f"column {field.name} has another length")


def honest_claims(
    world: World, book: Book, policy: Ints, filed_ms: Ints, rng: np.random.Generator
) -> Claims:
    """Draw honest claims of the policies `policy`, filed at `filed_ms`."""
    count = len(policy)
    incident_type = choose(rng, count, _INCIDENT_WEIGHTS)
    crash = incident_type == COLLISION
    severity = choose(rng, count, _SEVERITY_WEIGHTS)
    injuries = np.where(crash, choose(rng, count, _INJURY_WEIGHTS), 0)
    authorities = choose(rng, count, _AUTHORITY_WEIGHTS)
    towed_away = (incident_type == THEFT) & (rng.random(count) < 0.8)
    state = world.state[policy]
    clinic = world.clinics.draw_nearby(rng, state)
    other_phone = rng.integers(0, min(9 * world.policies, 20_000_000), count)
    vehicles = np.where(crash, choose(rng, count, _VEHICLE_WEIGHTS), 1)
    claims = Claims(
        policy=policy,
        filed_ms=filed_ms,
        incident_ms=incident_times_ms(filed_ms, rng),
        shop=np.where(towed_away, NOBODY, world.shops.draw_nearby(rng, state)),
        clinic=np.where(injuries > 0, clinic, NOBODY),
        phone=world.phone[policy],
        other_phone=np.where(vehicles > 1, 20_000_000 + other_phone, NOBODY),
        bank=world.bank[policy],
        address=world.address[policy],
        postcode=book.postcode[policy],
        relationship=np.where(crash, choose(rng, count, _RELATIONSHIP_WEIGHTS), 4),
        incident_type=incident_type,
        collision_type=np.where(crash, choose(rng, count, _COLLISION_WEIGHTS), 3),
        severity=severity,
        authorities=authorities,
        police_report=((authorities == 0) & (rng.random(count) < 0.6)).astype(np.int64),
        vehicles=vehicles,
        injuries=injuries,
        witnesses=choose(rng, count, _WITNESS_WEIGHTS),
        injury_cents=injury_amounts_cents(injuries, rng),
        vehicle_cents=vehicle_amounts_cents(severity, rng),
        channel=choose(rng, count, _CHANNEL_WEIGHTS),
        text=rng.integers(0, LARGEST, (count, PARTS_COUNT)),
        scenario=np.zeros(count, np.int64),
        ring=np.full(count, -1, np.int64),
    )
    claims.check()
    return claims


def incident_times_ms(filed_ms: Ints, rng: np.random.Generator) -> Ints:
    """Draw incident times: mostly hours or a few days before filing, at the hours people drive."""
    count = len(filed_ms)
    days = np.minimum(lognormal(rng, count, 1.2, 1.0), 60.0).astype(np.int64)
    hour = choose(rng, count, _HOUR_WEIGHTS)
    at_ms = (filed_ms // DAY_MS - days) * DAY_MS + hour * HOUR_MS
    at_ms += rng.integers(0, 60, count) * MINUTE_MS
    # never after the claim was filed
    past_ms: Ints = np.where(at_ms < filed_ms, at_ms, filed_ms - 20 * MINUTE_MS)
    return past_ms


def vehicle_amounts_cents(severity: Ints, rng: np.random.Generator) -> Ints:
    """Draw the damage to the car by severity: medians about 9,900, 14,900, 30,500 major units."""
    spread = lognormal(rng, len(severity), 1.0, 0.3)
    return np.rint(_VEHICLE_MEDIANS_CENTS[severity] * spread).astype(np.int64)


def injury_amounts_cents(injuries: Ints, rng: np.random.Generator) -> Ints:
    """Draw long-tailed amounts in steps of 100 major units; zero without injuries."""
    amounts: Floats = injuries * lognormal(rng, len(injuries), _INJURY_MEDIAN_CENTS, 0.8)
    rounded: Floats = np.minimum(np.rint(amounts / 10_000) * 10_000, _MAX_INJURY_CENTS)
    return rounded.astype(np.int64)
