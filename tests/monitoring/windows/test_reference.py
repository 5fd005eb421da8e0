"""The drift reference: bins of equal mass, no row lost, the threshold an edge, JSON both ways."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import ModelError
from monitoring.windows.reference import (
    MAX_BINS,
    Reference,
    bin_counts,
    build_reference,
    read_reference,
)
from tests.oracles.naive_drift import naive_bin

VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-3, 3).map(float),
    st.just(math.nan),
)


def _build(column, **options):
    column = np.asarray(column, dtype=np.float64)
    nothing = np.zeros(len(column), dtype=bool)
    scores = options.pop("scores", np.full(len(column), 0.5))
    return build_reference(["x"], column[:, None], scores, nothing, **options)


@given(st.lists(VALUES, min_size=1, max_size=200))
def test_every_value_is_in_exactly_one_bin(column):
    feature = _build(column).features[0]
    edges = np.array(feature.edges)
    assert np.all(edges[1:] > edges[:-1])
    assert np.all(np.isfinite(edges))
    assert len(feature.counts) == len(edges) + 1 <= MAX_BINS
    assert sum(feature.counts) + feature.missing == len(column)
    bins = [naive_bin(feature.edges, value) for value in column if not math.isnan(value)]
    assert feature.counts == [bins.count(number) for number in range(len(edges) + 1)]
    if all(abs(value) < 1e308 for value in column if not math.isnan(value)) and bins:
        # No training row is in an outer bin, and no inner bin is empty.
        assert feature.counts[0] == feature.counts[-1] == 0
        assert min(feature.counts[1:-1]) > 0


@given(st.lists(VALUES, min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_order_of_rows_is_irrelevant(column, random):
    shuffled = list(column)
    random.shuffle(shuffled)
    assert msgspec.json.encode(_build(column)) == msgspec.json.encode(_build(shuffled))


def test_zeros_of_both_signs_in_any_order_are_the_same_reference():
    zeros = [0.0] * 9 + [-0.0]
    built = {msgspec.json.encode(_build(column)) for column in (zeros, zeros[::-1], [0.0] * 10)}
    assert len(built) == 1


def test_bins_of_a_continuous_feature_weigh_the_same():
    amounts = np.random.default_rng(1).lognormal(8, 1.4, 18_000)
    inner = _build(amounts).features[0].counts[1:-1]
    assert inner == [1000] * 18


def test_a_heavy_value_costs_one_bin_and_the_tail_keeps_the_others():
    counts = np.concatenate([np.zeros(9_700), np.arange(1, 301)])
    feature = _build(counts).features[0]
    assert feature.edges[1] == 0.0
    assert feature.counts[1] == 9_700
    assert len(feature.counts) == MAX_BINS
    assert max(feature.counts[2:-1]) <= 18


def test_few_values_have_a_bin_each():
    feature = _build([3.0, 1.0, 1.0, 2.0, 7.0]).features[0]
    assert feature.edges[1:] == [1.0, 2.0, 3.0, 7.0]
    assert feature.counts == [0, 2, 1, 1, 1, 0]


def test_a_constant_feature_notices_what_is_new():
    feature = _build([5.0] * 10).features[0]
    assert feature.counts == [0, 10, 0]
    assert bin_counts(np.array([4.9, 5.0, 5.1]), feature.edges).tolist() == [1, 1, 1]


def test_a_feature_without_values():
    feature = _build([math.nan] * 4).features[0]
    assert (feature.edges, feature.counts, feature.missing) == ([], [0], 4)
    assert (feature.mean, feature.std, feature.median) == (None, None, None)
    endless = _build([math.inf, -math.inf]).features[0]
    assert (endless.edges, endless.counts, endless.mean) == ([], [2], None)


def test_numbers_for_people():
    feature = _build([1.0, 2.0, 4.0, math.nan]).features[0]
    assert (feature.mean, feature.std, feature.median) == (2.33333, 1.24722, 2.0)


def test_the_refer_threshold_separates_exactly():
    scores = np.array([0.1, 0.2, 0.3, 0.3, 0.4, np.nan])
    reference = _build(np.zeros(6), scores=scores, refer_threshold=0.3)
    edge = reference.score.edges.index(np.nextafter(0.3, -1))
    assert sum(reference.score.counts[edge + 1 :]) == np.count_nonzero(scores >= 0.3)
    assert reference.score.missing == 1
    assert reference.scored == 5
    many = np.random.default_rng(1).beta(1, 30, 10_000)
    assert len(_build(many, scores=many, refer_threshold=0.2).score.counts) <= MAX_BINS


def test_rates_are_counted_where_they_are_known():
    reference = build_reference(
        ["x"],
        np.zeros((4, 1)),
        np.array([0.1, 0.9, 0.8, np.nan]),
        np.array([False, True, True, True]),
        np.array([0.0, 1.0, np.nan, np.nan]),
        unseen=np.array([0, 2, 1, 0]),
    )
    assert (reference.n, reference.referred, reference.unseen) == (4, 2, 2)
    assert (reference.labels, reference.frauds) == (2, 1)
    assert reference.window_noise is None
    assert reference.names == ["x"]


def test_labels_may_be_bool():
    flags = np.array([True, False, True])
    reference = build_reference(["x"], np.zeros((3, 1)), np.zeros(3), flags, flags)
    assert (reference.labels, reference.frauds) == (3, 2)


def test_noise_between_windows_of_training():
    rng = np.random.default_rng(5)
    days = np.repeat(np.arange(20), 500)
    steady = rng.normal(0, 1, len(days))
    seasonal = rng.normal(0, 1, len(days)) + (days % 2)
    scores = rng.random(len(days))
    reference = build_reference(
        ["steady", "seasonal"],
        np.column_stack([steady, seasonal]),
        scores,
        scores > 0.9,
        event_times_ms=days * 1_000,
        window_ms=1_000,
    )
    noise = reference.window_noise
    assert noise is not None
    assert (noise.window_ms, noise.windows) == (1_000, 20)
    assert noise.features[0] < 0.05 < 0.2 < noise.features[1]
    assert noise.score < 0.05
    assert 0 < noise.referral_ratio < 0.1


def test_noise_needs_enough_windows():
    times = np.repeat(np.arange(4), 500) * 1_000
    reference = _build(np.arange(2_000.0), event_times_ms=times, window_ms=1_000)
    assert reference.window_noise is None


def test_scores_of_few_rows_leave_the_noise_of_features_alone():
    times = np.repeat(np.arange(6), 500) * 1_000
    scores = np.where(np.arange(3_000) < 400, 0.5, np.nan)
    noise = _build(np.arange(3_000.0) % 500, scores=scores, event_times_ms=times, window_ms=1_000)
    assert noise.window_noise is not None
    assert (noise.window_noise.score, noise.window_noise.referral_ratio) == (0.0, 0.0)


def test_json_there_and_back():
    reference = _build([1.0, 2.0, math.nan], refer_threshold=0.5)
    document = msgspec.json.encode(reference)
    assert read_reference(document) == reference
    assert read_reference(msgspec.Raw(document)) == reference
    assert read_reference(msgspec.to_builtins(reference)) == reference
    assert isinstance(reference, Reference)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("edges", [2.0, 1.0, 3.0], "damaged"),
        ("edges", [1.0], "damaged"),
        ("counts", ["many"], "not a drift reference"),
    ],
)
def test_a_damaged_reference_is_refused(path, value, what):
    tree = msgspec.to_builtins(_build([1.0, 2.0]))
    tree["features"][0][path] = value
    with pytest.raises(ModelError, match=what):
        read_reference(tree)


def test_bytes_that_are_no_json_are_refused():
    with pytest.raises(ModelError, match="not a drift reference"):
        read_reference(b"{")


@pytest.mark.parametrize(
    ("names", "matrix", "scores", "referred"),
    [
        (["a"], np.zeros((2, 2)), np.zeros(2), np.zeros(2, bool)),
        (["a", "a"], np.zeros((2, 2)), np.zeros(2), np.zeros(2, bool)),
        (["a", "b"], np.zeros((2, 2)), np.zeros(3), np.zeros(2, bool)),
        (["a", "b"], np.zeros((2, 2)), np.zeros(2), np.zeros(1, bool)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(names, matrix, scores, referred):
    with pytest.raises(ModelError):
        build_reference(names, matrix, scores, referred)
