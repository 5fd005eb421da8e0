"""The life of policies: profile events at the start, at inception, at renewal and on changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from claimtrace.clock import DAY_MS, HOUR_MS, SECOND_MS

from .draws import Ints
from .world import YEAR_MS, World

_MOVES_PER_YEAR: Final = 0.05
_NEW_CARS_PER_YEAR: Final = 0.08


@dataclass
class Book:
    """The attributes of policies that change over time, `[policies]` each."""

    postcode: Ints
    auto_year: Ints
    past_claims: Ints
    claims_since_renewal: Ints

    @classmethod
    def of(cls, world: World) -> Book:
        """Make the book of the first day, with the values of the world."""
        return cls(
            world.postcode.copy(),
            world.auto_year.copy(),
            world.past_claims.copy(),
            np.zeros(world.policies, np.int64),
        )


@dataclass(frozen=True)
class Profiles:
    """Profile changes in columns, sorted by `changed_ms`."""

    policy: Ints
    changed_ms: Ints
    log_ms: Ints
    age: Ints
    months: Ints
    past_claims: Ints
    postcode: Ints
    auto_year: Ints


def opening(world: World, book: Book, start_ms: int, rng: np.random.Generator) -> Profiles:
    """Make the profiles of the policies in force at `start_ms`; they arrive in the day before."""
    policy = np.flatnonzero((world.inception_ms < start_ms) & (world.end_ms > start_ms))
    at_ms = start_ms - DAY_MS + rng.integers(0, DAY_MS - HOUR_MS, len(policy))
    return _profiles(world, book, policy, at_ms, start_ms, rng)


def changes(
    world: World, book: Book, start_ms: int, from_ms: int, to_ms: int, rng: np.random.Generator
) -> Profiles:
    """Make the profile changes within `[from_ms, to_ms)` and update the book.

    These are inceptions, renewals, moves and new cars.
    """
    begun = np.flatnonzero((world.inception_ms >= from_ms) & (world.inception_ms < to_ms))
    in_force = (world.inception_ms < from_ms) & (world.end_ms >= to_ms)
    into_year = (from_ms - world.inception_ms) % YEAR_MS
    renewed = np.flatnonzero(in_force & (into_year + (to_ms - from_ms) > YEAR_MS))
    renewed_ms = from_ms + YEAR_MS - into_year[renewed]
    # at a renewal the claims of the past year become part of the profile
    book.past_claims[renewed] = np.minimum(book.claims_since_renewal[renewed], 20)
    book.claims_since_renewal[renewed] = 0

    years = (to_ms - from_ms) / YEAR_MS
    moved = np.flatnonzero(in_force & (rng.random(world.policies) < _MOVES_PER_YEAR * years))
    book.postcode[moved] += rng.integers(1, 40, len(moved))
    new_car = np.flatnonzero(in_force & (rng.random(world.policies) < _NEW_CARS_PER_YEAR * years))
    year = np.datetime64(from_ms, "ms").astype("datetime64[Y]").astype(int) + 1970
    book.auto_year[new_car] = year - rng.integers(0, 4, len(new_car))

    policy = np.concatenate((begun, renewed, moved, new_car))
    sometime_ms = from_ms + rng.integers(0, to_ms - from_ms, len(moved) + len(new_car))
    at_ms = np.concatenate((world.inception_ms[begun], renewed_ms, sometime_ms))
    return _profiles(world, book, policy, at_ms, start_ms, rng)


def _profiles(
    world: World, book: Book, policy: Ints, at_ms: Ints, start_ms: int, rng: np.random.Generator
) -> Profiles:
    """Make profiles of `policy` at `at_ms` from the updated book, sorted by time."""
    order = np.argsort(at_ms, kind="stable")
    policy, at_ms = policy[order], at_ms[order]
    return Profiles(
        policy=policy,
        changed_ms=at_ms,
        log_ms=at_ms + rng.integers(50, 40 * SECOND_MS, len(policy)),
        age=np.maximum(world.age[policy] + (at_ms - start_ms) // YEAR_MS, 16),
        months=world.months_as_customer(policy, at_ms),
        past_claims=book.past_claims[policy],
        postcode=book.postcode[policy],
        auto_year=book.auto_year[policy],
    )
