"""The claims of one block of days: their number, time, policy and arrival on the log."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from claimtrace.clock import DAY_MS, HOUR_MS, MINUTE_MS

from .config import Drift, SimulationConfig
from .dirty import KINDS, spoil
from .draws import Floats, Ints, choose, generator, lognormal
from .honest_claims import APP, NOBODY, POLICE_REPORTS, Claims, honest_claims
from .policies import Book
from .scenarios import (
    COMMANDED_RINGS,
    RING_DAYS,
    STAGED_RING,
    STOLEN_IDENTITY,
    WAVE_EVERY_DAYS,
    Portfolio,
    apply_scenarios,
    choose_policies,
    rings_at_once,
    scenario_of,
)
from .world import YEAR_MS, World

WEEK: Final = np.array([1.18, 1.21, 1.06, 1.06, 1.12, 0.66, 0.71])
"""Relative number of claims filed by weekday, from Monday; mean 1."""
_YEAR_SWING: Final = 0.18
_PEAK_DAY_OF_YEAR: Final = 325
_FILING_HOURS: Final = (
    *(0.6, 0.4, 0.3, 0.3, 0.4, 0.8, 1.6, 3.0, 6.0, 8.0, 8.5, 8.0),
    *(7.0, 7.0, 7.5, 7.5, 7.0, 6.0, 5.0, 4.5, 4.0, 3.2, 2.2, 1.2),
)
_MAX_LATE_MS: Final = 20 * DAY_MS
_NEW_SHOPS: Final = 24


@dataclass(frozen=True)
class Block:
    """The claims filed in some days, sorted by filing time."""

    claims: Claims
    log_ms: Ints
    """Arrival of each claim on the log, ms."""
    repeated: Ints
    """Rows of claims that are delivered a second time."""
    repeated_ms: Ints
    """Arrival of each second delivery, ms."""
    fault: Ints
    """The fault of each claim, an index of `dirty.KINDS`; -1 for none."""

    def spoil(self, values: npt.NDArray[Any], rng: np.random.Generator) -> None:
        """Put the faults into the encoded claims, in place."""
        for row in np.flatnonzero(self.fault >= 0).tolist():
            values[row] = spoil(values[row], int(self.fault[row]), rng)


def daily_claims(config: SimulationConfig, days: Ints) -> Floats:
    """Compute the expected claims of each day: mean times week times year (peak in late autumn)."""
    epoch_day = config.start_ms // DAY_MS + days
    weekday = (epoch_day + 3) % 7  # 1970-01-01 was a Thursday
    year = 1 + _YEAR_SWING * np.cos(2 * np.pi * (epoch_day - _PEAK_DAY_OF_YEAR) / 365.25)
    expected: Floats = config.claims_per_day * WEEK[weekday] * year
    return expected


def draw_block(
    config: SimulationConfig, world: World, book: Book, from_day: int, to_day: int
) -> Block:
    """Draw everything about the claims filed on the days `[from_day, to_day)`.

    Args:
        config: of the simulation.
        world: the policies.
        book: their changing attributes, already updated for these days.
        from_day, to_day: counted from the start of the simulation.
    """
    rng = generator(config.seed, "claims", from_day)
    days = np.arange(from_day, to_day)
    day = np.repeat(days, rng.poisson(daily_claims(config, days)))
    count = len(day)
    filed_ms = config.start_ms + day * DAY_MS + choose(rng, count, _FILING_HOURS) * HOUR_MS
    filed_ms = filed_ms + rng.integers(0, HOUR_MS, count)
    is_fraud = rng.random(count) < config.fraud_ratio
    scenario = np.where(is_fraud, scenario_of(config, day, rng), 0)
    ring = _ring_of(config, scenario, day, rng)
    filed_ms, scenario, ring = _with_commanded(config, days, filed_ms, scenario, ring)

    # honest policies are drawn by their frailty, guilty ones by their scenario
    start_ms = config.start_ms + from_day * DAY_MS
    portfolio = Portfolio.of(world, start_ms)
    frailty = np.cumsum(world.frailty[portfolio.in_force])
    at = np.searchsorted(frailty, rng.random(len(filed_ms)) * frailty[-1], side="right")
    guilty = choose_policies(scenario, ring, portfolio, rng)
    policy = np.where(scenario > 0, guilty, portfolio.in_force[at])

    claims = honest_claims(world, book, policy, filed_ms, rng)
    claims.scenario, claims.ring = scenario, ring
    apply_scenarios(claims, world, rng)
    _inflate(claims, config)
    for drift in config.drifts:
        _drift(claims, world, config, drift, rng)
    claims = _sorted(claims)  # last: stolen identities have changed filing times
    return _arrivals(claims, config, generator(config.seed, "arrivals", from_day))


def _ring_of(config: SimulationConfig, scenario: Ints, day: Ints, rng: np.random.Generator) -> Ints:
    """Draw the ring of each staged accident and the wave of each stolen identity; else -1."""
    at_once = rings_at_once(config)
    staged = day // RING_DAYS * at_once + rng.integers(0, at_once, len(day))
    ring = np.where(scenario == STAGED_RING, staged, -1)
    return np.where(scenario == STOLEN_IDENTITY, day // WAVE_EVERY_DAYS, ring)


def _with_commanded(
    config: SimulationConfig, days: Ints, filed_ms: Ints, scenario: Ints, ring: Ints
) -> tuple[Ints, Ints, Ints]:
    """Add the claims of commanded rings that are filed on these days."""
    low_ms = config.start_ms + int(days[0]) * DAY_MS
    high_ms = config.start_ms + (int(days[-1]) + 1) * DAY_MS
    for number, command in enumerate(config.rings):
        rng = generator(config.seed, "rings", number)
        start_ms = config.start_ms + command.at_day * DAY_MS
        times = start_ms + rng.integers(0, command.spread_days * DAY_MS, command.claims)
        here = times[(times >= low_ms) & (times < high_ms)]
        filed_ms = np.concatenate((filed_ms, here))
        scenario = np.concatenate((scenario, np.full(len(here), STAGED_RING)))
        ring = np.concatenate((ring, np.full(len(here), COMMANDED_RINGS + number)))
    return filed_ms, scenario, ring


def _inflate(claims: Claims, config: SimulationConfig) -> None:
    """Raise amounts by the yearly inflation since the start, in place."""
    years = (claims.filed_ms - config.start_ms) / YEAR_MS
    _raise_amounts(claims, (1 + config.inflation_per_year_ratio) ** years)


def _raise_amounts(claims: Claims, by: Floats) -> None:
    claims.vehicle_cents = np.rint(claims.vehicle_cents * by).astype(np.int64)
    claims.injury_cents = np.rint(claims.injury_cents * by).astype(np.int64)


def _drift(
    claims: Claims, world: World, config: SimulationConfig, drift: Drift, rng: np.random.Generator
) -> None:
    """Change the claims filed from the day of a drift on, in place."""
    after = claims.filed_ms >= config.start_ms + drift.at_day * DAY_MS
    hit = after & (rng.random(len(claims)) < drift.size)
    if drift.kind == "inflation":
        _raise_amounts(claims, np.where(after, 1 + drift.size, 1.0))
    elif drift.kind == "new_shop_mix":
        new = world.shops.count + rng.integers(0, _NEW_SHOPS, len(claims))
        claims.shop = np.where(hit & (claims.shop != NOBODY), new, claims.shop)
    elif drift.kind == "missing_field":
        claims.police_report = np.where(hit, POLICE_REPORTS.index(None), claims.police_report)
    else:
        claims.channel = np.where(hit, APP, claims.channel)


def _sorted(claims: Claims) -> Claims:
    order = np.argsort(claims.filed_ms, kind="stable")
    return Claims(**{each.name: getattr(claims, each.name)[order] for each in fields(Claims)})


def _arrivals(claims: Claims, config: SimulationConfig, rng: np.random.Generator) -> Block:
    """Draw arrivals, seconds after filing or hours to days for late claims; duplicates; faults."""
    count = len(claims)
    transit_ms = np.minimum(lognormal(rng, count, 4_000, 1.0), 10 * MINUTE_MS)
    late_ms = np.minimum(2 * HOUR_MS + rng.exponential(1.5 * DAY_MS, count), _MAX_LATE_MS)
    late = rng.random(count) < config.late_ratio
    log_ms = claims.filed_ms + np.where(late, late_ms, transit_ms).astype(np.int64)
    repeated = np.flatnonzero(rng.random(count) < config.duplicate_ratio)
    second_ms = MINUTE_MS + rng.exponential(6 * HOUR_MS, len(repeated)).astype(np.int64)
    ratios = config.dirty.ratios()
    clean = 1 - sum(ratios)
    fault = choose(rng, count, (*ratios, clean))
    fault = np.where(fault == len(KINDS), -1, fault)
    return Block(claims, log_ms, repeated, log_ms[repeated] + second_ms, fault)
