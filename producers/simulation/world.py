"""The world that claims come from: policies, people, cars, shops and clinics.

Attributes are columns; a policy, a shop, a phone is a number. The shares of categories follow the
published AWS auto-claims example (its 5,000 raw customers), so that models see similar data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from claimtrace.clock import DAY_MS
from claimtrace.ids import partition_of

from .config import SimulationConfig
from .draws import Floats, Ints, choose, generator

MONTH_MS: Final = 2_629_800_000
"""A twelfth of 365.25 days."""
YEAR_MS: Final = 12 * MONTH_MS

STATES: Final = ("CA", "WA", "AZ", "OR", "NV", "ID")
_STATE_WEIGHTS: Final = (0.627, 0.121, 0.108, 0.073, 0.044, 0.027)
_FIRST_ZIP: Final = (90001, 98001, 85001, 97001, 89001, 83201)
_ZIPS: Final = 900
GENDERS: Final = ("Male", "Female", "Unknown", "Other")
_GENDER_WEIGHTS: Final = (0.456, 0.442, 0.084, 0.018)
EDUCATIONS: Final = ("Bachelor", "High School", "Advanced Degree", "Associate", "Below High School")
_EDUCATION_WEIGHTS: Final = (0.442, 0.253, 0.19, 0.095, 0.02)
LIABILITIES: Final = ("25/50", "15/30", "30/60", "100/200")
_LIABILITY_WEIGHTS: Final = (0.339, 0.326, 0.227, 0.108)
_INSURER_WEIGHTS: Final = (0.772, 0.112, 0.062, 0.037, 0.017)
_PAST_CLAIM_WEIGHTS: Final = (0.933, 0.054, 0.009, 0.003, 0.001)
_PREMIUM_STEPS: Final = (0.716, 0.04, 0.05, 0.04, 0.04, 0.035, 0.03, 0.025, 0.024)

_NEW_PER_YEAR_RATIO: Final = 0.15
_LAPSE_RATIO: Final = 0.10
_FAMILY_RATIO: Final = 0.14
_SECOND_POLICY_RATIO: Final = 0.06
_SHOPS_PER_POLICY: Final = 1 / 250
_CLINICS_PER_POLICY: Final = 1 / 600


@dataclass(frozen=True)
class Businesses:
    """Shops or clinics, sorted by state, with long-tailed sizes."""

    count: int
    state: Ints
    edges: Floats
    """Running sum of the relative sizes, `[count]`."""
    state_from: Floats
    """Sum of the sizes before each state, `[len(STATES) + 1]`."""

    def draw_nearby(self, rng: np.random.Generator, states: Ints) -> Ints:
        """Draw a business in each of the states, by size."""
        low, high = self.state_from[states], self.state_from[states + 1]
        at = low + rng.random(len(states)) * (high - low)
        return np.minimum(np.searchsorted(self.edges, at, side="right"), self.count - 1)


@dataclass(frozen=True)
class World:
    """The attributes of policies as columns, `[policies]` unless stated otherwise."""

    seed: int
    inception_ms: Ints
    end_ms: Ints
    """Lapse of the policy, which is in force in `[inception_ms, end_ms)`."""
    months_before: Ints
    """Months as a customer at the inception of the policy."""
    customer: Ints
    phone: Ints
    bank: Ints
    address: Ints
    state: Ints
    postcode: Ints
    age: Ints
    gender: Ints
    education: Ints
    liability: Ints
    deductible: Ints
    premium: Ints
    auto_year: Ints
    insurers: Ints
    past_claims: Ints
    frailty: Floats
    """Relative rate of honest claims: mean 1, long-tailed, so that repeat claimants exist."""
    propensity: Floats
    """Relative rate of fraud by customer attributes, as in the AWS example."""
    partition: Ints
    key: npt.NDArray[np.object_]
    shops: Businesses
    clinics: Businesses

    @property
    def policies(self) -> int:
        """The number of policies over the whole run."""
        return len(self.inception_ms)

    def months_as_customer(self, policy: Ints, at_ms: Ints | int) -> Ints:
        """Compute whole months as a customer at `at_ms`, as in a profile."""
        months = self.months_before[policy] + (at_ms - self.inception_ms[policy]) // MONTH_MS
        whole: Ints = np.maximum(months, 0)
        return whole


def make_world(config: SimulationConfig) -> World:
    """Draw the world of a simulation, which depends on the config alone."""
    rng = generator(config.seed, "world")
    count = config.policies
    inception_ms, months_before, end_ms = _lives(config, rng)
    months = months_before + np.maximum(config.start_ms - inception_ms, 0) // MONTH_MS
    family = _families(rng, count, _FAMILY_RATIO)
    state = choose(rng, count, _STATE_WEIGHTS)[family]
    age = np.clip(np.rint(44 + 13.5 * rng.standard_normal(count)), 18, 70).astype(np.int64)
    gender = choose(rng, count, _GENDER_WEIGHTS)
    insurers = 1 + choose(rng, count, _INSURER_WEIGHTS)
    past_claims = choose(rng, count, _PAST_CLAIM_WEIGHTS)
    own = np.arange(count)
    ids = [f"pol-{number:07d}" for number in range(count)]
    return World(
        seed=config.seed,
        inception_ms=inception_ms,
        end_ms=end_ms,
        months_before=months_before,
        customer=_families(rng, count, _SECOND_POLICY_RATIO),
        phone=np.where(rng.random(count) < 0.7, family, own),
        bank=np.where(rng.random(count) < 0.8, family, own),
        address=family,
        state=state,
        postcode=(np.array(_FIRST_ZIP)[state] + rng.integers(0, _ZIPS, count)[family]),
        age=age,
        gender=gender,
        education=choose(rng, count, _EDUCATION_WEIGHTS),
        liability=choose(rng, count, _LIABILITY_WEIGHTS),
        deductible=750 + 50 * choose(rng, count, (0.97, 0.015, 0.008, 0.004, 0.002, 0.001)),
        premium=3000 - 50 * choose(rng, count, _PREMIUM_STEPS),
        auto_year=2020 - np.minimum(rng.gamma(2.2, 2.0, count).astype(np.int64), 19),
        insurers=insurers,
        past_claims=past_claims,
        frailty=rng.gamma(1.5, 1 / 1.5, count) * (1 + 0.5 * (age < 26)) * (1 + past_claims),
        propensity=_propensity(months, age, gender, insurers, past_claims),
        partition=np.array([partition_of(each, config.partitions) for each in ids], np.int64),
        key=np.array([each.encode() for each in ids], object),
        shops=_businesses(rng, max(24, round(count * _SHOPS_PER_POLICY)), 0.9),
        clinics=_businesses(rng, max(18, round(count * _CLINICS_PER_POLICY)), 1.3),
    )


def _lives(config: SimulationConfig, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Draw inception, months as a customer at the inception, and end; some are within the run."""
    count = config.policies
    run_ms = (*config.ends, config.days)[0] * DAY_MS
    new = rng.random(count) < min(0.5, _NEW_PER_YEAR_RATIO * run_ms / YEAR_MS)
    months = np.clip(rng.gamma(1.86, 52.8, count), 1, 495).astype(np.int64)
    into_month_ms = rng.integers(0, MONTH_MS, count)
    before_ms = config.start_ms - DAY_MS - months * MONTH_MS - into_month_ms
    inception_ms = np.where(new, config.start_ms + rng.integers(0, run_ms, count), before_ms)
    known_before = np.where(rng.random(count) < 0.3, rng.integers(1, 120, count), 0)
    years = rng.geometric(_LAPSE_RATIO, count)
    elapsed = np.maximum(config.start_ms - inception_ms, 0) // YEAR_MS
    end_ms = inception_ms + (elapsed + years) * YEAR_MS
    return inception_ms, np.where(new, known_before, 0), end_ms


def _families(rng: np.random.Generator, count: int, ratio: float) -> Ints:
    """Draw families: the number of each policy's first relative, shared by runs of neighbours."""
    first = np.where(rng.random(count) < ratio, -1, np.arange(count))
    first[0] = 0
    return np.maximum.accumulate(first)


def _businesses(rng: np.random.Generator, count: int, exponent: float) -> Businesses:
    """Draw businesses with sizes by Zipf's law; every state has at least one."""
    spread = choose(rng, count - len(STATES), _STATE_WEIGHTS)
    state = np.sort(np.concatenate((np.arange(len(STATES)), spread)))
    rank = rng.permutation(count) + 1
    edges = np.cumsum(1.0 / rank**exponent)
    firsts = np.searchsorted(state, np.arange(len(STATES) + 1))
    return Businesses(count, state, edges, np.concatenate(([0.0], edges))[firsts])


def _propensity(months: Ints, age: Ints, gender: Ints, insurers: Ints, past: Ints) -> Floats:
    """Compute relative fraud rates by customer, as measured on the AWS example's clean rows.

    Insurers 1 -> 1.7 %, 5 -> 13.2 %; at most 6 months 11.8 %, 5-10 years 1.7 %; 18-25 years 5.0 %,
    over 60 1.8 %; male 4.1 %, else 1.5 %; two or more claims in the past year 9-20 %.
    """
    by_insurers = np.array([1.7, 1.7, 4.0, 6.5, 9.5, 13.2])[np.minimum(insurers, 5)]
    by_months = np.select([months <= 6, months <= 24, months <= 60], [11.8, 5.0, 3.0], 1.7)
    by_age = np.select([age <= 25, age <= 60], [5.0, 3.0], 1.8)
    by_gender = np.where(gender == 0, 4.1, 1.5)
    by_past = np.array([2.7, 3.5, 9.0, 14.0, 20.0])[np.minimum(past, 4)]
    weights: Floats = by_insurers * by_months * by_age * by_gender * by_past
    relative: Floats = weights / weights.mean()
    return relative
