"""Distances of counts: against slow oracles and scipy, their false alarms and their power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitoring.statistics.distances import (
    _chi2_above,
    benjamini_hochberg,
    higher_ratio,
    ks,
    linf,
    missing_rate_difference,
    psi,
    rate_difference,
    significant,
)
from monitoring.windows.reference import bin_counts, build_reference
from tests.oracles.naive_drift import naive_higher, naive_ks, naive_pool, naive_psi

HISTOGRAMS = st.integers(1, 20).flatmap(
    lambda bins: st.tuples(
        st.lists(st.integers(0, 400), min_size=bins, max_size=bins),
        st.lists(st.integers(0, 400), min_size=bins, max_size=bins),
    )
)


@given(HISTOGRAMS)
def test_psi_equals_the_oracle_and_is_symmetric(pair):
    ref, live = pair
    found = psi(ref, live)
    assert found.value == pytest.approx(naive_psi(ref, live), abs=1e-12)
    assert found.value == pytest.approx(psi(live, ref).value, abs=1e-12)
    assert found.value >= -1e-15
    assert 0 <= found.p <= 1
    if sum(ref) and sum(live):
        assert found.bins == len(naive_pool(ref, live))


@given(HISTOGRAMS)
def test_ks_linf_and_higher_equal_the_oracles(pair):
    ref, live = pair
    if not sum(ref) or not sum(live):
        assert (ks(ref, live), linf(ref, live), higher_ratio(ref, live)) == (0, 0, 0.5)
        return
    assert ks(ref, live) == pytest.approx(naive_ks(ref, live), abs=1e-12)
    assert higher_ratio(ref, live) == pytest.approx(naive_higher(ref, live), abs=1e-12)
    shares = np.array(ref) / sum(ref) - np.array(live) / sum(live)
    assert linf(ref, live) == pytest.approx(np.abs(shares).max(), abs=1e-12)
    assert ks(ref, live) == ks(live, ref)
    assert linf(ref, live) == linf(live, ref)
    assert higher_ratio(ref, live) == pytest.approx(1 - higher_ratio(live, ref), abs=1e-12)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20))
def test_equal_histograms_have_no_distance(counts):
    found = psi(counts, counts)
    assert found.value == 0
    assert found.p > 0.01
    assert ks(counts, counts) == linf(counts, counts) == 0
    assert higher_ratio(counts, counts) == pytest.approx(0.5)


def test_different_bins_are_refused():
    with pytest.raises(ValueError, match="different bins"):
        psi([1, 2], [1, 2, 3])


def test_too_few_rows_to_fill_two_bins_say_nothing():
    assert psi([500, 500], [3, 1]) == (0.0, 0.0, 0.0, 1.0, 1)


@pytest.mark.parametrize("bins", [2, 3, 8, 18])
@pytest.mark.parametrize("n", [200, 2_000])
def test_psi_without_drift_follows_its_null(bins, n):
    """Compare mean and spread with their formulas; p-values must not be too small."""
    rng = np.random.default_rng(bins * 10_000 + n)
    shares = rng.dirichlet(np.full(bins, 5.0))
    repeats = 4_000
    found = [
        psi(rng.multinomial(20_000, shares), rng.multinomial(n, shares)) for _ in range(repeats)
    ]
    z = np.array([one.z for one in found])
    p = np.array([one.p for one in found])
    assert abs(z.mean()) < 0.15
    assert 0.85 < z.std() < 1.25
    assert np.mean(p < 0.01) < 0.02
    assert 0.03 < np.mean(p < 0.05) < 0.08


@pytest.mark.parametrize("freedom", [1, 2, 5, 17])
@pytest.mark.parametrize("tail", [0.9, 0.3, 1e-2, 1e-6, 1e-30])
def test_the_tail_of_chi2_is_exact(freedom, tail):
    value = stats.chi2.isf(tail, freedom)
    assert _chi2_above(value, freedom) == pytest.approx(tail, rel=1e-9)


@given(st.data())
def test_rates_equal_fisher_and_the_pooled_z(data):
    ref_n = data.draw(st.integers(1, 3_000))
    n = data.draw(st.integers(1, 3_000))
    ref_hits = data.draw(st.integers(0, ref_n))
    hits = data.draw(st.integers(0, n))
    found = rate_difference(ref_hits, ref_n, hits, n)
    total = hits + ref_hits
    exact = stats.hypergeom(n + ref_n, total, n)
    tail = exact.sf(hits - 1) if hits / n >= ref_hits / ref_n else exact.cdf(hits)
    assert found.p == pytest.approx(min(1.0, 2 * tail), rel=1e-6, abs=1e-12)
    assert found.difference == pytest.approx(hits / n - ref_hits / ref_n)
    back = rate_difference(hits, n, ref_hits, ref_n)
    assert (back.z, back.p) == pytest.approx((-found.z, found.p), rel=1e-6, abs=1e-12)


def test_one_unlucky_row_in_a_small_window_is_not_certain():
    found = rate_difference(0, 50_000, 1, 200)
    assert found.z > 10
    assert found.p > 0.005


def test_rates_of_nothing():
    assert rate_difference(3, 10, 0, 0).p == 1
    assert rate_difference(0, 0, 3, 10) == (0.3, 0.0, 0, 0, 1)
    assert missing_rate_difference(0, 100, 0, 100).z == 0


def test_large_counts_stay_finite_and_quick():
    found = rate_difference(1_000_000, 10_000_000, 30_000, 100_000)
    assert found.p == 0.0
    assert found.z > 100
    assert rate_difference(500_000, 10_000_000, 5_000, 100_000).p > 0.9


@given(
    st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=40),
    st.floats(0.001, 0.5),
)
def test_benjamini_hochberg_equals_scipy(p_values, ratio):
    adjusted = stats.false_discovery_control(p_values, method="bh")
    found = benjamini_hochberg(p_values, ratio)
    for believed, p in zip(found, adjusted, strict=True):
        if abs(p - ratio) > 1e-9:
            assert believed == (p <= ratio)


def test_benjamini_hochberg_of_nothing():
    assert benjamini_hochberg([], 0.05) == []


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_significant_keeps_six_digits(number):
    assert significant(significant(number)) == significant(number)
    assert significant(number) == pytest.approx(number, rel=5e-6, abs=1e-310)


def _windows(n, change, repeats=40):
    """Return p-values of windows of n amounts against 50,000 training amounts."""
    rng = np.random.default_rng(n)
    amounts = rng.lognormal(8, 1.4, (50_000, 1))
    nothing = np.zeros(len(amounts), dtype=bool)
    feature = build_reference(["amount"], amounts, nothing * 1.0, nothing).features[0]
    found = []
    for _ in range(repeats):
        live = change(rng, rng.lognormal(8, 1.4, n))
        found.append(psi(feature.counts, bin_counts(live, feature.edges)).p)
    return np.array(found)


def _none(rng, amounts):
    return amounts


def _outlier(rng, amounts):
    amounts[0] = 1e9
    return amounts


def _inflation(rng, amounts):
    return amounts * 1.25


def _ring(rng, amounts):
    amounts[: len(amounts) // 20] *= 5
    return amounts


@pytest.mark.parametrize("change", [_none, _outlier])
@pytest.mark.parametrize("n", [300, 2_000, 20_000])
def test_quiet_without_drift(change, n):
    assert np.mean(_windows(n, change) < 1e-4) == 0


@pytest.mark.parametrize(
    ("change", "n", "at_least"),
    [(_inflation, 2_000, 0.9), (_inflation, 20_000, 1.0), (_ring, 20_000, 1.0)],
)
def test_inflation_and_a_ring_are_found(change, n, at_least):
    assert np.mean(_windows(n, change) < 1e-3) >= at_least
