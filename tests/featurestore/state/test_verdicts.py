"""One verdict a claim: features over revised labels equal the oracle, in both editions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.editions import NEWEST, OLDEST
from claimtrace_examples.auto_claims import DOMAIN as AUTO_CLAIMS
from featurestore.definitions import Entity, outcomes, rate
from featurestore.state.intake import Intake
from tests.oracles.naive_features import naive_vectors
from tests.worlds.random_events import DAY_MS, KEY, a_stream, as_facts, as_records

LATENESS_MS = 30 * DAY_MS
REMEMBER_MS = 4000 * DAY_MS
SHOP = Entity("shop_of_verdicts", key="repair_shop_id")
DOMAIN = replace(
    AUTO_CLAIMS,
    features=(
        *AUTO_CLAIMS.features,
        rate("claims.fraud.rate", of=SHOP, window="90d"),
        outcomes("claims.frauds", of=SHOP, window="400d", delay="1d"),
        rate("labels.fraud.rate.ago", of=SHOP, window="60d", delay="2d", empty=-1.0,
             known="when the label arrived"),
    ),
)  # fmt: skip
"""With windows over claims too, whose entries get outcomes after they were inserted."""
LABELLED = [i for i, name in enumerate(DOMAIN.feature_names) if "fraud" in name]


def served(
    stream: list, borders: list[int], edition: int, upgraded_at: int, *, again: bool
) -> np.ndarray:
    """The vectors of a stream in batches; the newest edition begins at an index."""
    intake, parts = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS, edition), []
    facts = as_facts(as_records(stream))
    bounds = sorted({0, *borders, upgraded_at, len(facts)})
    for low, high in pairwise(bounds):
        if low == upgraded_at:
            intake.begin(NEWEST)
        parts.append(intake.take(facts[low:high]).vectors.matrix)
        if again:  # in another process, from a snapshot
            for _ in intake.compaction():
                pass
            arrays = {name: np.array(each) for name, each in intake.arrays().items()}
            intake = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS, edition)
            intake.restore(arrays)
            intake.begin(NEWEST if low >= upgraded_at else edition)
    return np.concatenate(parts)


def wanted(stream: list, edition: int, upgraded_at: int) -> np.ndarray:
    facts = [*stream[:upgraded_at], ("edition", NEWEST, 0, 0), *stream[upgraded_at:]]
    return np.array(naive_vectors(DOMAIN, facts, LATENESS_MS, edition))


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(5, 90),
    edition=st.sampled_from([OLDEST, NEWEST]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_revised_labels_equal_the_oracle_wherever_batches_end(seed, size, edition, data):
    stream = a_stream(seed, size, revised=True)
    borders = data.draw(st.lists(st.integers(0, size), max_size=5))
    upgraded_at = data.draw(st.integers(0, size))
    again = data.draw(st.booleans())
    got = served(stream, borders, edition, upgraded_at, again=again)
    np.testing.assert_array_equal(got, wanted(stream, edition, upgraded_at).reshape(got.shape))


@pytest.mark.parametrize("seed", range(3))
def test_revisions_tell_the_editions_apart(seed):
    """The streams above are worth something only if the two editions give other features."""
    stream = a_stream(seed, 200, revised=True)
    old, new = (wanted(stream, edition, len(stream)) for edition in (OLDEST, NEWEST))
    differs = ~((old == new) | (np.isnan(old) & np.isnan(new)))
    assert differs[:, LABELLED].any(axis=0).sum() > 4
    assert not np.delete(differs, LABELLED, axis=1).any()


def test_snapshots_of_edition_1_have_no_columns_that_it_does_not_need():
    intake = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS, OLDEST)
    before = set(intake.arrays())
    intake.begin(NEWEST)
    assert {name.rpartition("/")[2] for name in set(intake.arrays()) - before} == {
        "decided",
        "known",
    }
