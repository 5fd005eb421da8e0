"""Mitigations on the AWS claims: quality where 5 % are referred, beside bias by gender."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featurestore.definitions import Facet
from models.kernels.forest import Forest
from tests.worlds.aws_claims import CLAIM_COLUMNS, CUSTOMER_COLUMNS, published
from tests.worlds.real_data import BESIDE, needs
from training.bias.counts import Cells, count_table, sides_of
from training.bias.metrics import METRICS
from training.bias.mitigation import balanced, blanked, reweighed, smote
from training.evaluation.metrics import auc, average_precision
from training.fitting.fitters import Rows, fit_xgboost, silent

DATA = BESIDE / "aws-auto-claims"
FEATURES = CLAIM_COLUMNS + CUSTOMER_COLUMNS
WOMEN = Facet("women", feature="customer_gender_female", against="customer_gender_male")
PARAMS = {"max_depth": 2, "reg_lambda": 10.0, "rounds": 150}
REFERRED, FOLDS, FOLD_SEEDS = 0.05, 5, (0, 1, 2)

pytestmark = [pytest.mark.real, pytest.mark.long, needs("aws-auto-claims")]


def both_draws() -> tuple[Rows, np.ndarray]:
    """Return the 10,000 clean rows of claim and customer, and their policies."""
    vectors, frauds, policies = [], [], []
    for draw, name in ((1, "claims.csv"), (2, "claims_preprocessed.csv")):
        claims, customers = (published(DATA, draw, c) for c in (CLAIM_COLUMNS, CUSTOMER_COLUMNS))
        is_fraud = pd.read_csv(DATA / name).set_index("policy_id").fraud
        for policy in sorted(claims):
            vectors.append(claims[policy] + customers[policy])
            frauds.append(is_fraud[policy] == 1)
            policies.append(policy)
    return Rows(np.array(vectors), np.array(frauds, np.bool_)), np.array(policies)


def judged(learned: Rows, test: Rows, left: list[str]) -> list[float]:
    """Return average precision, AUC, recall, DPPL, DI and HRR of a fit on the test rows."""
    matrix = blanked(test.matrix, FEATURES, left)
    forest = Forest.from_xgboost_json(fit_xgboost(learned, None, PARAMS, 7, silent).model_json)
    margins = forest.margins(np.ascontiguousarray(matrix))
    referred = np.zeros(len(margins), np.bool_)
    referred[np.argsort(-margins, kind="stable")[: int(REFERRED * len(margins))]] = True
    sides = sides_of(WOMEN, test.matrix, FEATURES)
    cells = Cells(count_table(sides, None, test.labels * 1.0, referred))
    return [
        average_precision(test.labels, margins), auc(test.labels, margins),
        float(np.sum(test.labels & referred) / np.sum(test.labels)),
        *(float(METRICS[code].of(cells)) for code in ("DPPL", "DI", "HRR")),
    ]  # fmt: skip


def test_leaving_the_gender_out_levels_referrals_at_no_cost_within_the_capacity():
    rows, policies = both_draws()
    found: dict[str, list[list[float]]] = {}
    for seed in FOLD_SEEDS:
        folds = (np.random.default_rng(seed).permutation(policies.max() + 1) % FOLDS)[policies]
        for fold in range(FOLDS):
            held = folds == fold
            test = Rows(rows.matrix[held], rows.labels[held])
            train = Rows(rows.matrix[~held], rows.labels[~held])
            sides, own = sides_of(WOMEN, train.matrix, FEATURES), list(WOMEN.own_features)
            for name, learned, left in (
                ("as judged", train, []),
                ("SMOTE of frauds", smote(train, 7), []),
                ("reweighing", reweighed(train, sides), []),
                ("balanced draw", balanced(train, sides, 7), []),
                ("without facet", Rows(blanked(train.matrix, FEATURES, own), train.labels), own),
            ):
                found.setdefault(name, []).append(judged(learned, test, left))
    means = {name: np.nanmean(values, axis=0) for name, values in found.items()}
    for name, values in means.items():
        print(f"{name:16}", *(f"{value:7.3f}" for value in values))
    plain, without = means["as judged"], means["without facet"]
    assert 0.8 < plain[4] < 1.25  # DI says nothing here,
    assert plain[5] < 0.5  # where honest men are referred three times as often
    assert 0.8 < without[5] < 1.5
    assert without[2] > plain[2] - 0.02
    assert means["SMOTE of frauds"][5] < plain[5]
    assert plain[1] - without[1] > 0.02
