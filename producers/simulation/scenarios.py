"""The fraud scenarios. Each changes its rows of honest claims, in columns, into its frauds.

| scenario | policies | signs |
|---|---|---|
| staged_ring | eight policies, for six weeks | the same phones, accounts, shop, clinic, words |
| crooked_shop | one shop in two hundred | minor damage at twice the price, no police, no witness |
| inflated_injury | customers of a few clinics | many injuries and large sums with little damage |
| early_policy | policies younger than 40 days | theft or total loss, several insurers before |
| stolen_identity | any customers, in waves | new phone, account and address; at night, by app |

All values that a ring, a shop or a wave shares are hashes of its number, so blocks of time share no
state. Frauds are drawn with noise: no single field identifies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from claimtrace.clock import DAY_MS, HOUR_MS, MINUTE_MS

from .config import SimulationConfig
from .draws import Floats, Ints, choose, lognormal, mix
from .honest_claims import (
    APP,
    BREAK_IN,
    COLLISION,
    MINOR,
    NOBODY,
    THEFT,
    TOTALED,
    Claims,
    injury_amounts_cents,
    vehicle_amounts_cents,
)
from .narrative import LARGEST, PARTS_COUNT
from .world import World

SCENARIOS: Final = (
    "none",
    "staged_ring",
    "crooked_shop",
    "inflated_injury",
    "early_policy",
    "stolen_identity",
)
NONE, STAGED_RING, CROOKED_SHOP, INFLATED_INJURY, EARLY_POLICY, STOLEN_IDENTITY = range(6)

RING_DAYS: Final = 42
WAVE_EVERY_DAYS: Final = 30
WAVE_DAYS: Final = 5
EARLY_DAYS: Final = 40
COMMANDED_RINGS: Final = 1 << 30
"""The number of the first commanded ring."""

_RING_CLAIMS: Final = 10
_RING_POLICIES: Final = 8
_RING_PHONES: Final = 3
_RING_ACCOUNTS: Final = 2
_NEW_PEOPLE: Final = 40_000_000
"""The first number of phones, accounts and addresses that no honest customer has."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Portfolio:
    """The policies that frauds can be drawn from in a block of time."""

    in_force: Ints
    is_in_force: npt.NDArray[np.bool_]
    """`[policies]`."""
    young: Ints
    """Policies in force that are younger than `EARLY_DAYS`."""
    propensity_edges: Floats
    """Running sum of propensity times frailty over `in_force`: who claims more cheats more."""

    @classmethod
    def of(cls, world: World, at_ms: int) -> Portfolio:
        """Select the policies in force at `at_ms` whose profile has been on the log for an hour."""
        is_in_force = (world.inception_ms < at_ms - HOUR_MS) & (world.end_ms > at_ms)
        in_force = np.flatnonzero(is_in_force)
        young = in_force[world.inception_ms[in_force] > at_ms - EARLY_DAYS * DAY_MS]
        return cls(
            in_force, is_in_force, young, np.cumsum((world.propensity * world.frailty)[in_force])
        )

    def cheaters(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw policies by their propensity to cheat."""
        at = rng.random(count) * self.propensity_edges[-1]
        chosen: Ints = self.in_force[np.searchsorted(self.propensity_edges, at, side="right")]
        return chosen


def scenario_of(config: SimulationConfig, day: Ints, rng: np.random.Generator) -> Ints:
    """Draw the scenario of each fraud; stolen identities come in waves of `WAVE_DAYS`."""
    ratios = np.array(config.scenarios.ratios())
    calm = ratios.copy()
    calm[-1] = 0.0
    wave = ratios.copy()
    wave[-1] *= WAVE_EVERY_DAYS / WAVE_DAYS  # so that the mean share stays as configured
    in_wave = day % WAVE_EVERY_DAYS < WAVE_DAYS
    drawn = np.where(
        in_wave,
        choose(rng, len(day), wave),
        choose(rng, len(day), calm if calm.sum() > 0 else wave),
    )
    return drawn + 1


def rings_at_once(config: SimulationConfig) -> int:
    """Compute the number of active rings, so that each files about ten claims in its life."""
    ratios = config.scenarios.ratios()
    share = ratios[0] / sum(ratios)
    staged = config.claims_per_day * config.fraud_ratio * share * RING_DAYS
    return max(1, round(staged / _RING_CLAIMS))


def choose_policies(
    scenario: Ints, ring: Ints, portfolio: Portfolio, rng: np.random.Generator
) -> Ints:
    """Draw the policy of each fraud by its scenario; `ring` is the ring of staged accidents.

    Rows without a fraud (scenario 0) get a policy as well, which the caller ignores.
    """
    count = len(scenario)
    policy = portfolio.cheaters(rng, count)
    slot = rng.integers(0, _RING_POLICIES, count)
    member = mix(ring, slot, 11) % len(portfolio.is_in_force)
    still = portfolio.is_in_force[member]  # a lapsed member is replaced by any cheater
    policy = np.where((scenario == STAGED_RING) & still, member, policy)
    anyone = portfolio.in_force[rng.integers(0, len(portfolio.in_force), count)]
    policy = np.where(scenario == STOLEN_IDENTITY, anyone, policy)
    if len(portfolio.young):
        young = portfolio.young[rng.integers(0, len(portfolio.young), count)]
        policy = np.where(scenario == EARLY_POLICY, young, policy)
    return policy


def apply_scenarios(claims: Claims, world: World, rng: np.random.Generator) -> None:
    """Change the rows of each scenario into its frauds, in place."""
    scenarios = (staged_ring, crooked_shop, inflated_injury, early_policy, stolen_identity)
    for number, change in enumerate(scenarios, start=1):
        rows = np.flatnonzero(claims.scenario == number)
        if len(rows):
            change(claims, rows, world, rng)
    claims.check()


def staged_ring(claims: Claims, rows: Rows, world: World, rng: np.random.Generator) -> None:
    """Stage rear-end collisions at low speed with full cars, among people who know each other."""
    count, ring = len(rows), claims.ring[rows]
    burner = rng.integers(0, _RING_PHONES, count)
    claims.phone[rows] = _NEW_PEOPLE + mix(ring, burner, 1) % 10_000_000
    other = (burner + 1 + rng.integers(0, _RING_PHONES - 1, count)) % _RING_PHONES
    claims.other_phone[rows] = _NEW_PEOPLE + mix(ring, other, 1) % 10_000_000
    account = rng.integers(0, _RING_ACCOUNTS, count)
    claims.bank[rows] = _NEW_PEOPLE + mix(ring, account, 2) % 10_000_000
    same_shop = rng.random(count) < 0.8
    claims.shop[rows] = np.where(same_shop, mix(ring, 3) % world.shops.count, claims.shop[rows])
    claims.incident_type[rows] = COLLISION
    claims.collision_type[rows] = choose(rng, count, (0.15, 0.6, 0.25))
    claims.relationship[rows] = choose(rng, count, (0.7, 0.1, 0.05, 0.15))
    claims.severity[rows] = choose(rng, count, (0.5, 0.36, 0.14))
    claims.vehicles[rows] = 2 + choose(rng, count, (0.75, 0.25))
    claims.injuries[rows] = choose(rng, count, (0.3, 0.3, 0.2, 0.1, 0.1))
    hurt = claims.injuries[rows] > 0
    claims.clinic[rows] = np.where(hurt, mix(ring, 4) % world.clinics.count, NOBODY)
    claims.injury_cents[rows] = injury_amounts_cents(claims.injuries[rows], rng)
    claims.vehicle_cents[rows] = vehicle_amounts_cents(claims.severity[rows], rng)
    for part in range(PARTS_COUNT):  # the same sentences, changed now and then
        same = rng.random(count) < 0.75
        words = mix(ring, part, 5) % LARGEST
        claims.text[rows, part] = np.where(same, words, claims.text[rows, part])


def crooked_shop(claims: Claims, rows: Rows, world: World, rng: np.random.Generator) -> None:
    """Inflate the repair of minor damage, at one of a few shops."""
    count = len(rows)
    crooked = max(1, world.shops.count // 200)
    claims.shop[rows] = mix(rng.integers(0, crooked, count), world.seed, 6) % world.shops.count
    claims.severity[rows] = choose(rng, count, (0.62, 0.3, 0.08))
    amounts = vehicle_amounts_cents(claims.severity[rows], rng)
    claims.vehicle_cents[rows] = np.rint(amounts * lognormal(rng, count, 1.7, 0.25)).astype(
        np.int64
    )
    _without_witnesses(claims, rows, rng)


def inflated_injury(claims: Claims, rows: Rows, world: World, rng: np.random.Generator) -> None:
    """Bill therapy that never took place, mostly by one of a few clinics."""
    count = len(rows)
    # a mill is a clinic that lives on such bills
    mills = max(1, world.clinics.count // 40)
    at_mill = rng.random(count) < 0.7
    mill = mix(rng.integers(0, mills, count), world.seed, 7) % world.clinics.count
    claims.injuries[rows] = 1 + choose(rng, count, (0.35, 0.3, 0.2, 0.15))
    nearby = world.clinics.draw_nearby(rng, world.state[claims.policy[rows]])
    claims.clinic[rows] = np.where(at_mill, mill, nearby)
    claims.incident_type[rows] = COLLISION
    claims.collision_type[rows] = choose(rng, count, (0.25, 0.6, 0.15))
    claims.relationship[rows] = choose(rng, count, (0.8, 0.1, 0.05, 0.05))
    claims.severity[rows] = choose(rng, count, (0.65, 0.28, 0.07))
    claims.vehicle_cents[rows] = vehicle_amounts_cents(claims.severity[rows], rng)
    amounts = injury_amounts_cents(claims.injuries[rows], rng) * lognormal(rng, count, 2.0, 0.5)
    claims.injury_cents[rows] = (
        np.minimum(amounts, 60_000_000).astype(np.int64) // 100_000 * 100_000
    )


def early_policy(claims: Claims, rows: Rows, world: World, rng: np.random.Generator) -> None:
    """Claim a theft or a total loss days after the inception of the policy."""
    count = len(rows)
    kind = np.array([COLLISION, BREAK_IN, THEFT])[choose(rng, count, (0.35, 0.3, 0.35))]
    crash = kind == COLLISION
    claims.incident_type[rows] = kind
    claims.collision_type[rows] = np.where(crash, 0, 3)
    claims.relationship[rows] = np.where(crash, 0, 4)
    claims.severity[rows] = np.where(rng.random(count) < 0.6, TOTALED, claims.severity[rows])
    claims.vehicle_cents[rows] = vehicle_amounts_cents(claims.severity[rows], rng)
    since_ms = claims.filed_ms[rows] - world.inception_ms[claims.policy[rows]]
    back_ms = (rng.random(count) * np.clip(since_ms, HOUR_MS, 10 * DAY_MS)).astype(np.int64)
    claims.incident_ms[rows] = claims.filed_ms[rows] - np.maximum(back_ms, 20 * MINUTE_MS)
    _without_witnesses(claims, rows, rng)


def stolen_identity(claims: Claims, rows: Rows, _world: World, rng: np.random.Generator) -> None:
    """File in a customer's name, from new phones and by app, with payment to new accounts."""
    count = len(rows)
    wave = claims.ring[rows]
    claims.phone[rows] = _NEW_PEOPLE + mix(wave, rng.integers(0, 4, count), 8) % 10_000_000
    claims.bank[rows] = _NEW_PEOPLE + mix(wave, rng.integers(0, 6, count), 9) % 10_000_000
    claims.address[rows] = _NEW_PEOPLE + mix(wave, rng.integers(0, 3, count), 10) % 10_000_000
    at_night = rng.random(count) < 0.7
    night_ms = claims.filed_ms[rows] // DAY_MS * DAY_MS + rng.integers(0, 5 * HOUR_MS, count)
    claims.filed_ms[rows] = np.where(at_night, night_ms, claims.filed_ms[rows])
    claims.incident_ms[rows] = claims.filed_ms[rows] - rng.integers(HOUR_MS, 3 * DAY_MS, count)
    claims.channel[rows] = APP
    claims.severity[rows] = MINOR
    amounts = vehicle_amounts_cents(claims.severity[rows], rng)
    claims.vehicle_cents[rows] = np.rint(amounts / 50_000).astype(np.int64) * 50_000
    _without_witnesses(claims, rows, rng)


def _without_witnesses(claims: Claims, rows: Rows, rng: np.random.Generator) -> None:
    """Remove police, witnesses, other cars and injuries at random, as in the AWS example."""
    count = len(rows)
    no_police = rng.random(count) < 0.6
    claims.police_report[rows] = np.where(no_police, 0, claims.police_report[rows])
    unseen = rng.random(count) < 0.65
    claims.witnesses[rows] = np.where(unseen, 0, claims.witnesses[rows])
    alone = rng.random(count) < 0.45
    claims.vehicles[rows] = np.where(alone, 1, claims.vehicles[rows])
    claims.other_phone[rows] = np.where(alone, NOBODY, claims.other_phone[rows])
    unhurt = rng.random(count) < 0.7
    claims.injuries[rows] = np.where(unhurt, 0, claims.injuries[rows])
    claims.injury_cents[rows] = np.where(unhurt, 0, claims.injury_cents[rows])
    claims.clinic[rows] = np.where(unhurt, NOBODY, claims.clinic[rows])
