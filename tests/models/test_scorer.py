"""The scorer: kernels where they support the model and agree with XGBoost, else XGBoost itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost

from claimtrace.errors import ModelError
from models import scorer as module
from models.kernels.forest import Forest
from models.scorer import Scorer
from tests.worlds.artefacts import CURVE, artefact_of
from tests.worlds.boosters import booster, edited, some_rows

FITTED, MODEL = booster()
ROWS = some_rows(np.random.default_rng(1), 50, 6)


def fitted_to_noise(**parameters: object) -> bytes:
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(800, 6))
    everything = {"objective": "binary:logistic", "nthread": 1, "base_score": 0.5, **parameters}
    labels = xgboost.DMatrix(matrix, rng.integers(0, 2, 800))
    return bytes(xgboost.train(everything, labels, num_boost_round=4).save_raw("json"))


LOPSIDED = {"max_depth": 0, "grow_policy": "lossguide", "max_leaves": 400, "max_bin": 4096}
SOFT = {"min_child_weight": 0, "lambda": 0, "eta": 1.0}


def test_a_plain_model_runs_on_the_kernels() -> None:
    scorer = Scorer.load(artefact_of(MODEL))
    assert (scorer.kernel, scorer.explain_kernel, scorer.notes) == ("numba", "numba", [])
    margins = scorer.margins(ROWS)
    np.testing.assert_array_equal(margins, FITTED.inplace_predict(ROWS, predict_type="margin"))
    chances = scorer.probabilities(margins)
    np.testing.assert_array_equal(chances, CURVE.probabilities(margins))
    contributions = scorer.contributions(ROWS)
    assert contributions.shape == (50, 7)
    np.testing.assert_allclose(contributions.sum(axis=1), margins, atol=1e-5)
    assert bytes(scorer.reference) == b'{"bins":[1,2]}'
    assert scorer.ref == artefact_of(MODEL).ref


@pytest.mark.parametrize(
    ("model", "features", "kernel", "why"),
    [
        (booster(features=12, trees=5, depth=10)[1], 12, "numba", "a path tests"),
        (fitted_to_noise(**LOPSIDED, **SOFT), 6, "xgboost", "deeper than"),
        (fitted_to_noise(booster="dart", rate_drop=0.5), 6, "xgboost", "booster dart"),
    ],
    ids=["wide", "deep", "dart"],
)
def test_what_kernels_cannot_take_runs_on_xgboost_and_says_so(
    model: bytes, features: int, kernel: str, why: str
) -> None:
    rows = some_rows(np.random.default_rng(3), 30, features)
    scorer = Scorer.load(artefact_of(model, features), self_check=False)
    assert (scorer.kernel, scorer.explain_kernel) == (kernel, "xgboost")
    assert len(scorer.notes) == 1
    assert why in scorer.notes[0]
    assert "It costs" in scorer.notes[0]
    margins = scorer.margins(rows)
    np.testing.assert_allclose(scorer.contributions(rows).sum(axis=1), margins, atol=1e-4)
    assert scorer.margins(rows[:0]).shape == (0,)
    assert scorer.contributions(rows[:0]).shape == (0, features + 1)
    with pytest.raises(ModelError, match="for a model of"):
        scorer.contributions(rows[:, 1:])


def test_categorical_splits_run_on_xgboost() -> None:
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 8, size=(900, 1)).astype(float)
    labels = np.isin(codes[:, 0], (1, 4, 6)) ^ (rng.random(900) < 0.1)
    matrix = xgboost.DMatrix(codes, labels, feature_types=["c"], enable_categorical=True)
    fitted = xgboost.train(
        {"objective": "binary:logistic", "max_cat_to_onehot": 1, "nthread": 1}, matrix, 3
    )
    scorer = Scorer.load(artefact_of(bytes(fitted.save_raw("json")), 1, baselines={}))
    assert scorer.kernel == "xgboost"
    assert "category" in scorer.notes[0]
    np.testing.assert_allclose(
        scorer.margins(codes), fitted.predict(matrix, output_margin=True), rtol=1e-6
    )


def test_a_kernel_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Forest.margins
    monkeypatch.setattr(Forest, "margins", lambda self, rows: real(self, rows) + np.float32(1e-4))
    scorer = Scorer.load(artefact_of(MODEL))
    assert (scorer.kernel, scorer.explain_kernel) == ("xgboost", "xgboost")
    assert "disagrees" in scorer.notes[0]
    np.testing.assert_array_equal(
        scorer.margins(ROWS), FITTED.inplace_predict(ROWS, predict_type="margin")
    )


def test_contributions_that_disagree_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.Contributions.contributions
    monkeypatch.setattr(
        module.Contributions, "contributions", lambda self, rows: real(self, rows)[:, ::-1]
    )
    scorer = Scorer.load(artefact_of(MODEL))
    assert (scorer.kernel, scorer.explain_kernel) == ("numba", "xgboost")
    assert "contributions disagree" in scorer.notes[0]


def test_a_damaged_or_foreign_model_is_refused() -> None:
    def other_objective(parsed: dict) -> None:
        parsed["learner"]["objective"]["name"] = "reg:squarederror"

    with pytest.raises(ModelError, match="objective"):
        Scorer.load(artefact_of(edited(MODEL, other_objective)))
    with pytest.raises(ModelError, match="XGBoost refuses"):
        Scorer.load(
            artefact_of(edited(MODEL, lambda parsed: parsed.update(version=[9, 0, 0], learner={
                **parsed["learner"], "gradient_booster": {"name": "nothing"}
            })))
        )  # fmt: skip


def test_xgboost_is_imported_only_when_needed() -> None:
    code = "import sys, models.scorer; sys.exit('xgboost' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_another_processor_gives_the_same_bytes() -> None:
    """Compare with kernels compiled for plain x86-64, without wide or fused instructions."""
    code = """
import hashlib, numpy as np
from models.scorer import Scorer
from tests.worlds.artefacts import artefact_of
from tests.worlds.boosters import booster, some_rows
scorer = Scorer.load(artefact_of(booster(9, 40, 6)[1], 9), self_check=False)
rows = some_rows(np.random.default_rng(8), 150, 9)
margins = scorer.margins(rows)
out = (margins, scorer.probabilities(margins), scorer.contributions(rows))
print(hashlib.sha256(b"".join(part.tobytes() for part in out)).hexdigest())
"""
    root = Path(__file__).resolve().parents[2]
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, **extra},
            check=True,
            capture_output=True,
        ).stdout
        for extra in ({}, plain)
    }
    assert len(digests) == 1


def test_a_scorer_picks_its_columns_out_of_the_served_vectors() -> None:
    scorer = Scorer.load(artefact_of(MODEL), self_check=False)
    own = scorer.manifest.features
    assert scorer.taking(list(own)) is scorer
    assert scorer.inputs(ROWS) is ROWS
    names = ["more", *reversed(own), "another"]
    served = np.column_stack([np.full(50, 9.0), ROWS[:, ::-1], np.full(50, np.nan)])
    taking = scorer.taking(names)
    assert taking is scorer.taking(names) is scorer.taking(list(names))
    assert taking.taking(own).inputs(ROWS) is ROWS
    np.testing.assert_array_equal(taking.inputs(served), ROWS)
    np.testing.assert_array_equal(taking.margins(served), scorer.margins(ROWS))
    np.testing.assert_array_equal(taking.contributions(served), scorer.contributions(ROWS))
    assert (taking.ref, taking.manifest) == (scorer.ref, scorer.manifest)
    assert scorer.inputs(ROWS) is ROWS
    with pytest.raises(ModelError, match="'f0', which the model takes, and 1 more"):
        scorer.taking([name for name in own if name not in ("f0", "f4")])
