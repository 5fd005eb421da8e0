"""The fitter: the same bytes for the same input, early stopping, refused parameters."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import xgboost

from claimtrace.errors import ConfigError
from models.kernels.forest import Forest
from training.evaluation.metrics import average_precision
from training.fitting import fitters
from training.fitting.fitters import FITTERS, Rows, check_xgboost, fit_xgboost, silent


def claims(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < 0.1
    matrix = rng.normal(size=(rows, 5))
    matrix[:, 0] += 1.5 * labels
    matrix[rng.random(rows) < 0.3, 1] = np.nan
    return matrix, labels


def fit(params=None, seed: int = 7, progress=silent):
    watched = Rows(*claims(800, 2))
    return fit_xgboost(Rows(*claims(1500, 1)), watched, params or {}, seed, progress)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    assert fit().model_json == fit().model_json
    assert fit().model_json != fit(seed=8).model_json


@pytest.mark.parametrize("method", ["hist", "approx", "exact"])
def test_the_number_of_threads_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    rng = np.random.default_rng(5)
    matrix = rng.lognormal(size=(8_000, 12))
    labels = matrix[:, 0] * rng.random(8_000) > 2.5
    rows = Rows(matrix, labels, np.where(labels, 1.0, 1.7))
    params = {"rounds": 12, "max_depth": 6, "tree_method": method}
    found = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(fitters, "THREADS", threads)
        monkeypatch.setattr(fitters, "LARGE", 0)
        found.add(fit_xgboost(rows, None, params, 7, silent).model_json)
    assert len(found) == 1


def test_a_weight_is_a_repeated_row() -> None:
    matrix, labels = claims(1500, 1)
    twice = np.repeat(np.arange(1500), np.where(labels, 1, 2))
    params = {"rounds": 8, "tree_method": "exact", "subsample": 1.0, "colsample_bytree": 1.0}
    weighted = Rows(matrix, labels, np.where(labels, 1.0, 2.0))
    watched = claims(800, 2)
    one = fit_xgboost(weighted, Rows(*watched), params, 7, silent)
    two = fit_xgboost(Rows(matrix[twice], labels[twice]), Rows(*watched), params, 7, silent)
    assert one.curve == pytest.approx(two.curve)
    assert one.params["base_score"] == pytest.approx(two.params["base_score"])


def test_the_curve_is_the_average_precision_after_each_tree() -> None:
    fitted = fit({"rounds": 30, "patience": 30, "least_rounds": 1})
    assert len(fitted.curve) == 30
    assert fitted.rounds == 1 + int(np.argmax(fitted.curve))
    matrix, labels = claims(800, 2)
    margins = Forest.from_xgboost_json(fitted.model_json).margins(matrix)
    assert average_precision(labels, margins) == pytest.approx(max(fitted.curve))


def test_the_kernel_scores_what_xgboost_scores() -> None:
    fitted = fit()
    matrix, labels = claims(500, 3)
    booster = xgboost.Booster()
    booster.load_model(bytearray(fitted.model_json))
    assert booster.num_boosted_rounds() == fitted.rounds
    ours = Forest.from_xgboost_json(fitted.model_json).margins(matrix)
    theirs = booster.inplace_predict(matrix, predict_type="margin")
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert average_precision(labels, ours) > 0.3


def test_fitting_stops_by_average_precision_of_the_stop_rows() -> None:
    fitted = fit({"rounds": 200, "patience": 10, "least_rounds": 1})
    assert fitted.rounds < 200
    stop_matrix, stop_labels = claims(800, 2)

    def reached(rounds: int) -> float:
        whole = fit_xgboost(Rows(*claims(1500, 1)), None, {"rounds": rounds}, 7, silent)
        margins = Forest.from_xgboost_json(whole.model_json).margins(stop_matrix)
        return average_precision(stop_labels, margins)

    best = reached(fitted.rounds)
    assert all(best >= reached(rounds) for rounds in (1, 5, fitted.rounds + 5, fitted.rounds + 10))


def test_the_first_few_trees_never_win_by_luck() -> None:
    hasty = fit({"rounds": 200, "patience": 10, "least_rounds": 1}).rounds
    assert fit({"rounds": 200, "patience": 10, "least_rounds": hasty + 5}).rounds >= hasty + 5
    assert fit({"rounds": 20, "least_rounds": 60}).rounds == 20


def test_without_stop_frauds_all_rounds_are_fitted() -> None:
    matrix, labels = claims(300, 1)
    none = np.zeros(300, dtype=bool)
    for watched in (None, Rows(matrix, none)):
        fitted = fit_xgboost(Rows(matrix, labels), watched, {"rounds": 9}, 7, silent)
        assert (fitted.rounds, fitted.curve) == (9, [])


def test_the_base_score_is_the_share_of_frauds_by_default() -> None:
    labels = claims(1500, 1)[1]
    assert fit().params["base_score"] == pytest.approx(np.mean(labels))
    fitted = fit({"base_score": 0.5, "rounds": 3})
    assert Forest.from_xgboost_json(fitted.model_json).base_margin == 0.0
    assert (fitted.params["seed"], fitted.params["rounds"]) == (7, 3)
    assert fitted.libraries["xgboost"] == xgboost.__version__


def test_parameters_that_break_a_promise_or_are_unknown_are_refused() -> None:
    for name in ("objective", "nthread", "seed", "booster"):
        with pytest.raises(ConfigError, match=f"parameter {name} is fixed"):
            fit({name: 1})
    with pytest.raises(ConfigError, match="XGBoost refuses"):
        fit({"max_depth": "deep"})
    for name, right in (("max_dept", "max_depth"), ("learning_rate", "eta")):
        with pytest.raises(ConfigError, match=f"unknown parameter {name}") as caught:
            fit({name: 3})
        assert caught.value.hint == f"did you mean {right}?"
    with pytest.raises(ConfigError, match="unknown parameter zzz"):
        fit({"zzz": 1})


@pytest.mark.filterwarnings("error")
def test_exact_trees_are_fitted_without_bins() -> None:
    fitted = fit({"tree_method": "exact", "rounds": 3})
    assert "max_bin" not in fitted.params
    assert fitted.rounds <= 3


def test_infinities_are_fitted_as_they_are_scored() -> None:
    matrix, labels = claims(1500, 1)
    matrix[labels, 2], matrix[~labels, 3] = np.inf, 1e300
    fitted = fit_xgboost(Rows(matrix, labels), None, {"rounds": 5}, 7, silent)
    margins = Forest.from_xgboost_json(fitted.model_json).margins(matrix)
    assert average_precision(labels, margins) == 1.0


def test_progress_counts_the_rounds() -> None:
    seen: list[tuple[str, int, int]] = []
    fit({"rounds": 5}, progress=lambda *call: seen.append(call))
    assert seen == [("fit", done, 5) for done in range(1, 6)]


def test_no_feature_names_and_no_categories_in_the_model() -> None:
    learner = msgspec.json.decode(fit({"rounds": 2}).model_json)["learner"]
    assert learner["feature_names"] == []
    assert set(FITTERS) == {"xgboost"}


WRONG = [
    {"eta": -1}, {"eta": "x"}, {"eta": float("nan")}, {"eta": float("inf")}, {"max_depth": 2.5},
    {"max_depth": "deep"}, {"subsample": 0}, {"subsample": 1.5}, {"colsample_bytree": -0.1},
    {"tree_method": "gpu"}, {"grow_policy": "wild"}, {"base_score": 2}, {"base_score": 0},
    {"rounds": 0}, {"rounds": -5}, {"rounds": 2.5}, {"rounds": "many"}, {"rounds": 10**9},
    {"rounds": True}, {"patience": 0}, {"least_rounds": "none"}, {"gamma": -1},
    {"min_child_weight": -1}, {"reg_lambda": -1}, {"max_bin": 1}, {"nthread": 2}, {"etta": 0.1},
    {"seed": 3}, {"sampling_method": "dice"}, {"scale_pos_weight": "x"},
]  # fmt: skip


@pytest.mark.parametrize("params", WRONG, ids=str)
def test_a_wrong_parameter_is_found_without_any_data(params) -> None:
    with pytest.raises(ConfigError) as caught:
        check_xgboost(params)
    assert caught.value.where == "training.params"
    (name,) = params
    assert name in caught.value.what


@pytest.mark.parametrize(
    "params",
    [{}, {"rounds": "60"}, {"eta": "0.1"}, {"max_depth": 6}, {"tree_method": "exact"},
     {"patience": 5.0}, {"grow_policy": "lossguide", "max_leaves": 8}],
    ids=str,
)  # fmt: skip
def test_a_parameter_that_can_be_used_passes_the_check(params) -> None:
    check_xgboost(params)
