"""Splits: no leak in time or between policies, and too few frauds are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from claimtrace.errors import UsageError
from training.data.dataset import NEVER_MS, Dataset
from training.data.split import check_split, split_dataset


def dataset_of(
    rows: int, *, seed: int, policies: int, delay_days: float = 10, days: int = 200
) -> Dataset:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, days * DAY_MS, rows))
    known = times + (rng.exponential(delay_days, rows) * DAY_MS).astype(np.int64)
    end = days * DAY_MS
    has = (known <= end) & (rng.random(rows) < 0.9)
    return Dataset(
        definitions="d",
        features=["a"],
        claim_ids=[f"c-{row}" for row in range(rows)],
        matrix=rng.normal(size=(rows, 1)),
        labels=np.where(has, rng.random(rows) < 0.3, np.nan),
        event_times_ms=times,
        label_known_ms=np.where(has, known, NEVER_MS),
        groups=rng.integers(0, policies, rows),
        amounts_cents=np.full(rows, np.nan),
        unseen=np.zeros(rows, np.int64),
        at_ms=end,
        lineage={},
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(60, 600),
    st.integers(0, 10**6),
    st.integers(20, 2000),
    st.floats(0.1, 0.5),
    st.integers(0, 20),
)
def test_the_promises_hold_for_any_history(
    rows: int, seed: int, policies: int, share: float, gap_days: int
) -> None:
    dataset = dataset_of(rows, seed=seed, policies=policies)
    try:
        split = split_dataset(dataset, test_share=share, min_frauds=1, gap_ms=gap_days * DAY_MS)
    except UsageError:
        assume(False)
    parts = [split.train, split.calibration, split.test]
    seen = [set(dataset.groups[part].tolist()) for part in parts]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    times = dataset.event_times_ms
    assert times[split.train].max() < times[split.calibration].min() < times[split.test].min()
    for part in parts[:2]:
        assert dataset.label_known_ms[part].max() < split.test_start_ms
        assert times[part].max() < split.test_start_ms - gap_days * DAY_MS
    assert all(dataset.has_label[part].all() for part in parts)
    assert sum(map(len, parts)) + sum(split.lost.values()) == dataset.has_label.sum()
    # The test keeps every labelled claim of its time, so that daily counts stay true.
    inside = (times >= split.test_start_ms) & (times < split.test_end_ms) & dataset.has_label
    assert np.array_equal(split.test, np.flatnonzero(inside))


def test_the_test_time_is_the_share_that_was_asked_for() -> None:
    dataset = dataset_of(3000, seed=1, policies=10**6)
    split = split_dataset(dataset, test_share=0.25, min_frauds=20)
    times = dataset.event_times_ms
    mature = times[dataset.has_label & (times < split.test_end_ms)]
    whole = mature[-1] - mature[0]
    assert (mature[-1] - split.test_start_ms) / whole == pytest.approx(0.25, abs=0.01)
    assert len(split.calibration) / (len(split.train) + len(split.calibration)) == pytest.approx(
        0.25, abs=0.01
    )


def test_a_policy_belongs_to_the_latest_split_in_which_it_claims() -> None:
    dataset = dataset_of(3000, seed=2, policies=10**6)
    base = split_dataset(dataset, test_share=0.25, min_frauds=5)
    groups = dataset.groups.copy()
    groups[[base.train[0], base.calibration[0], base.test[0]]] = 10**7
    moved = dataclasses.replace(dataset, groups=groups)
    split = split_dataset(moved, test_share=0.25, min_frauds=5)
    assert base.test[0] in split.test
    assert base.train[0] not in split.train
    assert base.calibration[0] not in split.calibration
    lost = "policy claims again in a later split"
    assert split.lost[lost] == base.lost[lost] + 2


def test_too_few_frauds_are_refused_with_the_number_and_the_split() -> None:
    dataset = dataset_of(300, seed=3, policies=10**6)
    with pytest.raises(UsageError, match=r"known frauds in .* 1000 are needed") as caught:
        split_dataset(dataset, test_share=0.25, min_frauds=1000)
    assert "min_frauds" in caught.value.where
    honest = dataclasses.replace(dataset, labels=np.where(dataset.has_label, 0.0, np.nan))
    with pytest.raises(UsageError, match="0 known frauds"):
        split_dataset(honest, test_share=0.25, min_frauds=0)
    guilty = dataclasses.replace(dataset, labels=np.where(dataset.has_label, 1.0, np.nan))
    with pytest.raises(UsageError, match="0 claims known as legitimate"):
        split_dataset(guilty, test_share=0.25, min_frauds=1)
    one_policy = dataclasses.replace(dataset, groups=np.zeros(300, dtype=np.int64))
    with pytest.raises(UsageError, match="known frauds in claims before the test time"):
        split_dataset(one_policy, test_share=0.25, min_frauds=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, d: {"train": np.union1d(s.train, s.calibration[:1])}, "not older"),
        (
            lambda s, d: {"train": np.union1d(s.train, np.flatnonzero(~d.has_label)[:1])},
            "without a",
        ),
        (lambda s, d: {"calibration": s.calibration[:0]}, "known frauds in the calibration"),
    ],
)
def test_a_split_made_elsewhere_is_checked_too(change, words: str) -> None:
    dataset = dataset_of(2000, seed=4, policies=10**6)
    split = split_dataset(dataset, test_share=0.25, min_frauds=5)
    broken = dataclasses.replace(split, **change(split, dataset))
    with pytest.raises(UsageError, match=words):
        check_split(dataset, broken, 5)


def test_an_overlap_of_policies_is_refused() -> None:
    dataset = dataset_of(2000, seed=4, policies=10**6)
    split = split_dataset(dataset, test_share=0.25, min_frauds=5)
    groups = dataset.groups.copy()
    groups[split.train[0]] = groups[split.test[0]]
    with pytest.raises(UsageError, match="1 policies are in both the training and the test"):
        check_split(dataclasses.replace(dataset, groups=groups), split, 5)
