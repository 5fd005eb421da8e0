"""The handbook's protocol: which rows train and test, and one model for each week."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.clock import DAY_MS
from tests.oracles import handbook_protocol
from tests.oracles.handbook_protocol import handbook_split, mean_of, prequential
from training.fitting.fitters import fit_xgboost


@given(
    st.lists(
        st.tuples(st.integers(-3, 25), st.integers(0, 8), st.booleans()), min_size=1, max_size=80
    )
)
def test_the_split_is_the_handbooks(events: list[tuple[int, int, bool]]) -> None:
    days, customers, labels = (np.array(column) for column in zip(*events, strict=True))
    train, test = handbook_split(days, customers, labels)
    assert train.tolist() == [row for row, event in enumerate(events) if 0 <= event[0] < 7]
    expected = []
    for row, (day, customer, _) in enumerate(events):
        known = {c for d, c, fraud in events if fraud and 0 <= d <= day - 8}
        if 14 <= day < 21 and customer not in known:
            expected.append(row)
    assert sorted(test.tolist()) == expected


def test_weeks_are_fitted_on_their_own_and_averaged() -> None:
    rng = np.random.default_rng(1)
    rows = 6000
    times = np.sort(rng.integers(0, 35 * DAY_MS, rows))
    labels = rng.random(rows) < 0.05
    matrix = rng.normal(size=(rows, 3)) * [1, 1000, 0] + 5
    matrix[:, 0] += 2 * labels
    customers = rng.integers(0, 3000, rows)
    weeks = prequential(
        matrix, times, customers, labels,
        train_starts_ms=[0, 7 * DAY_MS], fitter=fit_xgboost, k=10,
    )  # fmt: skip
    assert len(weeks) == 2
    for week in weeks:
        assert week.train_rows > 1000
        assert 0.75 < week.auc < 1
        assert 0 < week.card_precision <= week.card_precision_ceiling <= 1
    assert mean_of(weeks)[0] == (weeks[0].auc + weeks[1].auc) / 2


def test_the_example_in_the_docstring() -> None:
    found = doctest.testmod(handbook_protocol)
    assert (found.attempted, found.failed) == (2, 0)
