"""Quality on parts of the test: policies that the judged model has learned from, and the others."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from .evaluate import Panel
from .metrics import Ranking


class Subset(msgspec.Struct, frozen=True):
    """Quality on a part of the test claims; metrics are NaN (null) where a class is missing."""

    name: str
    claims: int
    frauds: int
    average_precision: float
    auc: float


def subsets_of(
    panel: Panel, margins: NDArray[np.floating], never_seen: NDArray[np.bool_]
) -> list[Subset]:
    """Judge the panel's claims with a verdict by whether their policy was learned from.

    Args:
        margins: float[n], of the panel.
        never_seen: bool[n], whether the claim's policy has no claim in training.
    """
    known = ~np.isnan(panel.labels)
    parts = {"policies seen in training": ~never_seen, "policies never seen": never_seen}
    subsets = []
    for name, part in parts.items():
        rows = known & part
        labels, weights = panel.labels[rows] == 1, panel.weights[rows]
        ranking = Ranking(labels, margins[rows])
        subsets.append(
            Subset(
                name, round(float(np.sum(weights))), int(np.sum(labels)),
                ranking.average_precision(weights), ranking.auc(weights),
            )
        )  # fmt: skip
    return subsets
