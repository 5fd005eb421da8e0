"""The self-check of a loaded model: our kernels compared with XGBoost on rows that try its corners.

Whether a model may run on the kernels is decided here; `scorer` replaces a kernel that fails by
XGBoost itself.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .booster import Booster
from .kernels.forest import Forest
from .kernels.shap import Contributions

CHECK_ROWS: Final = 256
"""Rows whose margins are compared."""

EXPLAINED_ROWS: Final = 48
"""Rows whose contributions are compared. XGBoost takes 2 ms to explain a row: so few keep the check
near a tenth of a second."""

MARGIN_TOLERANCE: Final = 2e-6
"""Largest accepted difference of margins, relative to 1 + the size of the number."""

CONTRIBUTION_TOLERANCE: Final = 1e-4
"""As `MARGIN_TOLERANCE`, for contributions: XGBoost sums them in float32."""


def margins_agree(
    forest: Forest, booster: Booster, rows: NDArray[np.float64] | None = None
) -> bool:
    """Whether the forest kernel and XGBoost give the same margins.

    Args:
        rows: float64[n, features]; None: the rows of `check_rows`.
    """
    rows = check_rows(forest, CHECK_ROWS) if rows is None else rows
    return _agree(forest.margins(rows), booster.margins(rows), MARGIN_TOLERANCE)


def contributions_agree(tables: Contributions, forest: Forest, booster: Booster) -> bool:
    """Whether the SHAP kernel and XGBoost give the same contributions.

    Compared on the first `EXPLAINED_ROWS` rows that `margins_agree` compares.
    """
    rows = check_rows(forest, CHECK_ROWS)[:EXPLAINED_ROWS]
    ours, theirs = tables.contributions(rows), booster.contributions(rows)
    return _agree(ours, theirs, CONTRIBUTION_TOLERANCE)


def check_rows(forest: Forest, count: int) -> NDArray[np.float64]:
    """Make rows at a forest's corners: thresholds, their float32 neighbours, missing, infinite.

    Returns float64[count, features], the same for the same forest and count.
    """
    inner = np.flatnonzero(~np.isnan(forest.threshold))
    feature = forest.column[inner].astype(np.int64) % forest.features
    matrix = np.zeros((count, forest.features))
    turn = np.arange(count)
    for index in range(forest.features):
        splits = forest.threshold[inner[feature == index]]
        splits = splits if len(splits) else np.zeros(1, np.float32)
        # Odd strides, another for each column, pair thresholds of different columns in many ways.
        value = splits[(turn * (2 * index + 1) + index) % len(splits)]
        kind = (turn * 7 + index * 5 + turn // 11) % 16
        value = np.where(kind < 4, np.nextafter(value, np.float32(-np.inf)), value)
        value = np.where((kind >= 4) & (kind < 8), np.nextafter(value, np.float32(np.inf)), value)
        value = np.where(kind >= 14, np.float32(np.nan), value)
        value = np.where(kind == 13, np.float32(np.inf), value)
        value = np.where(kind == 12, np.float32(-np.inf), value)
        matrix[:, index] = value
    return matrix


def _agree(ours: NDArray[Any], theirs: NDArray[Any], tolerance: float) -> bool:
    return bool((np.abs(ours - theirs) <= tolerance * (1.0 + np.abs(theirs))).all())
