"""Mitigations: what they make independent, and that made-up frauds are possible claims."""

from __future__ import annotations

import numpy as np
import pytest

from featurestore.definitions import Facet
from training.bias.mitigation import (
    SMOTE_SHARE,
    balanced,
    blanked,
    proxies_of,
    reweighed,
    smote,
)
from training.fitting.fitters import Rows

FEATURES = ["female", "male", "amount", "count", "state_a", "state_b", "shoe_size"]


@pytest.fixture
def drawn() -> tuple[Rows, np.ndarray]:
    """Claims of women, men and others; frauds are rarer among women; amounts may be missing."""
    rng = np.random.default_rng(4)
    sides = rng.choice([0, 1, -1], 3000, p=[0.6, 0.3, 0.1])
    labels = rng.random(3000) < np.where(sides == 1, 0.03, 0.08)
    state = rng.integers(0, 2, 3000)
    amount = rng.lognormal(8, 1, 3000)
    amount[rng.random(3000) < 0.1] = np.nan
    columns = [sides == 1, sides == 0, amount, rng.integers(0, 9, 3000), state == 0, state == 1,
               40 - 3 * (sides == 1) + rng.normal(size=3000)]  # fmt: skip
    return Rows(np.column_stack(columns).astype(float), labels), sides


def weight(rows: Rows, where: np.ndarray) -> float:
    weights = np.ones(len(rows.labels)) if rows.weights is None else rows.weights
    return float(weights[where].sum())


def test_reweighing_makes_side_and_verdict_independent(drawn):
    rows, sides = drawn
    found = reweighed(rows, sides)
    assert found.matrix is rows.matrix
    shares = [
        weight(found, found.labels & (sides == side)) / weight(found, sides == side)
        for side in (0, 1)
    ]
    inside = sides >= 0
    assert shares == pytest.approx([rows.labels[inside].mean()] * 2)
    assert weight(found, inside) == pytest.approx(inside.sum())
    assert set(found.weights[~inside]) == {1.0}


def test_a_balanced_draw_does_the_same_by_whole_claims(drawn):
    rows, sides = drawn
    found = balanced(rows, sides, seed=1)
    assert found.weights is None
    women = found.matrix[:, 0] == 1
    men = found.matrix[:, 1] == 1
    assert found.labels[women].mean() == pytest.approx(found.labels[men].mean(), abs=0.002)
    assert abs(len(found.labels) - len(rows.labels)) <= 4
    again, other = balanced(rows, sides, seed=1), balanced(rows, sides, seed=2)
    assert np.array_equal(found.matrix, again.matrix, equal_nan=True)
    assert not np.array_equal(found.matrix, other.matrix, equal_nan=True)


def test_made_up_frauds_are_possible_claims_and_of_no_group_more_than_before(drawn):
    rows, _ = drawn
    found = smote(rows, seed=1)
    assert found.labels.mean() == pytest.approx(SMOTE_SHARE, abs=0.001)
    assert np.array_equal(found.matrix[:3000], rows.matrix, equal_nan=True)
    made = found.matrix[3000:]
    assert found.labels[3000:].all()
    for first, second in ((0, 1), (4, 5)):
        pairs = set(map(tuple, made[:, [first, second]].tolist()))
        assert pairs <= set(map(tuple, rows.matrix[:, [first, second]].tolist()))
    assert set(made[:, 3]) <= set(range(9))
    frauds = rows.matrix[rows.labels]
    amounts = made[:, 2][~np.isnan(made[:, 2])]
    assert np.nanmin(frauds[:, 2]) <= amounts.min() <= amounts.max() <= np.nanmax(frauds[:, 2])
    assert len(np.unique(amounts)) > 1.5 * len(frauds)
    assert made[:, 0].mean() == pytest.approx(frauds[:, 0].mean(), abs=0.05)


def test_enough_frauds_need_no_more(drawn):
    rows, _ = drawn
    many = Rows(rows.matrix[:10], np.arange(10) % 2 == 0)
    assert smote(many, seed=1) is many


def test_proxies_give_the_facet_away(drawn):
    rows, sides = drawn
    facet = Facet("women", feature="female", against="male")
    assert proxies_of(facet, FEATURES, rows.matrix, sides) == ["shoe_size"]
    alone = Facet("women", feature="female")
    assert proxies_of(alone, FEATURES, rows.matrix, sides) == ["male", "shoe_size"]


def test_a_blanked_feature_is_missing_everywhere_and_nothing_else_is(drawn):
    rows, _ = drawn
    found = blanked(rows.matrix, FEATURES, ["amount"])
    assert np.isnan(found[:, 2]).all()
    kept = [0, 1, 3, 4, 5, 6]
    assert np.array_equal(found[:, kept], rows.matrix[:, kept])
    assert not np.isnan(rows.matrix[:, 2]).all()
