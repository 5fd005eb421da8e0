"""The drift test finds what drifted and only that, by layer, at any number of features."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from claimtrace.errors import ModelError
from monitoring.layers.drift import DriftPolicy, judge
from monitoring.layers.records import ABSENT, DRIFT, OK, TOO_FEW, DriftRecord
from monitoring.windows.reference import build_reference
from monitoring.windows.tile_book import TileBook

FEATURES = 40
NAMES = [f"f{number}" for number in range(FEATURES)]
THRESHOLD = 0.3


def _rows(rng, n):
    matrix = rng.lognormal(8, 1.4, (n, FEATURES))
    matrix[:, 1] = rng.integers(0, 4, n)
    matrix[rng.random(n) < 0.02, 2] = np.nan
    matrix[:, 3] = 7
    matrix[:, 4] = rng.random(n) < 0.01
    return matrix, rng.beta(1, 12, n)


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(1)
    matrix, scores = _rows(rng, 30_000)
    unseen = (rng.random(len(scores)) < 0.001).astype(np.int64)
    frauds = rng.random(len(scores)) < 0.05
    return build_reference(
        NAMES, matrix, scores, scores >= THRESHOLD, frauds, refer_threshold=THRESHOLD, unseen=unseen
    )


def _tile(reference, matrix, scores, unseen=None, outcomes=None):
    n = len(scores)
    book = TileBook(reference, "demo/1", 1_000, 0)
    unseen = np.zeros(n, np.int64) if unseen is None else unseen
    book.add(np.full(n, 5), matrix, scores, scores >= THRESHOLD, unseen)
    if outcomes is not None:
        book.add_outcomes(np.full(len(outcomes), 5), outcomes)
    return book.flush()


def _judge(reference, seed, n=2_000, change=lambda rng, matrix, scores: None, policy=None):
    rng = np.random.default_rng(seed)
    matrix, scores = _rows(rng, n)
    change(rng, matrix, scores)
    (tile,) = _tile(reference, matrix, scores)
    return judge(tile, reference, policy or DriftPolicy())


def _drifted(record):
    return [feature.feature for feature in record.inputs.features if feature.drifted]


def test_quiet_without_drift(reference):
    """Judge sixty windows of 121 tests each: at most one window in a hundred may show drift."""
    records = [_judge(reference, seed, n) for n in (200, 1_000, 5_000) for seed in range(20)]
    assert [record.state for record in records].count(DRIFT) <= 2
    assert sum(len(_drifted(record)) for record in records) <= 2


@pytest.mark.parametrize("n", [2_000, 20_000])
def test_inflation_is_found_and_nothing_else(reference, n):
    def inflate(rng, matrix, scores):
        matrix[:, 0] *= 1.4

    record = _judge(reference, 5, n, inflate)
    assert _drifted(record) == ["f0"]
    assert (record.state, record.inputs.state, record.score.state) == (DRIFT, DRIFT, OK)
    top = record.inputs.features[0]
    assert top.values.drifted
    assert not top.missing.drifted
    assert top.values.psi > top.values.psi_expected + top.values.psi_floor
    assert top.values.higher_ratio > 0.54
    assert top.strength >= 1


def test_a_ring_is_found_in_a_large_window(reference):
    def ring(rng, matrix, scores):
        matrix[: len(matrix) // 20, 5] *= 5

    assert _drifted(_judge(reference, 7, 20_000, ring)) == ["f5"]


def test_missing_values_are_found(reference):
    def lose(rng, matrix, scores):
        matrix[: len(matrix) // 10, 2] = np.nan

    record = _judge(reference, 8, 2_000, lose)
    assert _drifted(record) == ["f2"]
    missing = record.inputs.features[0].missing
    assert missing.drifted
    assert missing.ratio > 0.1 > 0.03 > missing.reference_ratio


@pytest.mark.parametrize(("feature", "value"), [(3, 8.0), (1, -1.0), (1, 9.0)])
def test_values_that_training_never_saw_are_found(reference, feature, value):
    def invent(rng, matrix, scores):
        matrix[: len(matrix) // 25, feature] = value

    record = _judge(reference, 9, 1_000, invent)
    assert _drifted(record) == [f"f{feature}"]
    assert record.inputs.features[0].outside.drifted
    assert record.inputs.features[0].outside.ratio == 0.04


def test_unseen_categories_are_found(reference):
    rng = np.random.default_rng(3)
    matrix, scores = _rows(rng, 1_000)
    (tile,) = _tile(reference, matrix, scores, (rng.random(1_000) < 0.05).astype(np.int64))
    record = judge(tile, reference)
    assert record.inputs.state == DRIFT
    assert record.inputs.unseen is not None
    assert record.inputs.unseen.drifted
    assert _drifted(record) == []


def test_the_score_layer_is_its_own(reference):
    def worse(rng, matrix, scores):
        scores *= 1.8

    record = _judge(reference, 4, 3_000, worse)
    assert (record.inputs.state, record.score.state) == (OK, DRIFT)
    assert record.score.values is not None
    assert record.score.values.drifted
    assert record.score.referral is not None
    assert record.score.referral.drifted
    assert record.score.referral.ratio > record.score.referral.reference_ratio


def test_a_difference_that_does_not_matter_is_no_drift(reference):
    """With enough rows every difference is significant; the floor decides whether it counts."""

    def slight(rng, matrix, scores):
        matrix[:, 0] *= 1.06

    record = _judge(reference, 6, 200_000, slight)
    values = next(f for f in record.inputs.features if f.feature == "f0").values
    assert values.p < 1e-4
    assert _drifted(record) == []
    strict = _judge(reference, 6, 200_000, slight, DriftPolicy(psi_floor=1e-5, rate_floor=1e-5))
    assert "f0" in _drifted(strict)


def test_too_few_rows_are_reported_without_a_verdict(reference):
    def ruin(rng, matrix, scores):
        matrix[:, 0] *= 100

    record = _judge(reference, 2, 150, ruin)
    states = (record.state, record.inputs.state, record.score.state, record.outcome.state)
    assert states == (TOO_FEW, TOO_FEW, TOO_FEW, ABSENT)
    assert _drifted(record) == []
    assert record.inputs.features[0].feature == "f0"
    assert record.inputs.features[0].values.psi > 1


@pytest.mark.parametrize(
    ("share", "count", "state"), [(0.05, 1_000, OK), (0.12, 1_000, DRIFT), (0.3, 60, TOO_FEW)]
)
def test_outcomes(reference, share, count, state):
    rng = np.random.default_rng(1)
    fraud = np.zeros(count, bool)
    fraud[: int(share * count)] = True
    matrix, scores = _rows(rng, 300)
    claims, outcomes = _tile(reference, matrix, scores, outcomes=fraud)
    assert judge(claims, reference).outcome.state == ABSENT
    record = judge(outcomes, reference)
    assert (record.inputs.state, record.score.state) == (ABSENT, ABSENT)
    assert (record.outcome.state, record.outcome.labels) == (state, count)
    assert record.state == state


def test_a_reference_without_labels_has_no_outcome_layer():
    flat = build_reference(["x"], np.zeros((9, 1)), np.zeros(9), np.zeros(9, bool))
    book = TileBook(flat, "demo/1", 10, 0)
    book.add_outcomes(np.zeros(500, np.int64), np.ones(500, bool))
    (tile,) = book.flush()
    assert judge(tile, flat).outcome.state == ABSENT


def test_ordinary_noise_between_windows_is_not_drift():
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(40), 500)
    wobble = rng.normal(0, 0.35, 40)[days]
    matrix = (rng.normal(0, 1, len(days)) + wobble)[:, None]
    scores = rng.random(len(days))
    given = {"event_times_ms": days * 1_000, "window_ms": 1_000}
    plain = build_reference(["x"], matrix, scores, scores > 0.9)
    noisy = build_reference(["x"], matrix, scores, scores > 0.9, **given)
    live = rng.normal(0.45, 1, (500, 1))
    verdicts = []
    for one in (plain, noisy):
        book = TileBook(one, "demo/1", 1_000, 0)
        some = rng.random(500)
        book.add(np.full(500, 3), live, some, some > 0.9, np.zeros(500, np.int64))
        (tile,) = book.flush()
        verdicts.append(judge(tile, one).inputs.state)
    assert verdicts == [DRIFT, OK]


def test_ranking_puts_the_strongest_first(reference):
    def several(rng, matrix, scores):
        matrix[:, 7] *= 2
        matrix[:, 9] *= 4
        matrix[:, 8] *= 1.5

    record = _judge(reference, 12, 5_000, several)
    assert _drifted(record) == ["f9", "f7", "f8"]
    assert record.inputs.drifted == 3
    assert len(record.inputs.features) == FEATURES


def test_a_record_is_json_with_short_numbers(reference):
    record = _judge(reference, 3)
    encoded = msgspec.json.encode(record)
    assert msgspec.json.decode(encoded, type=DriftRecord) == record
    assert encoded == msgspec.json.encode(_judge(reference, 3))
    values = msgspec.to_builtins(record)["inputs"]["features"][0]["values"]
    for name in ("psi", "psi_expected", "z", "p", "ks", "linf", "bin_ratio"):
        assert values[name] == float(f"{values[name]:.6g}")


def test_a_tile_of_another_reference_is_refused(reference):
    other = build_reference(["x"], np.zeros((9, 1)), np.zeros(9), np.zeros(9, bool))
    (tile,) = _tile(reference, *_rows(np.random.default_rng(1), 10))
    with pytest.raises(ModelError, match="another reference"):
        judge(tile, other)
