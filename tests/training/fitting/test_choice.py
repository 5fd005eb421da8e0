"""The choice of settings, with a fitter whose curves are known, and with the real one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.worlds.data_sets import dataset_of
from training.data.dataset import Dataset
from training.data.folds import Fold, policy_folds
from training.fitting import choice
from training.fitting.choice import BINS, CANDIDATES, Choice, choose, rows_of
from training.fitting.fitters import Fitted, Params, Progress, Rows, fit_xgboost, silent


def telling(dataset: Dataset) -> Dataset:
    """Return the data set with a feature that tells something about frauds."""
    matrix = np.hstack([dataset.matrix, dataset.matrix + 1.5 * dataset.is_fraud[:, None]])
    return dataclasses.replace(dataset, matrix=matrix)


def choice_of(curves: Any, own: Params | None = None, folds: int = 1) -> Choice:
    """Choose with a fitter whose curve `curves(params, number of the fold)` gives."""
    dataset = dataset_of(300, seed=1, policies=40)
    parts = policy_folds(dataset, np.flatnonzero(dataset.has_label), 7)[:folds]
    numbers = {len(part.fit): number for number, part in enumerate(parts)}

    def fitter(
        rows: Rows, watched: Rows | None, params: Params, seed: int, progress: Progress
    ) -> Fitted:
        assert watched is not None
        return Fitted(b"", 1, dict(params), {}, curves(params, numbers[len(rows.labels)]))

    return choose(dataset, parts, own or {}, fitter, 7)


def test_the_best_candidate_wins_and_then_the_best_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    def curves(params: Params, _: int) -> list[float]:
        value = float(params["max_depth"] == 5) + 0.1 * (params["max_bin"] == BINS[-1])
        return [0.0] * 99 + [value] + [0.0] * 50

    monkeypatch.setattr(choice, "MANY_ROWS", 1)
    found = choice_of(curves)
    assert (found.params["max_depth"], found.params["max_bin"]) == (5, BINS[-1])
    assert found.params["rounds"] == 100
    assert len(found.tried) == len(CANDIDATES) + len(BINS)
    monkeypatch.undo()
    assert len(choice_of(curves).tried) == len(CANDIDATES)


def test_the_first_of_equals_wins_and_few_trees_never_do() -> None:
    found = choice_of(lambda *_: [0.9] + [0.5] * 80)
    assert {name: found.params[name] for name in CANDIDATES[0]} == dict(CANDIDATES[0])
    assert found.params["rounds"] == 60


def test_of_several_folds_the_mean_says_how_many_trees() -> None:
    curves = {0: [0.0] * 69 + [1.0, 0.0, 0.6], 1: [0.0] * 69 + [0.0, 0.0, 0.6]}
    found = choice_of(lambda _, fold: curves[fold], folds=2)
    assert found.params["rounds"] == 72
    assert found.tried[0].average_precision == 0.6
    stopped = {0: [0.0] * 69 + [0.2, 0.4], 1: [0.0] * 69 + [0.5, 0.1, 0.1, 0.3]}
    assert choice_of(lambda _, fold: stopped[fold], folds=2).params["rounds"] == 70


def test_parameters_of_the_users_own_are_never_replaced() -> None:
    seen: list[Params] = []

    def curves(params: Params, _: int) -> list[float]:
        seen.append(params)
        return [0.5] * 80

    own = {"max_depth": 9, "max_bin": 77, "eta": 0.3, "rounds": 80}
    found = choice_of(curves, own)
    assert len(found.tried) == 1
    assert all({name: each[name] for name in own} == own for each in seen)
    only_bins = choice_of(curves, {"max_bin": 77})
    assert [each.params["max_depth"] for each in only_bins.tried] == [
        each["max_depth"] for each in CANDIDATES
    ]


def test_a_large_data_set_is_sampled_and_weighs_as_much() -> None:
    dataset = dataset_of(5000, seed=1, policies=40)
    rows = np.flatnonzero(dataset.has_label)
    legit = int((~dataset.is_fraud[rows]).sum())
    some = rows_of(dataset, rows, 7, most_legit=400)
    assert some.weights is not None
    assert some.labels.sum() == dataset.is_fraud[rows].sum()
    assert (~some.labels).sum() == 400
    assert some.weights[~some.labels].sum() == pytest.approx(legit)
    assert set(some.weights[some.labels].tolist()) == {1.0}
    assert np.array_equal(some.matrix, rows_of(dataset, rows, 7, most_legit=400).matrix)
    assert rows_of(dataset, rows, 7).weights is None


def test_the_real_fitter_is_given_the_parameters_and_the_rows() -> None:
    dataset = telling(dataset_of(1500, seed=1, policies=900))
    rows = np.flatnonzero(dataset.has_label)
    fold = Fold(rows[:900], rows[900:])
    found = choose(dataset, [fold], {"rounds": 70}, fit_xgboost, 7)
    again = fit_xgboost(
        rows_of(dataset, fold.fit, 7), rows_of(dataset, fold.held, 7),
        found.params, 7, silent,
    )  # fmt: skip
    best = max(each.average_precision for each in found.tried)
    assert max(again.curve[59:]) == best > 0.5
