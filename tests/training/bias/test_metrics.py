"""Bias metrics: values computed by hand, by a slow oracle, and by fairlearn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.naive_bias import Row, bias, flip_test
from tests.worlds.bias_tables import A_SIDE, D_SIDE, table_of
from training.bias.counts import Cells, count_table
from training.bias.measure import flip_measure
from training.bias.metrics import AFTER, BEFORE, METRICS
from training.bias.neighbours import MOST_FACET, flips, nearest, percentiles

BY_HAND = {
    "CI": (100 - 50) / 150,
    "DPL": 90 / 100 - 40 / 50,
    "KL": 0.9 * math.log(0.9 / 0.8) + 0.1 * math.log(0.1 / 0.2),
    "JS": (0.9 * math.log(0.9 / 0.85) + 0.1 * math.log(0.1 / 0.15)
           + 0.8 * math.log(0.8 / 0.85) + 0.2 * math.log(0.2 / 0.15)) / 2,
    "LP": math.sqrt(0.02),
    "TVD": 0.1,
    "KS": 0.1,
    "DPPL": 84 / 100 - 32 / 50,
    "DI": 0.64 / 0.84,
    "RR": 0.36 / 0.16,
    "HRR": (10 / 40) / (10 / 90),
    "DCA": 90 / 84 - 40 / 32,
    "DCR": 10 / 18 - 10 / 16,
    "SD": 8 / 10 - 6 / 10,
    "RD": 80 / 90 - 30 / 40,
    "DAR": 80 / 84 - 30 / 32,
    "DRR": 8 / 18 - 6 / 16,
    "AD": 86 / 100 - 38 / 50,
    "TE": 10 / 2 - 10 / 4,
    "GE": (124 * (150 / 136) ** 2 + 6 * (300 / 136) ** 2 - 150) / 300,
}  # fmt: skip


@pytest.mark.parametrize("code", BY_HAND)
def test_values_by_hand(code):
    found = METRICS[code].of(Cells(table_of(A_SIDE, D_SIDE)))
    assert found == pytest.approx(BY_HAND[code], abs=1e-12)


def test_disparity_within_subgroups_by_hand():
    table = np.zeros((2, 2, 3, 2), np.int64)
    table[0, :, :2, 0] = [(50, 5), (40, 5)]
    table[1, :, :2, 0] = [(10, 5), (30, 5)]
    by_hand = (70 * (5 / 10 - 10 / 60) + 80 * (5 / 10 - 30 / 70)) / 150
    assert METRICS["CDDL"].of(Cells(table)) == pytest.approx(by_hand, abs=1e-12)
    turned = np.moveaxis(table, 3, 2)[..., :2]
    outcomes = np.zeros_like(table)
    outcomes[:, :, 0] = turned[:, :, 0]
    assert METRICS["CDDPL"].of(Cells(outcomes)) == pytest.approx(by_hand, abs=1e-12)


def test_simpsons_paradox_is_seen():
    """Over all claims the group is referred more often; within each subgroup it is not."""
    table = np.zeros((2, 2, 3, 2), np.int64)
    table[0, :, 0] = [(900, 100), (50, 50)]
    table[1, :, 0] = [(90, 10), (500, 500)]
    cells = Cells(table)
    assert METRICS["DPPL"].of(cells) > 0.2
    assert METRICS["CDDPL"].of(cells) == pytest.approx(0)


def test_every_documented_metric_is_there():
    assert [each.code for each in BEFORE] == ["CI", "DPL", "KL", "JS", "LP", "TVD", "KS", "CDDL"]
    clarify = {
        "DPPL",
        "DI",
        "DCA",
        "DCR",
        "RD",
        "DAR",
        "DRR",
        "AD",
        "CDDPL",
        "TE",
        "FT",
        "GE",
        "SD",
    }
    assert set(METRICS) - {each.code for each in BEFORE} == {*clarify, "RR", "HRR"}


ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from("ad"),
        st.integers(0, 2),
        st.sampled_from([None, 0, 1]),
        st.integers(0, 1),
    ),
    max_size=40,
)


def table_of_rows(rows: list[Row]) -> np.ndarray:
    labels = [math.nan if row.label is None else 1.0 - row.label for row in rows]
    return count_table(
        np.array([int(row.side == "d") for row in rows], np.int64),
        np.array([row.group for row in rows], np.int64),
        np.array(labels),
        np.array([row.outcome == 0 for row in rows], np.bool_),
    )


@settings(max_examples=150)
@given(ROWS)
def test_counts_give_what_rows_give(rows):
    expected, cells = bias(rows), Cells(table_of_rows(rows))
    for metric in (*BEFORE, *AFTER):
        assert metric.of(cells) == pytest.approx(expected[metric.code], abs=1e-9, nan_ok=True), (
            metric.code
        )


@settings(max_examples=20)
@given(st.lists(ROWS, min_size=2, max_size=3))
def test_many_tables_at_once_give_what_each_gives(several):
    several = [[*rows, Row("d", 2, 1, 1)] for rows in several]  # three subgroups in each
    tables = [table_of_rows(rows) for rows in several]
    for metric in (*BEFORE, *AFTER):
        together = metric.of(Cells(np.stack(tables)))
        alone = [float(metric.of(Cells(table))) for table in tables]
        assert together.tolist() == pytest.approx(alone, nan_ok=True)


def test_fairlearn_gives_the_same():
    from fairlearn.metrics import (
        MetricFrame,
        demographic_parity_difference,
        demographic_parity_ratio,
        equalized_odds_difference,
        selection_rate,
        true_negative_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score, precision_score

    rng = np.random.default_rng(5)
    side = rng.integers(0, 2, 400)
    legit = rng.random(400) < 0.8 - 0.2 * side
    passed = np.where(rng.random(400) < 0.7, legit, rng.random(400) < 0.6)
    table = count_table(side, None, 1.0 - legit, ~passed)
    found = {code: float(metric.of(Cells(table))) for code, metric in METRICS.items()}
    frame = MetricFrame(
        metrics={
            "passed": selection_rate, "recall": true_positive_rate,
            "specificity": true_negative_rate, "accuracy": accuracy_score,
            "precision": precision_score,
        },
        y_true=legit, y_pred=passed, sensitive_features=side,
    ).by_group  # fmt: skip
    for code, name, sign in (
        ("DPPL", "passed", 1), ("RD", "recall", 1), ("SD", "specificity", -1),
        ("AD", "accuracy", 1), ("DAR", "precision", 1),
    ):  # fmt: skip
        gap = float(frame[name][0] - frame[name][1])
        assert found[code] == pytest.approx(sign * gap, abs=1e-12), code
    assert found["DI"] == pytest.approx(float(frame["passed"][1] / frame["passed"][0]))
    given_ = {"y_true": legit, "y_pred": passed, "sensitive_features": side}
    assert abs(found["DPPL"]) == pytest.approx(demographic_parity_difference(**given_))
    ratio = min(found["DI"], 1 / found["DI"])
    assert ratio == pytest.approx(demographic_parity_ratio(**given_))
    odds = max(abs(found["RD"]), abs(found["SD"]))
    assert odds == pytest.approx(equalized_odds_difference(**given_))


# -- the flip test ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_flips_equal_the_oracle(others, inside, seed):
    rng = np.random.default_rng(seed)
    sides = rng.permutation(np.repeat([0, 1], [others, inside]))
    matrix = rng.integers(0, 4, (others + inside, 3)).astype(float)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    referred = rng.random(others + inside) < 0.5
    # the claims stand backwards among twice as many of another matrix, with a column of the facet
    rows = np.arange(2 * len(sides))[::-2]
    larger = np.full((2 * len(sides), 4), 7.0)
    larger[np.ix_(rows, [0, 1, 3])] = matrix
    counts = flips(sides, referred, larger, rows, np.array([0, 1, 3]))
    names = ["ad"[side] for side in sides]
    assert counts.sum() == inside
    expected = flip_test(names, matrix.tolist(), (~referred).tolist())
    assert (counts[0] - counts[1]) / inside == pytest.approx(expected)


def test_flips_have_the_documented_sign():
    """A referred member of the group whose neighbours pass is a flip against the group: +1."""
    sides = np.array([0] * 10 + [1])
    matrix = np.zeros((11, 1))
    referred = np.array([False] * 10 + [True])
    all_of = (matrix, np.arange(11), np.array([0]))
    assert flips(sides, referred, *all_of).tolist() == [1, 0, 0]
    assert flips(sides, ~referred, *all_of).tolist() == [0, 1, 0]
    measured = flip_measure(np.array([1, 0, 0]), table_of(A_SIDE, D_SIDE), seed=1)
    assert measured.value == 1.0


def test_a_large_group_is_sampled_and_the_nearest_are_exact():
    rng = np.random.default_rng(3)
    sides = np.repeat([0, 1], [50, MOST_FACET + 500])
    matrix, referred = rng.normal(size=(len(sides), 2)), rng.random(len(sides)) < 0.5
    counts = flips(sides, referred, matrix, np.arange(len(sides)), np.arange(2))
    assert counts.sum() == MOST_FACET
    points = percentiles(rng.normal(size=(600, 4)))
    near = nearest(points, points, 3, own=np.arange(600))
    for row in (0, 300, 599):
        distances = ((points - points[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        assert set(near[row]) == set(np.lexsort((np.arange(600), distances))[:3])
