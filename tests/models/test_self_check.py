"""The rows of the self-check: they reach most splits of a forest."""

from __future__ import annotations

import numpy as np

from models.kernels.forest import Forest
from models.self_check import CHECK_ROWS, check_rows
from tests.worlds.boosters import booster

_, MODEL = booster()


def test_the_check_notices_most_single_wrong_splits() -> None:
    """Change each inner node once: missing values the other way, or the threshold by one bit.

    A fault of a kernel would concern many nodes at once; nodes that few rows reach stay unnoticed.
    """
    forest = Forest.from_xgboost_json(MODEL)
    rows = check_rows(forest, CHECK_ROWS)
    right = forest.margins(rows)
    unnoticed = 0
    inner = np.flatnonzero(~np.isnan(forest.threshold))
    for node in inner:
        column = forest.column.copy()
        column[node] = (column[node] + forest.features) % (2 * forest.features)
        threshold = forest.threshold.copy()
        threshold[node] = np.nextafter(threshold[node], np.float32(np.inf))
        column.flags.writeable = threshold.flags.writeable = False
        for changed in ({"column": column}, {"threshold": threshold}):
            fields = {name: getattr(forest, name) for name in Forest.__slots__}
            unnoticed += np.array_equal(Forest(**{**fields, **changed}).margins(rows), right)
    assert unnoticed < 0.4 * 2 * len(inner)
    assert (rows.shape, np.isnan(rows).any(), np.isinf(rows).any()) == ((256, 6), True, True)
