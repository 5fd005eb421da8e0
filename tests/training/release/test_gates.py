"""Gates: what each measures, that chance alone fails none, and what is decided by them."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

from claimtrace.clock import DAY_MS
from claimtrace.settings.schema import GateSettings
from models.kernels.forest import Forest
from tests.worlds.boosters import booster
from training.release import model_gates
from training.release.gate import Verdict
from training.release.gates import Gate, decide
from training.release.model_gates import kernel_gate, latency_gate, size_gate
from training.release.quality_gates import (
    calibration_gate,
    months_of,
    quality_gate,
    stability_gate,
)

LIMITS = GateSettings()
_, MODEL = booster()
BETTER = Verdict(True, "promoted: better. AUC .8 against .7")
WORSE = Verdict(False, "kept the champion: no better. AUC .7 against .8")


def a_gate(name: str, state: str) -> Gate:
    return Gate(name=name, state=state, words="w", evidence="e")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gates", "verdict", "promote", "four_eyes", "taken", "words"),
    [
        ([("quality", "passed"), ("bias", "passed")], BETTER, "auto", False, True, BETTER.words),
        ([("bias", "not evaluable")], BETTER, "auto", False, True, BETTER.words),
        ([("quality", "failed")], WORSE, "auto", False, False, WORSE.words),
        ([("bias", "failed"), ("size", "failed")], BETTER, "auto", False, False,
         "waits for a person: it failed the gates bias, size. Quality: better. AUC"),
        ([("quality", "failed"), ("bias", "failed")], WORSE, "auto", False, False,
         "gates quality, bias. Quality: no better"),
        ([("bias", "passed")], BETTER, "ask", False, False, "training.promote is ask"),
        ([("bias", "passed")], BETTER, "auto", True, False, "approval.four_eyes is on"),
        ([("bias", "failed")], BETTER, "ask", True, False, "failed the gate bias"),
    ],
)  # fmt: skip
def test_a_version_takes_charge_only_when_nothing_speaks_against_it(
    gates: list[tuple[str, str]], verdict: Verdict, promote: str, *, four_eyes: bool, taken: bool,
    words: str,
) -> None:  # fmt: skip
    made = [a_gate(*each) for each in gates]
    found = decide(made, verdict, promote=promote, four_eyes=four_eyes)  # type: ignore[arg-type]
    assert found.promote == taken
    assert words in found.words


def test_quality_is_the_comparison_with_the_champion() -> None:
    assert quality_gate(BETTER).state == "passed"
    found = quality_gate(WORSE)
    assert (found.state, found.words) == ("failed", "no better. AUC .7 against .8")


def claims(
    rng: np.random.Generator, count: int, share: float, signal: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores of claims whose AUC rises with the signal."""
    labels = (rng.random(count) < share).astype(float)
    return labels, rng.normal(size=count) + signal * labels


def months(count: int, each: int) -> np.ndarray:
    return np.repeat(np.arange(count) * 31 * DAY_MS, each) + np.tile(np.arange(each), count)


def test_a_month_in_which_the_ranking_breaks_down_fails() -> None:
    rng = np.random.default_rng(3)
    labels, scores = claims(rng, 4 * 500, 0.1, 1.5)
    times = months(4, 500)
    assert stability_gate(times, labels, scores, LIMITS).state == "passed"
    scores[500:1000] = rng.normal(size=500)
    found = stability_gate(times, labels, scores, LIMITS)
    assert found.state == "failed"
    assert "1970-02 has 0." in found.words


def test_small_months_of_an_unchanging_world_fail_next_to_never() -> None:
    rng = np.random.default_rng(5)
    failed = 0
    for _ in range(150):
        labels, scores = claims(rng, 6 * 120, 0.12, 1.2)
        failed += (
            stability_gate(
                months(6, 120), labels, scores, msgspec.structs.replace(LIMITS, month_drop=0.0)
            ).state
            == "failed"
        )
    assert failed <= 5  # 900 months at three standard errors: 1.2 are to be expected


def test_a_test_of_one_month_or_without_frauds_says_nothing_about_stability() -> None:
    rng = np.random.default_rng(6)
    labels, scores = claims(rng, 300, 0.2, 1.0)
    assert stability_gate(months(1, 300), labels, scores, LIMITS).state == "not evaluable"
    for without in (np.zeros(300), np.full(300, np.nan), np.ones(300)):
        assert stability_gate(months(3, 100), without, scores, LIMITS).state == "not evaluable"


def test_the_error_of_a_month_is_about_that_of_many_drawn_again() -> None:
    """The oracle: the spread of AUCs by counting pairs over many worlds."""
    rng, aucs, errors = np.random.default_rng(8), [], []
    for _ in range(200):
        labels, scores = claims(rng, 200, 0.15, 1.0)
        (month,) = months_of(months(1, 200), labels, scores)
        pairs = itertools.product(scores[labels == 1], scores[labels == 0])
        assert month.auc == pytest.approx(np.mean([a > b for a, b in pairs]))
        aucs.append(month.auc)
        errors.append(month.error)
    assert np.mean(errors) == pytest.approx(np.std(aucs), rel=0.15)


def test_probabilities_that_hold_pass_and_doubled_ones_fail() -> None:
    rng = np.random.default_rng(9)
    for count in (100, 5000):
        p = rng.beta(1, 12, count)
        labels = (rng.random(count) < p).astype(float)
        labels[: count // 10] = np.nan
        assert calibration_gate(labels, p, LIMITS).state == "passed"
    found = calibration_gate(labels, np.minimum(1.0, 2 * p), LIMITS)
    assert found.state == "failed"
    assert "limit" in found.words


def test_chance_alone_next_to_never_fails_the_calibration() -> None:
    rng, failed = np.random.default_rng(10), 0
    for _ in range(200):
        p = rng.beta(1, 12, 300)
        labels = (rng.random(300) < p).astype(float)
        failed += calibration_gate(labels, p, LIMITS).state == "failed"
    assert failed <= 2


def test_without_a_fraud_calibration_says_nothing() -> None:
    for labels in (np.zeros(10), np.full(10, np.nan), np.zeros(0)):
        assert calibration_gate(labels, np.full(len(labels), 0.1), LIMITS).state == "not evaluable"


def test_a_model_that_the_kernels_run_exactly_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    matrix = rng.normal(size=(1000, 6))
    found = kernel_gate(MODEL, matrix)
    assert found.state == "passed"
    assert "250 claims" in found.words
    real = Forest.margins
    wrong = lambda self, rows: real(self, rows) + np.float32(0.01)  # noqa: E731
    monkeypatch.setattr(model_gates.Forest, "margins", wrong)
    found = kernel_gate(MODEL, matrix)
    assert found.state == "failed"
    assert "margins differ" in found.words


def test_trees_that_are_too_deep_for_the_kernels_fail() -> None:
    _, deep = booster(features=14, depth=14)
    rng = np.random.default_rng(12)
    found = kernel_gate(deep, rng.normal(size=(10, 14)))
    assert found.state == "failed"
    assert "the kernels don't take it" in found.words


def test_time_is_counted_in_steps_of_the_trees() -> None:
    forest = Forest.from_xgboost_json(MODEL)
    steps, splits = int(forest.depths.sum()), int(np.sum(~np.isnan(forest.threshold)))
    exact = msgspec.structs.replace(LIMITS, scoring_steps=steps, splits=splits)
    assert latency_gate(MODEL, exact).state == "passed"
    for name, value in (("scoring_steps", steps - 1), ("splits", splits - 1)):
        tight = msgspec.structs.replace(exact, **{name: value})
        assert latency_gate(MODEL, tight).state == "failed"


def test_size_is_bytes_and_trees() -> None:
    assert size_gate(MODEL, 100, LIMITS).state == "passed"
    assert size_gate(MODEL, LIMITS.trees + 1, LIMITS).state == "failed"
    assert size_gate(b"x" * (2**20 + 1), 1, msgspec.structs.replace(LIMITS, model_mib=1)).state == (
        "failed"
    )
