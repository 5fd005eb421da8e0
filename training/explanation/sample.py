"""The claims that explanations look at: all known frauds, and a hashed sample of the others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_OTHERS: Final = 100_000
"""Most claims that aren't known frauds."""


class Sample(NamedTuple):
    """Claims of a data set, with how many claims each stands for.

    Attributes:
        rows: int64[n], row numbers in the data set, rising.
        weights: float64[n]; 1 for known frauds, so that the sample stands for all claims.
    """

    rows: Ints
    weights: Floats


def sample_of(
    claim_ids: Sequence[str], is_fraud: NDArray[np.bool_], seed: int, most: int = MOST_OTHERS
) -> Sample:
    """Take all known frauds, and of the other claims those with the least hashes.

    A claim's hash depends on its id and the seed alone, so that a store which grows changes the
    sample little.

    Args:
        is_fraud: bool[n], False for claims without a verdict.

    >>> sample = sample_of(["a", "b", "c"], np.array([False, True, False]), seed=1, most=1)
    >>> len(sample.rows), float(sample.weights.sum())
    (2, 3.0)
    """
    others = np.flatnonzero(~is_fraud)
    if len(others) <= most:
        rows = np.arange(len(is_fraud), dtype=np.int64)
        return Sample(rows, np.ones(len(rows)))
    kept = least_hashed(claim_ids, others, seed, most)
    rows = np.sort(np.concatenate([np.flatnonzero(is_fraud), kept])).astype(np.int64)
    return Sample(rows, np.where(is_fraud[rows], 1.0, len(others) / most))


def least_hashed(claim_ids: Sequence[str], rows: Ints, seed: int, most: int) -> Ints:
    """Return the `most` rows whose hash of claim id and seed is least: int64[<= most], rising."""
    if len(rows) <= most:
        return np.sort(rows).astype(np.int64)
    key = seed.to_bytes(8, "big", signed=True)
    hashed = np.array([
        int.from_bytes(hashlib.blake2b(claim_ids[row].encode(), digest_size=8, key=key).digest())
        for row in rows.tolist()
    ], np.uint64)  # fmt: skip
    return np.sort(rows[np.argsort(hashed, kind="stable")[:most]]).astype(np.int64)
