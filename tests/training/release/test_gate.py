"""The gate: promotion and rejection by paired differences."""

from __future__ import annotations

import numpy as np

from training.evaluation.evaluate import METRICS
from training.release.gate import compare, first_model


def metrics(ap: float, money: float = 0.5, recall: float = 0.5) -> np.ndarray:
    return np.array([ap, 0.8, 0.3, recall, money])


def drawn(point: np.ndarray, spread: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return point + spread * rng.normal(size=(400, len(METRICS)))


def test_better_and_surely_not_worse_is_promoted() -> None:
    new, old = metrics(0.42), metrics(0.40)
    verdict = compare(new, old, drawn(new), drawn(old))
    assert verdict.promote
    assert verdict.words.startswith("promoted: better")
    assert [d.metric for d in verdict.differences] == ["average_precision", "money_found_ratio"]


def test_the_same_model_does_not_replace_itself() -> None:
    same = metrics(0.4)
    verdict = compare(same, same, drawn(same), drawn(same))
    assert not verdict.promote
    assert "no better" in verdict.words


def test_better_on_the_point_but_too_uncertain_is_not_promoted() -> None:
    new, old = metrics(0.42), metrics(0.40)
    verdict = compare(new, old, drawn(new, 0.1, 1), drawn(old, 0.1, 2))
    assert not verdict.promote
    assert "average precision" in verdict.words
    assert "may be worse" in verdict.words


def test_pairs_make_a_small_gain_visible() -> None:
    new, old = metrics(0.42), metrics(0.40)
    # The same draws move both models together: their difference hardly moves.
    assert compare(new, old, drawn(new, 0.1, 1), drawn(old, 0.1, 1)).promote


def test_better_ranking_that_finds_less_money_is_not_promoted() -> None:
    new, old = metrics(0.42, money=0.3), metrics(0.40, money=0.5)
    verdict = compare(new, old, drawn(new), drawn(old))
    assert not verdict.promote
    assert "money found may be worse" in verdict.words


def test_without_amounts_recall_replaces_money() -> None:
    new, old = metrics(0.42, np.nan, recall=0.2), metrics(0.40, np.nan, recall=0.5)
    verdict = compare(new, old, drawn(new), drawn(old))
    assert not verdict.promote
    assert "recall may be worse" in verdict.words


def test_a_first_model_must_beat_chance_clearly() -> None:
    good = metrics(0.3)
    assert first_model(good, drawn(good), base_ratio=0.05).promote
    assert not first_model(good, drawn(good), base_ratio=0.25).promote
    unsure = good.copy()
    unsure[1] = 0.52
    assert not first_model(unsure, drawn(unsure, 0.05), base_ratio=0.05).promote
    undefined = np.full(5, np.nan)
    assert not first_model(undefined, drawn(undefined), base_ratio=0.0).promote
