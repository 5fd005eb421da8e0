"""Folds: no held-out claim's policy is fitted on, and nothing as new as it."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.data_sets import dataset_of
from training.data.folds import (
    FEW_FRAUDS,
    choice_folds,
    forward_folds,
    later_window,
    margin_folds,
    policy_folds,
)

HISTORIES = {
    "rows": st.integers(40, 400),
    "seed": st.integers(0, 10**6),
    "policies": st.integers(2, 900),
}


@settings(max_examples=50, deadline=None)
@given(**HISTORIES)
def test_folds_keep_policies_apart(rows: int, seed: int, policies: int) -> None:
    dataset = dataset_of(rows, seed=seed, policies=policies)
    labelled = np.flatnonzero(dataset.has_label)
    by_policy, forward = (f(dataset, labelled, 7) for f in (policy_folds, forward_folds))
    for fold in (*by_policy, *forward):
        assert not set(dataset.groups[fold.fit]) & set(dataset.groups[fold.held])
        assert np.isin(np.concatenate(fold), labelled).all()
    held = np.concatenate([fold.held for fold in by_policy])
    assert np.array_equal(np.sort(held), labelled)
    for fold in forward:
        if len(fold.fit) and len(fold.held):
            times = dataset.event_times_ms
            assert times[fold.fit].max() < times[fold.held].min()
    held = np.concatenate([fold.held for fold in forward])
    assert len(np.unique(held)) == len(held)
    assert len(held) / len(labelled) > 0.7


def test_the_later_window_is_the_newest_quarter() -> None:
    dataset = dataset_of(4000, seed=1, policies=900)
    labelled = np.flatnonzero(dataset.has_label)
    fold = later_window(dataset, labelled)
    assert np.array_equal(np.concatenate(fold), labelled)
    assert abs(len(fold.held) / len(labelled) - 0.25) < 0.01
    alike = dataclasses.replace(dataset, event_times_ms=dataset.event_times_ms // 10**10 * 10**10)
    fold = later_window(alike, labelled)
    assert alike.event_times_ms[fold.fit].max() < alike.event_times_ms[fold.held].min()


def test_few_frauds_are_all_held_out_in_turn() -> None:
    many = dataset_of(4000, seed=1, policies=900)
    labelled = np.flatnonzero(many.has_label)
    assert many.is_fraud[later_window(many, labelled).held].sum() >= FEW_FRAUDS
    assert len(choice_folds(many, labelled, 7)) == 1
    assert len(margin_folds(many, labelled, 7)) == 6
    assert len(choice_folds(many, labelled, 7, by_time=False)) == 4
    few = labelled[:600]
    assert many.is_fraud[later_window(many, few).held].sum() < FEW_FRAUDS
    assert len(choice_folds(many, few, 7)) == len(margin_folds(many, few, 7)) == 4
