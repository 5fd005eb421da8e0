"""The AWS example's claims through the whole line: its transforms row by row, and its quality."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.line import Line
from claimtrace_examples.auto_claims import DOMAIN
from models.kernels.forest import Forest
from tests.worlds.aws_claims import CLAIM_COLUMNS, CUSTOMER_COLUMNS, published, read_draw, write_log
from tests.worlds.real_data import BESIDE, needs
from training.evaluation.metrics import auc, average_precision
from training.fitting.fitters import FITTERS, Rows, silent

DATA = BESIDE / "aws-auto-claims"
PARTITIONS = 4
POLICIES, FRAUDS = 5_000, {1: 164, 2: 136}
FOLDS, FOLD_SEEDS = 5, (0, 1)

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    needs("aws-auto-claims"),
]


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """Both draws in one stream, and what it counted."""
    line = Line.open(
        tmp_path_factory.mktemp("aws"), DOMAIN, partitions=PARTITIONS, lateness_days=30
    )
    records = write_log({draw: read_draw(DATA, draw) for draw in FRAUDS}, line.log, PARTITIONS)
    assert records == 3 * 2 * POLICIES
    yield line, line.run().counts
    line.close()


@pytest.fixture(scope="module")
def rows(streamed):
    """Draw, policy, label and served vector of each claim, from the offline store."""
    line, _ = streamed
    found = line.offline().sql(
        "SELECT d.claim_id, d.features, l.is_fraud FROM decisions d JOIN labels l USING (claim_id)"
        " ORDER BY d.claim_id"
    )
    ids = [claim_id.split("-") for claim_id in found["claim_id"].to_pylist()]
    matrix = found["features"].combine_chunks().values.to_numpy()
    return (
        np.array([int(draw) for _, draw, _ in ids]),
        np.array([int(policy) for _, _, policy in ids]),
        np.array(found["is_fraud"].to_pylist(), np.bool_),
        matrix.reshape(len(ids), -1),
    )


def test_every_event_is_taken(streamed, rows):
    _, counts = streamed
    draws, _, frauds, _ = rows
    assert (counts.claims, counts.changes, counts.labels) == (10_000, 10_000, 10_000)
    assert counts.dead == counts.duplicates == counts.late == counts.unmatched_labels == 0
    assert {draw: int(frauds[draws == draw].sum()) for draw in FRAUDS} == FRAUDS


@pytest.mark.parametrize("draw", [1, 2])
@pytest.mark.parametrize("columns", [CLAIM_COLUMNS, CUSTOMER_COLUMNS], ids=["claims", "customers"])
def test_served_inputs_equal_the_published_transforms(rows, draw, columns):
    draws, policies, _, matrix = rows
    assert len(columns) in (28, 17)
    places = [DOMAIN.feature_names.index(name) for name in columns]
    expected = published(DATA, draw, columns)
    mine = draws == draw
    equal = [
        tuple(vector) == expected[policy]
        for policy, vector in zip(
            policies[mine].tolist(), matrix[mine][:, places].tolist(), strict=True
        )
    ]
    assert (sum(equal), len(equal), len(expected)) == (POLICIES, POLICIES, POLICIES)


def test_quality_by_policy(rows):
    """Mean over folds: not below what the signal allows, and not above, which would be a leak."""
    inputs = [DOMAIN.feature_names.index(name) for name in CLAIM_COLUMNS + CUSTOMER_COLUMNS]
    _, policies, frauds, matrix = rows
    for name, columns in (("45 inputs", inputs), ("all 79", list(range(matrix.shape[1])))):
        area, precision = cross_validated(matrix[:, columns], frauds, policies)
        print(f"\n{name}: AUC {area:.4f}, average precision {precision:.4f}")
        assert 0.80 <= area < 0.86, name
        assert precision >= 0.12, name


def cross_validated(matrix, frauds, policies):
    """Mean AUC and average precision of the test folds, over two ways to deal out the policies.

    All claims of a policy, of both draws, are in one fold. Of each round one fold tests, the next
    one tells the default fitter when to stop, as the calibration time does in a training.
    """
    measured = []
    for seed in FOLD_SEEDS:
        dealt = np.random.default_rng(seed).permutation(POLICIES + 1) % FOLDS
        folds = dealt[policies]
        for fold in range(FOLDS):
            test, stop = folds == fold, folds == (fold + 1) % FOLDS
            fit = ~test & ~stop
            fitted = FITTERS["xgboost"](
                Rows(matrix[fit], frauds[fit]), Rows(matrix[stop], frauds[stop]), {}, 0, silent
            )
            forest = Forest.from_xgboost_json(fitted.model_json)
            margins = forest.margins(np.ascontiguousarray(matrix[test]))
            measured.append((auc(frauds[test], margins), average_precision(frauds[test], margins)))
    return np.mean(measured, axis=0).tolist()
