"""Splits: no leak in time, nothing known thrown away without a word, too few frauds refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from claimtrace.errors import UsageError
from tests.worlds.data_sets import dataset_of
from training.data.maturity import maturity_of
from training.data.split import Split, split_by_policy, split_by_time

HISTORIES = {
    "rows": st.integers(60, 600),
    "seed": st.integers(0, 10**6),
    "policies": st.integers(20, 2000),
    "share": st.floats(0.1, 0.5),
}


def by_time(dataset, share: float = 0.25, min_frauds: int = 1, **more) -> Split:
    return split_by_time(
        dataset, maturity_of(dataset), min_frauds=min_frauds, test_share=share, **more
    )


def by_policy(dataset, share: float = 0.25, min_frauds: int = 1, seed: int = 7) -> Split:
    return split_by_policy(
        dataset, maturity_of(dataset), min_frauds=min_frauds, test_share=share, seed=seed
    )


@settings(max_examples=60, deadline=None)
@given(**HISTORIES)
def test_a_split_by_time_learns_from_all_that_was_known(
    rows: int, seed: int, policies: int, share: float
) -> None:
    dataset = dataset_of(rows, seed=seed, policies=policies)
    try:
        split = by_time(dataset, share)
    except UsageError:
        assume(False)
    times, labelled = dataset.event_times_ms, dataset.has_label
    known = labelled & (times < split.test_start_ms)
    known &= dataset.label_known_ms < split.test_start_ms
    assert np.array_equal(split.train, np.flatnonzero(known))
    delay_ms = maturity_of(dataset).delay_ms
    old = known & (times <= split.test_start_ms - delay_ms)
    settled = old if (old & dataset.is_fraud).any() else known
    assert np.array_equal(split.settled, np.flatnonzero(settled))
    inside = (times >= split.test_start_ms) & (times < split.test_end_ms)
    assert np.array_equal(split.panel, np.flatnonzero(inside))
    assert np.array_equal(split.test, np.flatnonzero(inside & labelled))
    mature = labelled & (times < split.test_end_ms)
    assert np.array_equal(split.released, np.flatnonzero(mature))
    # every claim with a verdict is learned from, judged by, or told as lost
    lost = {each.reason: each for each in split.lost}
    assert len(split.train) + len(split.test) + sum(each.claims for each in lost.values()) == (
        labelled.sum()
    )
    frauds = dataset.is_fraud
    told = sum(each.frauds for each in lost.values())
    assert frauds[split.train].sum() + frauds[split.test].sum() + told == frauds.sum()
    never = split.never_seen(dataset)
    policies_seen = set(dataset.groups[split.train].tolist())
    assert never.tolist() == [g not in policies_seen for g in dataset.groups[split.panel].tolist()]


@settings(max_examples=40, deadline=None)
@given(**HISTORIES)
def test_a_split_by_policy_keeps_policies_apart(
    rows: int, seed: int, policies: int, share: float
) -> None:
    dataset = dataset_of(rows, seed=seed, policies=policies)
    try:
        split = by_policy(dataset, share)
    except UsageError:
        assume(False)
    assert split.never_seen(dataset).all()
    assert not set(dataset.groups[split.train]) & set(dataset.groups[split.panel])
    assert np.array_equal(np.union1d(split.train, split.test), split.released)
    mature = dataset.event_times_ms < split.test_end_ms
    assert split.panel_share == pytest.approx(len(split.panel) / mature.sum())


def test_the_test_is_the_share_of_claims_that_was_asked_for() -> None:
    """Of a portfolio that grows, a share of the time would be another share of the claims."""
    dataset = dataset_of(3000, seed=1, policies=10**6, growing=True)
    split = by_time(dataset, 0.25)
    assert len(split.test) / len(split.released) == pytest.approx(0.25, abs=0.01)
    drawn = by_policy(dataset_of(3000, seed=1, policies=10**6), 0.25)
    assert drawn.panel_share == pytest.approx(0.25, abs=0.03)


def test_the_test_begins_when_it_is_told_to() -> None:
    dataset = dataset_of(3000, seed=1, policies=10**6)
    split = by_time(dataset, test_start_ms=100 * DAY_MS)
    assert split.test_start_ms == 100 * DAY_MS
    assert dataset.event_times_ms[split.test].min() >= 100 * DAY_MS
    with pytest.raises(UsageError, match="0 known frauds in claims before the test"):
        by_time(dataset, test_start_ms=0)
    with pytest.raises(UsageError, match="0 known frauds in the test"):
        by_time(dataset, test_start_ms=500 * DAY_MS)


def test_entities_that_live_long_can_be_trained_on() -> None:
    """Every card of a portfolio claims on both sides of any time; no claim is lost to that."""
    split = by_time(dataset_of(3000, seed=2, policies=10))
    assert len(split.train) > 1500
    assert {each.reason for each in split.lost} == {
        "too young", "verdict came after the test began",
    }  # fmt: skip


def test_policies_are_drawn_by_the_seed() -> None:
    dataset = dataset_of(2000, seed=4, policies=500)
    assert np.array_equal(by_policy(dataset).panel, by_policy(dataset).panel)
    assert not np.array_equal(by_policy(dataset).panel, by_policy(dataset, seed=8).panel)


def test_too_few_frauds_are_refused_with_the_number_and_the_part() -> None:
    dataset = dataset_of(300, seed=3, policies=10**6)
    with pytest.raises(UsageError, match=r"known frauds in .* 1000 are needed") as caught:
        by_time(dataset, min_frauds=1000)
    assert "min_frauds" in caught.value.where
    honest = dataclasses.replace(dataset, labels=np.where(dataset.has_label, 0.0, np.nan))
    with pytest.raises(UsageError, match="0 known frauds"):
        by_time(honest, min_frauds=0)
    guilty = dataclasses.replace(dataset, labels=np.where(dataset.has_label, 1.0, np.nan))
    with pytest.raises(UsageError, match="0 claims known as legitimate"):
        by_time(guilty)
    one_policy = dataclasses.replace(dataset, groups=np.zeros(300, dtype=np.int64))
    with pytest.raises(UsageError, match="known frauds in"):
        by_policy(one_policy)
