"""Directions of features: kept where they cost little, and then true for every pair of claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from claimtrace.errors import ConfigError
from models.kernels.forest import Forest
from tests.worlds.data_sets import dataset_of
from training.data.dataset import Dataset
from training.data.folds import Fold
from training.fitting.choice import Choice, Tried, attempted, learnt, pairs_of
from training.fitting.directions import with_directions
from training.fitting.fitters import (
    MONOTONE,
    Fitted,
    Params,
    Progress,
    Rows,
    check_xgboost,
    fit_xgboost,
    silent,
)

PARAMS = {"max_depth": 3, "rounds": 60, "eta": 0.2}


def two_features() -> tuple[Dataset, Fold]:
    """More of `a` is worse; `b` is worse in the middle, against any direction."""
    dataset = dataset_of(1500, seed=1, policies=900)
    rng = np.random.default_rng(5)
    values = rng.normal(size=(1500, 2))
    chance = 1 / (1 + np.exp(2 - values[:, 0] - 3 * (np.abs(values[:, 1]) < 0.5)))
    labels = np.where(np.isnan(dataset.labels), np.nan, rng.random(1500) < chance)
    dataset = dataclasses.replace(dataset, features=["a", "b"], matrix=values, labels=labels)
    rows = np.flatnonzero(dataset.has_label)
    return dataset, Fold(rows[:900], rows[900:])


def directed(directions: Mapping[str, int], mode: str = "auto") -> tuple[Choice, Tried]:
    dataset, fold = two_features()
    pairs = pairs_of(dataset, [fold], 7)
    chosen = attempted(PARAMS, pairs, fit_xgboost, 7)
    choice = Choice({**chosen.params, "rounds": chosen.rounds}, [chosen])
    names = dataset.features
    return with_directions(choice, chosen, names, directions, mode, pairs, fit_xgboost, 7), chosen


def test_a_true_direction_is_kept_and_holds_for_every_claim() -> None:
    choice, chosen = directed({"a": 1, "no longer there": 1})
    found = choice.directions
    assert found is not None
    assert found.used
    assert found.features == {"a": "worse"}
    assert found.free == chosen.average_precision
    assert choice.params[MONOTONE] == "(1,0)"
    dataset, _ = two_features()
    rows = np.flatnonzero(dataset.has_label)
    steps = np.repeat(np.linspace(-3, 3, 41)[:, None], len(rows), axis=1)
    margins = {}
    for name, params in (("kept", choice.params), ("free", PARAMS)):
        forest = Forest.from_xgboost_json(
            fit_xgboost(learnt(dataset, rows), None, params, 7, silent).model_json
        )
        margins[name] = np.array([
            forest.margins(np.column_stack([step, dataset.matrix[rows, 1]])) for step in steps
        ])  # fmt: skip
    assert (np.diff(margins["kept"], axis=0) >= 0).all()
    assert (np.diff(margins["free"], axis=0) < 0).any()
    assert (np.diff(margins["kept"], axis=0) > 0).any()


def test_a_direction_that_costs_too_much_is_not_kept_unless_asked_for() -> None:
    choice, chosen = directed({"b": 1})
    found = choice.directions
    assert found is not None
    assert not found.used
    assert found.every < found.free - 0.005
    assert MONOTONE not in choice.params
    assert choice.params == {**chosen.params, "rounds": chosen.rounds}
    forced, _ = directed({"b": 1}, "on")
    assert forced.params[MONOTONE] == "(0,1)"
    off, _ = directed({"a": 1}, "off")
    assert MONOTONE not in off.params
    assert off.directions is not None
    assert not off.directions.used


def test_the_limit_is_half_a_point_of_average_precision() -> None:
    for cost, used in ((0.0049, True), (0.0051, False), (-0.1, True)):

        def fitter(
            rows: Rows, held: Rows | None, params: Params, seed: int, progress: Progress
        ) -> Fitted:
            return Fitted(b"", 1, dict(params), {}, [0.5 - cost] * 60)  # noqa: B023

        tried = Tried({"rounds": 70}, 0.5, 60)
        pairs = [(Rows(np.zeros((2, 1)), np.array([True, False])),) * 2]
        choice = with_directions(
            Choice({"rounds": 60}, [tried]), tried, ["a"], {"a": -1}, "auto", pairs, fitter, 7
        )
        assert choice.directions is not None
        assert choice.directions.used is used


def test_directions_that_are_contradicted_go_first_and_the_others_stay() -> None:
    choice, chosen = directed({"a": 1, "b": 1})
    found = choice.directions
    assert found is not None
    assert found.kept_to == ["a"]
    assert choice.params[MONOTONE] == "(1,0)"
    assert found.every < found.free - 0.005 <= found.kept
    assert found.free == chosen.average_precision


def test_without_directions_nothing_is_compared() -> None:
    choice, _ = directed({})
    assert choice.directions is None


def test_the_parameter_itself_is_refused_from_users() -> None:
    with pytest.raises(ConfigError, match="monotone_constraints is fixed") as caught:
        check_xgboost({MONOTONE: "(1)"})
    assert 'more="worse"' in caught.value.hint
