"""The SHAP kernel against brute-force Shapley values, the plain formula and XGBoost."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ModelError
from models.kernels import shap as module
from models.kernels import splits
from models.kernels.forest import Forest
from models.kernels.shap import Contributions
from models.kernels.simd import POINTS
from models.kernels.splits import MAX_PATH
from models.kernels.xgboost_json import UnsupportedModelError
from tests.oracles.naive_shapley import naive_contributions
from tests.oracles.plain_shap import plain_contributions
from tests.worlds.boosters import booster, edited, rows_at_splits, some_rows


def tables_of(document: bytes) -> Contributions:
    return Contributions.of(Forest.from_xgboost_json(document))


@pytest.mark.parametrize("depth", [1, 2, 4, 6, 7, 8])
def test_contributions_are_xgboosts(depth: int) -> None:
    fitted, document = booster(features=9, trees=40, depth=depth)
    rng = np.random.default_rng(depth)
    matrix = np.concatenate((some_rows(rng, 300, 9), rows_at_splits(document, rng, 300)))
    names = fitted.feature_names
    matrix = np.where(np.isinf(matrix), np.sign(matrix) * 3e38, matrix)  # no inf in a DMatrix
    expected = fitted.predict(xgboost.DMatrix(matrix, feature_names=names), pred_contribs=True)
    got = tables_of(document).contributions(matrix)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    model=st.sampled_from([(1, 3, 3), (2, 5, 2), (4, 6, 4), (5, 3, 9)]),
)
def test_contributions_are_shapley_values_by_definition(
    seed: int, model: tuple[int, int, int]
) -> None:
    _, document = booster(*model)
    row = some_rows(np.random.default_rng(seed), 1, model[0])
    got = tables_of(document).contributions(row)[0]
    np.testing.assert_allclose(got, naive_contributions(document, row[0]), rtol=1e-6, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 140))
def test_contributions_and_bias_sum_to_the_margin(seed: int, count: int) -> None:
    _, document = booster(features=9, trees=40, depth=6)
    matrix = some_rows(np.random.default_rng(seed), count, 9)
    sums = tables_of(document).contributions(matrix).sum(axis=1)
    np.testing.assert_allclose(sums, Forest.from_xgboost_json(document).margins(matrix), atol=2e-5)


def test_a_row_does_not_depend_on_the_rows_around_it() -> None:
    _, document = booster(features=9, trees=40, depth=6)
    tables = tables_of(document)
    matrix = some_rows(np.random.default_rng(5), 131, 9)
    whole = tables.contributions(matrix)
    for size in (1, 7, 8, 9, 64, 65):
        parts = [tables.contributions(matrix[at : at + size]) for at in range(0, 131, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_path_counts_its_features_once_however_deep_it_is() -> None:
    fitted, document = booster(features=3, trees=5, depth=12)
    matrix = some_rows(np.random.default_rng(2), 50, 3)
    matrix[np.isinf(matrix)] = 9.0
    expected = fitted.predict(
        xgboost.DMatrix(matrix, feature_names=fitted.feature_names), pred_contribs=True
    )
    got = tables_of(document).contributions(matrix)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


def test_the_quadrature_integrates_what_paths_ask_for() -> None:
    points, weights = module._quadrature()
    known, their_weights = np.polynomial.legendre.leggauss(POINTS)
    np.testing.assert_allclose(points, (known + 1) / 2, rtol=1e-14)
    np.testing.assert_allclose(weights, their_weights / 2, rtol=1e-7)
    for degree in range(MAX_PATH):
        assert weights @ points**degree == pytest.approx(1 / (degree + 1), rel=2e-7)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    model=st.sampled_from([(3, 5, 12), (9, 40, 6), (1, 3, 3)]),
)
def test_the_bytes_are_those_of_plain_float32(seed: int, model: tuple[int, int, int]) -> None:
    _, document = booster(*model)
    tables = tables_of(document)
    matrix = some_rows(np.random.default_rng(seed), 9, model[0])
    expected = [plain_contributions(tables, module._WEIGHTS, row) for row in matrix]
    assert tables.contributions(matrix).tobytes() == np.array(expected).tobytes()


def test_branches_without_cover_are_shapley_values_too() -> None:
    def change(parsed: dict) -> None:
        for tree in parsed["learner"]["gradient_booster"]["model"]["trees"]:
            left, right, cover = tree["left_children"], tree["right_children"], tree["sum_hessian"]
            for node, (one, other) in enumerate(zip(left, right, strict=True)):
                if one != -1 and left[one] == left[other] == -1:
                    one, other = (one, other) if node % 2 else (other, one)
                    cover[one], cover[other] = 0.0, cover[node]

    _, document = booster(4, 6, 4)
    document = edited(document, change)
    rows = some_rows(np.random.default_rng(8), 6, 4)
    got = tables_of(document).contributions(rows)
    expected = [naive_contributions(document, row) for row in rows]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_paths_of_too_many_features_are_unsupported() -> None:
    _, document = booster(features=12, trees=5, depth=10)
    with pytest.raises(UnsupportedModelError, match=f"up to {MAX_PATH}"):
        tables_of(document)


def test_too_large_tables_are_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    _, document = booster()
    monkeypatch.setattr(splits, "MAX_TABLE_BYTES", 1000)
    with pytest.raises(UnsupportedModelError, match="MiB"):
        tables_of(document)


def test_a_split_without_cover_is_unsupported() -> None:
    def change(parsed: dict) -> None:
        trees = parsed["learner"]["gradient_booster"]["model"]["trees"]
        trees[0]["sum_hessian"][0] = 0.0

    _, document = booster()
    with pytest.raises(UnsupportedModelError, match="no cover"):
        tables_of(edited(document, change))


def test_branches_that_miss_their_splits_cover_are_unsupported() -> None:
    def change(parsed: dict) -> None:
        tree = parsed["learner"]["gradient_booster"]["model"]["trees"][1]
        tree["sum_hessian"][tree["left_children"][0]] *= 1.001

    _, document = booster()
    with pytest.raises(UnsupportedModelError, match="not the sum of its branches' covers"):
        tables_of(edited(document, change))


def test_without_trees_only_the_bias_is_left() -> None:
    def change(parsed: dict) -> None:
        parsed["learner"]["gradient_booster"]["model"]["trees"] = []

    _, document = booster(base_score=0.5)
    np.testing.assert_array_equal(
        tables_of(edited(document, change)).contributions(np.ones((2, 6))), np.zeros((2, 7))
    )


def test_a_matrix_of_another_width_is_refused() -> None:
    _, document = booster()
    with pytest.raises(ModelError, match="for a model of 6 features"):
        tables_of(document).contributions(np.zeros((2, 5)))
