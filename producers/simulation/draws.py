"""Random draws: seeded generators by purpose, and draws in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

PURPOSES: Final = ("world", "policies", "claims", "dirty", "labels", "rings", "arrivals")


def generator(seed: int, purpose: str, number: int = 0) -> np.random.Generator:
    """Make an independent generator for one purpose and one block of time.

    The draws of one purpose never depend on those of another, nor on the order of the calls.

    >>> one, other = generator(7, "claims", 3), generator(7, "claims", 3)
    >>> one.random() == other.random()
    True
    """
    return np.random.Generator(np.random.PCG64([seed, PURPOSES.index(purpose), number]))


def choose(rng: np.random.Generator, count: int, weights: Sequence[float] | Floats) -> Ints:
    """Draw `count` indices by weight; the weights needn't sum to 1."""
    edges = np.cumsum(np.asarray(weights, np.float64))
    found: Ints = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    return found.astype(np.int64)


def lognormal(rng: np.random.Generator, count: int, median: float, sigma: float) -> Floats:
    """Draw lognormal values by their median and the standard deviation of their logarithm."""
    drawn: Floats = median * np.exp(sigma * rng.standard_normal(count))
    return drawn


def mix(*parts: Ints | int) -> Ints:
    """Hash integers without state, in columns: splitmix64's finaliser, 62 bits.

    Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        for part in parts:
            state = (state ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
    hashed: Ints = (state >> np.uint64(2)).astype(np.int64)
    return hashed
