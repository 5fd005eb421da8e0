"""Clarify's published figures of the AWS example, before and after its mitigation, from counts.

The rows of the three runs aren't published, and the order in which they were joined isn't known, so
neither is the split. But the figures leave exactly one table of counts for each run, and these fit
the published claims and customers: see `COUNTS`. All figures follow from them but FT, which hangs
on the rows, and JS of the first run, whose formula was corrected between the runs: it took the
labels of all claims for P, where the documentation has the mean of Pa and Pd (amazon-sagemaker-
clarify, pull request 99 of February 2021).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from featurestore.definitions import Facet
from tests.worlds.bias_tables import table_of
from tests.worlds.real_data import BESIDE, needs
from training.bias.counts import Cells, count_table, sides_of
from training.bias.measure import measures
from training.bias.metrics import AFTER, BEFORE, METRICS

DATA = BESIDE / "aws-auto-claims"
pytestmark = [pytest.mark.real, needs("aws-auto-claims")]

COUNTS = {
    "before": ((2707, 0, 89, 0), (1187, 0, 17, 0)),
    "after": ((2707, 0, 88, 1), (2779, 0, 16, 1)),
    "report": ((2696, 0, 97, 0), (2775, 0, 18, 0)),
}
"""Men and women: legitimate passed and referred, frauds passed and referred, at threshold .5."""

PUBLISHED = {
    "before": {
        "CI": 0.398, "DPL": -0.017712, "KL": 0.0083235, "KS": 0.0177116, "TVD": 0.0177116,
        "LP": 0.0250480, "AD": -0.017712, "DAR": -0.017712, "DCA": -0.017712, "DI": 1.0,
        "DPPL": 0.0, "RD": 0.0, "TE": 0.0,
    },
    "after": {
        "CI": 0.0, "DPL": -0.025751, "JS": 0.0048775, "KL": 0.0272795, "KS": 0.0257511,
        "TVD": 0.0257511, "LP": 0.0364175, "AD": -0.025751, "DAR": -0.025760, "DCA": -0.025760,
        "DCR": -72.0, "DI": 1.0, "DPPL": 0.0, "DRR": 0.0, "RD": 0.0, "TE": 0.0,
    },
    "report": {
        "CI": 0.0, "DPL": -0.028285, "JS": 0.0054402, "KL": 0.0306181, "KS": 0.028285,
        "TVD": 0.028285, "LP": 0.040001, "AD": -0.028285, "DAR": -0.028285, "DCA": -0.028285,
        "DI": 1.0, "DPPL": 0.0, "RD": 0.0, "TE": 0.0,
    },
}  # fmt: skip
"""As rounded there. DCR and DRR of a model that refers nobody are 0 / 0, published as 0."""


@pytest.mark.parametrize("run", COUNTS)
def test_the_published_figures_follow_from_the_counts(run):
    cells = Cells(table_of(*COUNTS[run]))
    for code, published in PUBLISHED[run].items():
        assert float(METRICS[code].of(cells)) == pytest.approx(published, abs=6e-7), code


def test_the_first_run_had_another_formula_for_js():
    cells = Cells(table_of(*COUNTS["before"]))
    assert float(METRICS["JS"].of(cells)) == pytest.approx(0.0017918, abs=1e-7)
    shares = [np.array([2707, 89]) / 2796, np.array([1187, 17]) / 1204]
    of_all = np.array([3894, 106]) / 4000
    pooled = sum(float(np.sum(each * np.log(each / of_all))) for each in shares) / 2
    assert pooled == pytest.approx(0.0020438, abs=1e-7)


def test_the_counts_are_the_only_ones():
    """Of 2,796 men and 1,204 women no other numbers of frauds give the published DPL and KL.

    The numbers of men and women follow from CI, and from DCR over DPL after the mitigation, when
    there were as many women as men.
    """
    after = PUBLISHED["after"]
    assert round(after["DCR"] / after["DPL"]) == 2796
    assert PUBLISHED["before"]["CI"] == (2796 - 1204) / 4000
    men, women = np.arange(1, 2796)[:, None] / 2796, np.arange(1, 1204)[None] / 1204
    legit = (1 - men) * np.log((1 - men) / (1 - women))
    gaps = np.abs(women - men - PUBLISHED["before"]["DPL"])
    apart = np.abs(legit + men * np.log(men / women) - PUBLISHED["before"]["KL"])
    found = np.argwhere((gaps < 6e-7) & (apart < 6e-8)) + 1
    assert found.tolist() == [[89, 17]]


def test_the_counts_fit_the_published_claims():
    """Four fifths of the clean join: no more of any kind than it has, and its shares by chance."""
    claims = pd.read_csv(DATA / "claims_preprocessed.csv")
    joined = claims.merge(pd.read_csv(DATA / "customers_preprocessed.csv"), on="policy_id")
    features = ["customer_gender_female", "customer_gender_male"]
    facet = Facet("women", feature=features[0], against=features[1])
    sides = sides_of(facet, joined[features].to_numpy(float), features)
    whole = count_table(sides, None, joined.fraud.to_numpy(float), np.zeros(5000, np.bool_))
    drawn = table_of(*COUNTS["before"])
    assert drawn.sum() == 0.8 * whole.sum() == 4000
    for part, of in zip(drawn.ravel(), whole.ravel(), strict=True):
        assert part <= of
        assert abs(part - 0.8 * of) <= 4 * math.sqrt(0.8 * 0.2 * of)
    # The mitigation only made up women, 1,592 of them, and no fraud among them.
    after = np.sum(COUNTS["after"][1]) - np.sum(COUNTS["before"][1])
    assert after == 2796 - 1204
    assert np.sum(COUNTS["after"][1][2:]) == np.sum(COUNTS["before"][1][2:])


def test_the_published_check_says_nothing_and_we_say_so():
    for run in COUNTS:
        table = table_of(*COUNTS[run])
        states = {each.metric: each.state for each in measures((*BEFORE, *AFTER), table, seed=1)}
        for code in ("DPPL", "DI", "RD", "AD", "DRR", "TE", "DCR"):
            assert states[code] != "evaluated", (run, code)
        assert states["DPL"] == "evaluated"


@pytest.mark.parametrize(
    ("name", "dpl"), [("train.csv", -0.01779), ("upsampled_train.csv", -0.02442)]
)
def test_smote_on_the_facet_makes_the_shipped_data_more_unequal(name, dpl):
    """The shipped training data, with rows of both draws: the same step backwards."""
    rows = pd.read_csv(DATA / name)
    sides = (rows.customer_gender_female == 1).to_numpy(np.int64)
    table = count_table(sides, None, rows.fraud.to_numpy(float), np.zeros(len(rows), np.bool_))
    assert float(METRICS["DPL"].of(Cells(table))) == pytest.approx(dpl, abs=1e-5)
