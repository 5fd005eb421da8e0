"""Mitigations of bias: the same settings fitted on changed claims, to compare what each costs.

Nothing of it is published. Each changes what is learned, never the claims that it is judged by:

- *reweighing* gives each claim the weight with which side and verdict are independent (Kamiran
  and Calders, "Data preprocessing techniques for classification without discrimination", 2012,
  section 4.2);
- *balanced draw* draws each pair of side and verdict to that size instead (ibid., 4.3);
- *SMOTE of frauds* adds claims between neighbouring frauds (Chawla et al., "SMOTE", 2002), on the
  label and never on the facet: made-up people of one group would all be honest;
- *without facet* blanks the features that tell the sides apart, *without proxies* also those that
  give them away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.definitions.facets import Facet

from ..evaluation.metrics import Ranking
from ..fitting.fitters import Rows
from .counts import NEITHER, A, D
from .neighbours import NEIGHBOURS, nearest, percentiles

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMOTE_SHARE: Final = 0.2
"""The share of frauds that SMOTE fills up to; half and half would drown the claims that are."""

PROXY_AUC: Final = 0.75
"""A feature that tells the sides apart with at least this AUC, or at most its rest, is a proxy."""

_MOST_ROWS: Final = 20_000
"""Most claims by which proxies are looked for."""


def reweighed(rows: Rows, sides: Ints) -> Rows:
    """Return the rows with weights that make side and verdict independent; others weigh one.

    >>> rows = Rows(np.zeros((4, 1)), np.array([True, False, False, False]))
    >>> reweighed(rows, np.array([0, 0, 1, 1])).weights.tolist()
    [0.5, 1.5, 0.75, 0.75]
    """
    weights = np.ones(len(sides))
    for cell, expected in _cells(rows.labels, sides):
        weights[cell] = expected / len(cell)
    return Rows(rows.matrix, rows.labels, weights)


def balanced(rows: Rows, sides: Ints, seed: int) -> Rows:
    """Return rows drawn so that side and verdict are independent: some left out, some twice."""
    generator = np.random.default_rng(seed)
    drawn = [np.flatnonzero(sides == NEITHER)]
    for cell, expected in _cells(rows.labels, sides):
        drawn.append(np.resize(generator.permutation(cell), max(1, round(expected))))
    kept = np.sort(np.concatenate(drawn))
    return Rows(rows.matrix[kept], rows.labels[kept])


def smote(rows: Rows, seed: int) -> Rows:
    """Return the rows with made-up frauds beside them, until `SMOTE_SHARE` of all are frauds.

    A made-up fraud lies at a random place between a fraud and one of its five nearest. Features
    that hold only whole numbers, and missing values, are those of the nearer of the two: so all
    features of a category come from the same claim, and no count is broken.
    """
    frauds = rows.matrix[rows.labels]
    legit = len(rows.labels) - len(frauds)
    more = int(SMOTE_SHARE / (1 - SMOTE_SHARE) * legit) - len(frauds)
    if more <= 0 or len(frauds) < 2:
        return rows
    generator = np.random.default_rng(seed)
    count = min(NEIGHBOURS, len(frauds) - 1)
    placed = percentiles(frauds)
    near = nearest(placed, placed, count, own=np.arange(len(frauds)))
    base = np.resize(generator.permutation(len(frauds)), more)
    other = near[base, generator.integers(0, count, more)]
    gap = generator.random(more)[:, None]
    one, two = frauds[base], frauds[other]
    between = one + gap * (two - one)
    whole = np.all(np.isnan(frauds) | (frauds == np.floor(frauds)), axis=0)
    made = np.where(whole | ~np.isfinite(between), np.where(gap < 0.5, one, two), between)
    labels = np.concatenate([rows.labels, np.ones(more, np.bool_)])
    return Rows(np.concatenate([rows.matrix, made]), labels)


def blanked(matrix: Floats, features: Sequence[str], names: Sequence[str]) -> Floats:
    """Return the matrix with some features missing everywhere: no tree can split on them."""
    changed = matrix.copy()
    changed[:, [features.index(name) for name in names]] = np.nan
    return changed


def proxies_of(facet: Facet, features: Sequence[str], matrix: Floats, sides: Ints) -> list[str]:
    """Return the features that give the facet away, other than its own.

    A missing value counts as lower than all others.
    """
    rows = np.flatnonzero(sides != NEITHER)
    if len(rows) > _MOST_ROWS:
        rows = rows[np.arange(_MOST_ROWS) * len(rows) // _MOST_ROWS]
    inside = sides[rows] == D
    found = []
    for place, name in enumerate(features):
        if name not in facet.own_features:
            values = np.nan_to_num(matrix[rows, place], nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            area = Ranking(inside, values).auc()
            if area >= PROXY_AUC or area <= 1 - PROXY_AUC:
                found.append(name)
    return found


def _cells(labels: NDArray[np.bool_], sides: Ints) -> list[tuple[Ints, float]]:
    """Return the rows of each pair of side and verdict, with the size it would have by chance."""
    total = int(np.sum(sides != NEITHER))
    found = []
    for side in (A, D):
        for label in (False, True):
            cell = np.flatnonzero((sides == side) & (labels == label))
            by_side = int(np.sum(sides == side))
            by_label = int(np.sum((sides != NEITHER) & (labels == label)))
            if len(cell):
                found.append((cell, by_side * by_label / total))
    return found
