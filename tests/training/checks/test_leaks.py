"""Leaks of the verdict: what tells too much alone, numbers the claims, or was known early."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.oracles import naive_metrics as naive
from tests.worlds.data_sets import dataset_of
from training.checks.leaks import Leaks, auc_alone, leak_gate, leaks_of
from training.data.dataset import Dataset


def with_column(column: np.ndarray, **changes) -> Dataset:
    dataset = dataset_of(2000, seed=1, policies=900)
    matrix = np.column_stack([dataset.matrix[:, 0], column])
    return dataclasses.replace(dataset, features=["noise", "column"], matrix=matrix, **changes)


def looked(dataset: Dataset, model_auc: float = 0.8) -> Leaks:
    return leaks_of(dataset, np.flatnonzero(dataset.has_label), model_auc, 7)


PLAIN = dataset_of(2000, seed=1, policies=900)
RNG = np.random.default_rng(3)


def test_a_feature_that_knows_the_verdict_is_suspected() -> None:
    knows = PLAIN.is_fraud + RNG.normal(0, 0.2, 2000)
    leaks = looked(with_column(-knows))
    assert [each.feature for each in leaks.suspects] == ["column"]
    gate = leak_gate(leaks)
    assert gate.state == "failed"
    assert "column tells as much alone as the model" in gate.words


def test_a_missing_value_may_know_the_verdict_too() -> None:
    leaks = looked(with_column(np.where(PLAIN.is_fraud, np.nan, 1.0)))
    assert leaks.suspects[0].value == 1.0


def test_a_strong_feature_in_a_stronger_model_is_none() -> None:
    strong = PLAIN.is_fraud + RNG.normal(0, 0.4, 2000)
    alone = looked(with_column(strong)).strongest[0]
    assert 0.95 < alone.value < 0.97
    assert looked(with_column(strong), model_auc=0.99).suspects == []
    assert leak_gate(looked(with_column(strong), model_auc=0.99)).state == "passed"


def test_a_number_of_the_claim_is_suspected_and_an_amount_is_not() -> None:
    jitter = RNG.permutation(2000) % 5
    numbers = looked(with_column(900_000.0 - np.arange(2000) * 10 - jitter))
    assert [(each.feature, each.sign) for each in numbers.suspects] == [
        ("column", "numbers the claims")
    ]
    amounts = np.round(np.exp(RNG.normal(12, 1, 2000)))
    assert len(np.unique(amounts)) > 1900
    assert looked(with_column(amounts)).suspects == []
    months = np.floor(PLAIN.event_times_ms / (30 * 86_400_000))
    assert looked(with_column(months)).suspects == []


def test_verdicts_before_their_claims_are_suspected_when_they_are_many() -> None:
    rows = np.flatnonzero(PLAIN.has_label)
    known = PLAIN.label_known_ms.copy()
    known[rows[:1]] = PLAIN.event_times_ms[rows[:1]] - 1
    one = looked(with_column(np.zeros(2000), label_known_ms=known))
    assert (one.early, one.early_ids, one.suspects) == (1, [PLAIN.claim_ids[rows[0]]], [])
    decided = np.full(2000, -1)
    decided[rows[:30]] = PLAIN.event_times_ms[rows[:30]] - 1
    many = looked(with_column(np.zeros(2000), decided_at_ms=decided))
    assert many.early == 30
    assert "verdict known before the claim" in leak_gate(many).words


def test_the_figure_of_one_feature_is_its_auc() -> None:
    dataset = with_column(PLAIN.is_fraud * 0.5 + RNG.normal(0, 1, 2000))
    rows = np.flatnonzero(dataset.has_label)
    expected = naive.auc(dataset.is_fraud[rows].tolist(), dataset.matrix[rows, 1].tolist())
    found = auc_alone(dataset, rows, 1, np.ones(len(rows)))
    assert found == pytest.approx(max(expected, 1 - expected))
