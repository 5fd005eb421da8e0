"""The first weeks of the handbook's payments: every feature of every payment equals the oracle's.

All of the payments and the published table are in `test_handbook`, of the long suite.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.line import Line
from claimtrace_examples.card_payments import DOMAIN
from tests.worlds.handbook import (
    DAY_S,
    expected_features,
    read_transactions,
    served_vectors,
    write_log,
)
from tests.worlds.real_data import BESIDE, needs

DAYS, PARTITIONS = 24, 4

pytestmark = [pytest.mark.real, pytest.mark.slow, needs("handbook")]


def test_features_of_the_first_weeks_equal_the_oracle(tmp_path):
    every = read_transactions(BESIDE / "handbook")
    payments = every[every.second < every.second.iloc[0] + DAYS * DAY_S].reset_index(drop=True)
    line = Line.open(tmp_path, DOMAIN, partitions=PARTITIONS, remember_days=40)
    write_log(payments, line.log, PARTITIONS)
    counts = line.run().counts
    served, expected = served_vectors(line.offline(), payments), expected_features(payments)
    line.close()
    assert counts.claims == len(payments) > 200_000
    assert counts.dead == counts.duplicates == counts.late == counts.unmatched_labels == 0
    assert np.any(expected[:, -1] > 0), "frauds of terminals are counted"
    assert np.array_equal(served, expected)
