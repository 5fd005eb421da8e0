"""Count tables: the claims of a facet and of the others, by subgroup, verdict and outcome.

The convention of all tables and metrics: to be *passed* is the favourable outcome, to be *referred*
the unfavourable one, and *legitimate* is the favourable label. So in the words of Amazon SageMaker
Clarify a positive is a legitimate label or a passed claim, facet *d* (disadvantaged) is the marked
group, and facet *a* (advantaged) are those it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.definitions.facets import Facet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

A: Final = 0
"""The side of the others: facet a."""
D: Final = 1
"""The side of the marked group: facet d."""
NEITHER: Final = -1

LEGIT: Final = 0
FRAUD: Final = 1
UNKNOWN: Final = 2
"""Places of the verdicts in a table."""

MOST_GROUPS: Final = 200
"""Most subgroups of a facet; with more, each would hold too few claims to say anything."""


def sides_of(facet: Facet, matrix: Floats, features: Sequence[str]) -> Ints:
    """Return the side of each claim: `A`, `D` or `NEITHER`, as int64[n].

    Args:
        matrix: float64[n, F], NaN where missing.
        features: the F names of the columns.

    >>> facet = Facet("young", feature="age", below=26)
    >>> sides_of(facet, np.array([[20.0], [40.0], [np.nan]]), ["age"]).tolist()
    [1, 0, -1]
    """
    values = matrix[:, features.index(facet.feature)]
    if facet.is_range:
        inside = values >= (-np.inf if facet.least is None else facet.least)
        inside &= values < (np.inf if facet.below is None else facet.below)
    else:
        inside = values == 1
    others = ~np.isnan(values)
    if facet.against:
        others = matrix[:, features.index(facet.against)] == 1
    return np.where(inside, D, np.where(others, A, NEITHER)).astype(np.int64)


def groups_of(facet: Facet, matrix: Floats, features: Sequence[str]) -> Ints | None:
    """Return the subgroup of each claim as int64[n], 0 .. groups - 1.

    None if the facet names no features for subgroups, or there are more than `MOST_GROUPS`.
    """
    if not facet.given:
        return None
    codes: Ints = np.zeros(len(matrix), np.int64)
    for name in facet.given:
        values = np.nan_to_num(matrix[:, features.index(name)], nan=-np.inf, posinf=np.inf,
                               neginf=-np.inf)  # fmt: skip
        found, places = np.unique(values, return_inverse=True)
        if len(found) > MOST_GROUPS:
            return None
        groups, codes = np.unique(codes * len(found) + places.reshape(-1), return_inverse=True)
        if len(groups) > MOST_GROUPS:
            return None
    return codes.reshape(-1).astype(np.int64)


def count_table(sides: Ints, groups: Ints | None, labels: Floats, referred: Bools) -> Ints:
    """Count the claims of both sides: int64[2 sides, G subgroups, 3 verdicts, 2 outcomes].

    Args:
        sides: int64[n], from `sides_of`.
        groups: int64[n], from `groups_of`; None: one subgroup.
        labels: float64[n]: 1 fraud, 0 legitimate, NaN no verdict.
        referred: bool[n].
    """
    each = np.zeros(len(sides), np.int64) if groups is None else groups
    count = int(each.max()) + 1 if len(each) else 1
    verdicts = np.where(np.isnan(labels), UNKNOWN, np.where(labels == 1, FRAUD, LEGIT))
    cells = ((sides * count + each) * 3 + verdicts) * 2 + referred
    counted = np.bincount(cells[sides != NEITHER].astype(np.int64), minlength=2 * count * 6)
    return counted.reshape(2, count, 3, 2)


class Cells:
    """Sums of one count table, or of many resampled ones, by side.

    Each attribute is float64[..., 2], the others (`A`) first. `claims`, `passed` and `referred`
    count all claims; `judged` those with a verdict, and so do all that name a verdict.

    Args:
        table: [..., 2, G, 3, 2], from `count_table`.
    """

    def __init__(self, table: NDArray[np.generic]) -> None:
        self.table = np.asarray(table, np.float64)
        cells = self.table.sum(axis=-3)
        self.claims = cells.sum(axis=(-2, -1))
        self.passed, self.referred = cells[..., 0].sum(axis=-1), cells[..., 1].sum(axis=-1)
        self.legit_passed, self.legit_referred = cells[..., LEGIT, 0], cells[..., LEGIT, 1]
        self.fraud_passed, self.fraud_referred = cells[..., FRAUD, 0], cells[..., FRAUD, 1]
        self.legit = self.legit_passed + self.legit_referred
        self.fraud = self.fraud_passed + self.fraud_referred
        self.judged = self.legit + self.fraud
        self.judged_passed = self.legit_passed + self.fraud_passed
        self.judged_referred = self.legit_referred + self.fraud_referred


def resampled(counts: Ints, draws: int, seed: int) -> Ints:
    """Draw tables of the same total, each cell by its share: int64[draws, *counts.shape].

    Args:
        counts: int64 of any shape.
        seed: the same seed gives the same draws.
    """
    total = int(counts.sum())
    if not total:
        return np.zeros((draws, *counts.shape), np.int64)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(total, counts.ravel() / total, size=draws)
    return np.asarray(drawn, np.int64).reshape(draws, *counts.shape)
