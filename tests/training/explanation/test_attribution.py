"""SHAP values: the package shap's own, and Shapley values by definition."""

from __future__ import annotations

import numpy as np
import pytest
import shap

from models.kernels.forest import Forest
from tests.oracles.naive_interventional import naive_interventional
from tests.worlds.boosters import booster, some_rows
from training.explanation.attribution import interventional, tree_path


def rows(seed: int, count: int, features: int) -> np.ndarray:
    matrix = some_rows(np.random.default_rng(seed), count, features)
    return np.where(np.isinf(matrix), np.nan, matrix)  # shap's readers differ on infinities


@pytest.mark.parametrize(("features", "trees", "depth"), [(6, 12, 4), (9, 40, 6)])
def test_the_kernels_values_are_those_of_shaps_tree_explainer(
    features: int, trees: int, depth: int
) -> None:
    fitted, document = booster(features, trees, depth)
    matrix = rows(4, 200, features)
    explainer = shap.TreeExplainer(fitted, feature_perturbation="tree_path_dependent")
    found = tree_path(document, matrix)
    np.testing.assert_allclose(found.values, explainer.shap_values(matrix), rtol=1e-4, atol=2e-5)
    assert found.expected == pytest.approx(float(explainer.expected_value), abs=1e-5)


def test_a_model_that_the_kernel_does_not_take_is_explained_by_xgboost() -> None:
    """Fifteen features on a path are more than the kernel's eight."""
    _, document = booster(features=15, trees=8, depth=14)
    matrix = rows(5, 30, 15)
    found = tree_path(document, matrix)
    margins = Forest.from_xgboost_json(document).margins(matrix)
    np.testing.assert_allclose(found.margins, margins, atol=2e-5)


def test_values_against_a_group_are_shapley_values_by_definition() -> None:
    _, document = booster(features=4, trees=6, depth=3)
    background, matrix = rows(1, 7, 4), rows(2, 9, 4)
    found = interventional(document, matrix, background)
    forest = Forest.from_xgboost_json(document)
    for at, row in enumerate(matrix):
        expected = naive_interventional(forest.margins, row, background)
        np.testing.assert_allclose(found.values[at], expected[:-1], atol=1e-5)
        assert found.expected == pytest.approx(expected[-1], abs=1e-5)


def test_infinite_values_are_explained_too() -> None:
    _, document = booster(features=4, trees=6, depth=3)
    matrix = np.array([[np.inf, -np.inf, np.nan, 0.0]])
    found = interventional(document, matrix, rows(1, 7, 4))
    margin = Forest.from_xgboost_json(document).margins(matrix)
    np.testing.assert_allclose(found.margins, margin, atol=1e-5)
