from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ModelError
from claimtrace.models import contributions as module
from claimtrace.models.contributions import MAX_PATH, Contributions
from claimtrace.models.forest import Forest
from claimtrace.models.xgboost_json import UnsupportedModelError
from tests.oracles.boosters import booster, edited, rows_at_splits, some_rows
from tests.oracles.naive_shapley import naive_contributions


def tables_of(document: bytes) -> Contributions:
    return Contributions.of(Forest.from_xgboost_json(document))


@pytest.mark.parametrize("depth", [1, 2, 4, 6, 7])
def test_contributions_are_xgboosts(depth: int) -> None:
    fitted, document = booster(features=9, trees=40, depth=depth)
    rng = np.random.default_rng(depth)
    matrix = np.concatenate((some_rows(rng, 300, 9), rows_at_splits(document, rng, 300)))
    names = fitted.feature_names
    matrix = np.where(np.isinf(matrix), np.sign(matrix) * 3e38, matrix)  # a DMatrix refuses inf
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


def test_weights_are_shares_of_orders() -> None:
    weights = module._weights()
    for m in range(1, 6):
        for s in range(m):
            first = [order for order in permutations(range(m)) if set(order[:s]) == set(range(s))]
            ours = [order for order in first if order[s] == s]
            assert weights[m, s] == pytest.approx(len(ours) / math.factorial(m))


def test_paths_of_too_many_features_are_unsupported() -> None:
    _, document = booster(features=12, trees=5, depth=10)
    with pytest.raises(UnsupportedModelError, match=f"up to {MAX_PATH}"):
        tables_of(document)


def test_too_large_tables_are_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    _, document = booster()
    monkeypatch.setattr(module, "MAX_TABLE_BYTES", 1000)
    with pytest.raises(UnsupportedModelError, match="MiB"):
        tables_of(document)


def test_a_split_without_cover_is_unsupported() -> None:
    def change(parsed: dict) -> None:
        trees = parsed["learner"]["gradient_booster"]["model"]["trees"]
        trees[0]["sum_hessian"][0] = 0.0

    _, document = booster()
    with pytest.raises(UnsupportedModelError, match="no cover"):
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
