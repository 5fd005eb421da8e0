"""The delay curve against a slow oracle, and the age from which verdicts are a fair sample."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from tests.oracles.naive_delays import known_by
from tests.worlds.data_sets import dataset_of
from training.data.maturity import delay_curve, maturity_of


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10**6), st.integers(1, 60))
def test_the_delay_curve_equals_the_oracle(rows: int, seed: int, delay_days: int) -> None:
    dataset = dataset_of(rows, seed=seed, policies=9, delay_days=delay_days)
    until = np.where(dataset.has_label, dataset.label_known_ms, dataset.at_ms)
    ages = (until - dataset.event_times_ms).tolist()
    claims = list(zip(ages, dataset.has_label.tolist(), strict=True))
    found_ages, shares = delay_curve(dataset, dataset.has_label)
    for age, share in zip(found_ages.tolist(), shares.tolist(), strict=True):
        assert share == pytest.approx(float(known_by(claims, age)))
    # what is left out is the end of the curve that few claims have reached
    missing = set(ages) - set(found_ages.tolist())
    late = {age for age, has in claims if has} & missing
    assert all(sum(each >= age for each in ages) < max(1, 0.05 * rows) for age in late)


def test_young_claims_dont_make_the_delay_look_short() -> None:
    """Half of the claims are too young for most verdicts: their mean delay is far too small."""
    dataset = dataset_of(20_000, seed=3, policies=9, delay_days=60, days=120)
    known = dataset.has_label
    naive = np.quantile(dataset.label_known_ms[known] - dataset.event_times_ms[known], 0.8)
    found = maturity_of(dataset)
    true_days = -60 * np.log(1 - 0.8 * (1 - np.exp(-120 * 0.95 / 60)))
    assert naive / DAY_MS < 0.75 * true_days
    assert found.delay_ms / DAY_MS == pytest.approx(true_days, rel=0.15)
    by_age = {each.age_days: each.known_ratio for each in found.by_age}
    assert by_age[30] == pytest.approx(0.9 * (1 - np.exp(-0.5)), abs=0.02)


def test_the_newest_claims_are_left_out_and_never_more_than_a_quarter() -> None:
    quick = dataset_of(3000, seed=1, policies=9, delay_days=10)
    free_days = (quick.at_ms - maturity_of(quick).mature_until_ms) / DAY_MS
    assert free_days == pytest.approx(-10 * np.log(0.2), rel=0.1)
    slow = dataset_of(3000, seed=1, policies=9, delay_days=100)
    assert maturity_of(slow).mature_until_ms / (200 * DAY_MS) == pytest.approx(0.75, abs=0.01)
    later = dataclasses.replace(quick, at_ms=quick.at_ms + 900 * DAY_MS)
    assert maturity_of(later).mature_until_ms == quick.event_times_ms[-1]


def test_without_any_verdict_all_claims_count() -> None:
    dataset = dataset_of(50, seed=1, policies=9)
    none = dataclasses.replace(dataset, labels=np.full(50, np.nan))
    found = maturity_of(none)
    assert (found.by_age, found.delay_ms) == ([], 0)
    assert found.mature_until_ms == dataset.event_times_ms[-1]


def test_old_months_are_summed_up() -> None:
    dataset = dataset_of(2000, seed=1, policies=9, days=700)
    months = maturity_of(dataset).by_month
    assert [each.month for each in months] == [
        "until 1971-06", "1971-07", "1971-08", "1971-09", "1971-10", "1971-11", "1971-12",
    ]  # fmt: skip
    assert sum(each.claims for each in months) == 2000
    assert sum(each.labelled for each in months) == dataset.has_label.sum()
    assert sum(each.frauds for each in months) == dataset.is_fraud.sum()
    assert months[-1].labelled_ratio < months[0].labelled_ratio
