"""The reader of XGBoost's JSON: damaged and unsupported documents are refused by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ModelError
from models.kernels.xgboost_json import UnsupportedModelError, read_model
from tests.worlds.boosters import booster, edited

_, DOCUMENT = booster()


def _tree(parsed: Any) -> Any:
    return parsed["learner"]["gradient_booster"]["model"]["trees"][2]


def _parameters(parsed: Any) -> Any:
    return parsed["learner"]["learner_model_param"]


def _set(path: Callable[[Any], Any], key: Any, value: Any) -> Callable[[Any], None]:
    def change(parsed: Any) -> None:
        path(parsed)[key] = value

    return change


DAMAGED = {
    "a child beyond the end": _set(lambda p: _tree(p)["left_children"], 0, 10**6),
    "a child below -1": _set(lambda p: _tree(p)["left_children"], 0, -7),
    "a root as a child": _set(lambda p: _tree(p)["right_children"], 0, 0),
    "a cycle": _set(lambda p: _tree(p)["left_children"], 1, 1),
    "a feature too many": _set(lambda p: _tree(p)["split_indices"], 0, 6),
    "a negative feature": _set(lambda p: _tree(p)["split_indices"], 0, -1),
    "a huge threshold": _set(lambda p: _tree(p)["split_conditions"], 0, 1e39),
    "a negative cover": _set(lambda p: _tree(p)["sum_hessian"], 0, -1.0),
    "a short column": _set(_tree, "default_left", [1]),
    "text for a number": _set(_tree, "sum_hessian", ["1"]),
    "no trees": lambda p: p["learner"]["gradient_booster"]["model"].pop("trees"),
    "no model": lambda p: p["learner"]["gradient_booster"].pop("model"),
    "a base score of 0": _set(_parameters, "base_score", "0E0"),
    "a base score of 1": _set(_parameters, "base_score", "[1E0]"),
    "two base scores": _set(_parameters, "base_score", "[1E-1,2E-1]"),
    "a base score in words": _set(_parameters, "base_score", "half"),
    "a feature count in words": _set(_parameters, "num_feature", "six"),
    "no features": _set(_parameters, "num_feature", "0"),
    "too many features": _set(_parameters, "num_feature", "5000"),
    "names for other features": _set(lambda p: p["learner"], "feature_names", ["a"]),
    "three classes": _set(_parameters, "num_class", "3"),
    "two targets": _set(_parameters, "num_target", "2"),
    "another objective": _set(lambda p: p["learner"]["objective"], "name", "reg:squarederror"),
}
DAMAGED["no nodes"] = lambda p: _tree(p).update(
    {name: [] for name, column in _tree(p).items() if isinstance(column, list)}
)

UNSUPPORTED = {
    "a categorical split": _set(lambda p: _tree(p)["split_type"], 0, 1),
    "a later XGBoost": _set(lambda p: p, "version", [4, 0, 0]),
    "trees with weights": _set(
        lambda p: p["learner"]["gradient_booster"]["model"], "weight_drop", [1.0, 0.5]
    ),
    "another booster": _set(lambda p: p["learner"]["gradient_booster"], "name", "gblinear"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_model_is_refused(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_model(edited(DOCUMENT, DAMAGED[name]), "some/model.json")
    assert not isinstance(caught.value, UnsupportedModelError)
    assert "some/model.json" in caught.value.where


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_model_that_only_xgboost_can_score_is_named_as_such(name: str) -> None:
    with pytest.raises(UnsupportedModelError):
        read_model(edited(DOCUMENT, UNSUPPORTED[name]))


def test_real_dart_and_deep_models_are_unsupported() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(800, 3))
    labels = rng.integers(0, 2, 800)
    for parameters in (
        {"booster": "dart", "rate_drop": 0.9, "one_drop": 1},
        {"max_depth": 30, "min_child_weight": 0, "lambda": 0, "base_score": 0.5},
    ):
        fitted = xgboost.train(
            {"objective": "binary:logistic", "nthread": 1, **parameters},
            xgboost.DMatrix(matrix, labels),
            num_boost_round=8,
        )
        with pytest.raises(UnsupportedModelError):
            read_model(bytes(fitted.save_raw("json")))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[1]",
        b"\x80\x04K.",
        b"{" * 9999,
        DOCUMENT[:-9],
        DOCUMENT.replace(b"f5", b"\x805"),
    ],
)
def test_what_is_no_model_is_refused(document: bytes) -> None:
    with pytest.raises(ModelError, match="not a model"):
        read_model(document)


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, len(DOCUMENT) - 1), byte=st.integers(0, 255))
def test_any_changed_byte_gives_a_model_or_a_named_refusal(index: int, byte: int) -> None:
    mutated = bytearray(DOCUMENT)
    mutated[index] = byte
    with contextlib.suppress(ModelError):
        assert read_model(bytes(mutated)).roots[0] == 0


@pytest.mark.parametrize(
    ("text", "margin"),
    [("5E-1", 0.0), ("[5E-1]", 0.0), ("[1E-1]", -2.1972246), ("9.9E-1", 4.5951247)],
)
def test_the_base_score_of_every_version_is_read(text: str, margin: float) -> None:
    document = edited(DOCUMENT, _set(_parameters, "base_score", text))
    assert read_model(document).base_margin == pytest.approx(margin, rel=1e-6)


def test_documents_of_older_versions_are_read() -> None:
    """Older documents: bare base score, no split types, no names, booleans for defaults."""

    def change(parsed: Any) -> None:
        parsed["version"] = [2, 0, 3]
        _parameters(parsed)["base_score"] = _parameters(parsed)["base_score"].strip("[]")
        del _parameters(parsed)["num_target"], parsed["learner"]["feature_names"]
        for tree in parsed["learner"]["gradient_booster"]["model"]["trees"]:
            del tree["split_type"], tree["tree_param"]
            tree["default_left"] = [bool(way) for way in tree["default_left"]]

    older, newer = read_model(edited(DOCUMENT, change)), read_model(DOCUMENT)
    assert older.feature_names == ()
    for column in ("base_margin", "column", "left", "leaf", "cover", "roots", "depths"):
        assert getattr(older, column) == getattr(newer, column)
    np.testing.assert_array_equal(older.threshold, newer.threshold)
