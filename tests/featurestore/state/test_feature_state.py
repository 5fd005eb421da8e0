"""Exactness: every feature of every claim equals the naive implementation in tests/oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace_examples.auto_claims import DOMAIN
from featurestore.state.intake import Intake
from tests.oracles.naive_features import naive_vectors
from tests.worlds.random_events import KEY, a_stream, as_facts, as_records

LATENESS_MS = 30 * 86_400_000
REMEMBER_MS = 400 * 86_400_000


def served(records: list, borders: list[int], *, compacts: bool = False) -> np.ndarray:
    intake = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS)
    parts = []
    for low, high in zip([0, *borders], [*borders, len(records)], strict=True):
        parts.append(intake.take(records[low:high]).vectors.matrix)
        if compacts:
            for _ in intake.compaction():
                pass
    return np.concatenate(parts)


def differing(want: np.ndarray, got: np.ndarray) -> list:
    same = (want == got) | (np.isnan(want) & np.isnan(got))
    names = DOMAIN.feature_names
    return [(int(i), names[j], want[i, j], got[i, j]) for i, j in np.argwhere(~same)[:10]]


@given(seed=st.integers(0, 2**32), size=st.integers(1, 120), data=st.data())
@settings(max_examples=60, deadline=None)
def test_features_equal_the_oracle_wherever_batches_end(seed, size, data):
    stream = a_stream(seed, size)
    borders = sorted(data.draw(st.lists(st.integers(0, size), max_size=6)))
    facts = as_facts(as_records(stream))
    want = np.array(naive_vectors(DOMAIN, stream, LATENESS_MS)).reshape(-1, len(DOMAIN.features))
    assert differing(want, served(facts, borders, compacts=data.draw(st.booleans()))) == []


@pytest.mark.slow
def test_a_long_stream_with_evictions_equals_the_oracle():
    stream = a_stream(7, 900)
    want = np.array(naive_vectors(DOMAIN, stream, LATENESS_MS))
    facts = as_facts(as_records(stream))
    assert differing(want, served(facts, list(range(50, 900, 50)), compacts=True)) == []


def test_restored_state_goes_on_as_if_nothing_had_happened():
    facts = as_facts(as_records(a_stream(11, 300)))
    whole = served(facts, [150])
    first = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS)
    first.take(facts[:150])
    second = Intake(DOMAIN, KEY, LATENESS_MS, REMEMBER_MS)
    second.restore({name: np.array(a) for name, a in first.arrays().items()})
    rest = second.take(facts[150:]).vectors.matrix
    assert differing(whole[-len(rest) :], rest) == []


@pytest.mark.parametrize("copies", [2, 3])
def test_duplicates_change_nothing(copies):
    facts = as_facts(as_records(a_stream(5, 100)))
    repeated = [fact for fact in facts for _ in range(copies)]
    assert differing(served(facts, []), served(repeated, [])) == []
