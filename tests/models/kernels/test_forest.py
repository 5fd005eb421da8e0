"""The forest kernel: XGBoost's margins bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ModelError
from models.kernels.forest import Forest
from tests.oracles.naive_forest import naive_margins
from tests.worlds.boosters import booster, rows_at_splits, some_rows


def xgboost_margins(fitted: xgboost.Booster, matrix: np.ndarray) -> np.ndarray:
    return fitted.inplace_predict(matrix, predict_type="margin")


@pytest.mark.parametrize("depth", [1, 3, 6, 16])
@pytest.mark.parametrize("base_score", [0.5, 0.017])
def test_margins_are_xgboosts_bit_for_bit(depth: int, base_score: float) -> None:
    fitted, document = booster(features=9, trees=40, depth=depth, base_score=base_score)
    rng = np.random.default_rng(depth)
    matrix = np.concatenate((some_rows(rng, 500, 9), rows_at_splits(document, rng, 500)))
    margins = Forest.from_xgboost_json(document).margins(matrix)
    assert margins.dtype == np.float32
    np.testing.assert_array_equal(margins, xgboost_margins(fitted, matrix))


def test_values_beyond_float32_are_rounded_as_xgboost_rounds_them() -> None:
    fitted, document = booster()
    matrix = np.array([[1e300, -1e300, 1e-300, -0.0, 3.5e38, 1.0]])
    with np.errstate(over="ignore"):
        expected = xgboost_margins(fitted, matrix.astype(np.float32))
    np.testing.assert_array_equal(Forest.from_xgboost_json(document).margins(matrix), expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 70),
    model=st.sampled_from([(1, 1, 1), (2, 5, 2), (6, 12, 4), (7, 9, 9)]),
)
def test_any_rows_in_any_number_agree_with_the_plain_walk(
    seed: int, count: int, model: tuple[int, int, int]
) -> None:
    _, document = booster(*model)
    matrix = some_rows(np.random.default_rng(seed), count, model[0])
    margins = Forest.from_xgboost_json(document).margins(matrix)
    np.testing.assert_array_equal(margins, naive_margins(document, matrix))


def test_a_margin_does_not_depend_on_the_rows_around_it() -> None:
    _, document = booster()
    forest = Forest.from_xgboost_json(document)
    matrix = some_rows(np.random.default_rng(5), 77, 6)
    whole = forest.margins(matrix)
    for size in (1, 7, 19, 20, 33, 76):
        parts = [forest.margins(matrix[at : at + size]) for at in range(0, len(matrix), size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_views_and_other_dtypes_are_taken() -> None:
    _, document = booster()
    forest = Forest.from_xgboost_json(document)
    matrix = some_rows(np.random.default_rng(6), 40, 6)
    expected = forest.margins(matrix)
    np.testing.assert_array_equal(forest.margins(np.asfortranarray(matrix)), expected)
    np.testing.assert_array_equal(forest.margins(matrix.astype(np.float32)), expected)
    read_only = matrix.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(forest.margins(read_only), expected)


def test_a_forest_without_trees_gives_its_base() -> None:
    labels = np.array([0, 1])
    fitted = xgboost.train(
        {"objective": "binary:logistic", "base_score": 0.3},
        xgboost.DMatrix(np.zeros((2, 2)), labels),
        num_boost_round=0,
    )
    forest = Forest.from_xgboost_json(bytes(fitted.save_raw("json")))
    assert forest.trees == 0
    np.testing.assert_array_equal(
        forest.margins(np.zeros((3, 2))), xgboost_margins(fitted, np.zeros((3, 2)))
    )


@pytest.mark.parametrize("shape", [(3, 5), (3, 7), (6,), (1, 6, 1)])
def test_a_matrix_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    _, document = booster()
    with pytest.raises(ModelError, match="for a model of 6 features"):
        Forest.from_xgboost_json(document).margins(np.zeros(shape))


def test_the_arrays_cannot_be_written() -> None:
    _, document = booster()
    with pytest.raises(ValueError, match="read-only"):
        Forest.from_xgboost_json(document).leaf[0] = 1.0
