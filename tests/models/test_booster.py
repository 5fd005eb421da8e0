"""XGBoost itself as a kernel: the same matrices as our kernels take, infinities included."""

from __future__ import annotations

import numpy as np
import pytest

from claimtrace.errors import ModelError
from models.booster import Booster
from tests.worlds.boosters import booster, some_rows

FITTED, MODEL = booster()
ROWS = some_rows(np.random.default_rng(6), 40, 6)


def test_margins_are_those_of_the_fitted_model() -> None:
    margins = Booster.load(MODEL, 6, "here").margins(ROWS)
    assert margins.dtype == np.float32
    np.testing.assert_array_equal(margins, FITTED.inplace_predict(ROWS, predict_type="margin"))


def test_contributions_sum_to_the_margins_with_infinite_values_too() -> None:
    loaded = Booster.load(MODEL, 6, "here")
    rows = ROWS.copy()
    rows[::3, 0], rows[1::3, 1] = np.inf, -np.inf
    contributions = loaded.contributions(rows)
    assert contributions.shape == (40, 7)
    np.testing.assert_allclose(contributions.sum(axis=1), loaded.margins(rows), atol=1e-4)


def test_other_shapes_are_refused() -> None:
    loaded = Booster.load(MODEL, 6, "here")
    for compute in (loaded.margins, loaded.contributions):
        with pytest.raises(ModelError, match="for a model of 6 features"):
            compute(ROWS[:, 1:])
    with pytest.raises(ModelError, match="6 features, the manifest has 5"):
        Booster.load(MODEL, 5, "here")
