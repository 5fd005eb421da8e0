"""Profiles equal a dictionary in which a put with an older event time changes nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.state.profiles import Profiles

OPERATIONS = st.lists(
    st.tuples(st.booleans(), st.integers(-1, 5), st.integers(-3, 3),
              st.tuples(st.sampled_from([np.nan, 0.0, 1.5]), st.floats(allow_nan=True))),
    max_size=40,
)  # fmt: skip


@given(operations=OPERATIONS, cut=st.integers(0, 40), grow=st.sampled_from([6, 5000]))
@settings(deadline=None)
def test_it_equals_a_dictionary(operations, cut, grow):
    profiles, stored, want = Profiles(2), {}, []
    for is_put, entity, at, values in operations:
        if is_put and entity >= 0 and (entity not in stored or at >= stored[entity][0]):
            stored[entity] = (at, values)
        known = not is_put and entity in stored
        want.append(stored[entity][1] if known else (np.nan, np.nan))
    found = []
    for part in (operations[:cut], operations[cut:]):
        found.append(
            profiles.run(
                np.array([p for p, _, _, _ in part], np.bool_),
                np.array([e for _, e, _, _ in part], np.int64),
                np.array([t for _, _, t, _ in part], np.int64),
                np.array([v for _, _, _, v in part], np.float64).reshape(-1, 2).T.copy(),
                grow,
            )
        )
        arrays = {name: np.array(array) for name, array in profiles.arrays().items()}
        profiles = Profiles(2)
        profiles.restore(arrays)
    columns = np.array(want, np.float64).reshape(-1, 2).T
    np.testing.assert_array_equal(np.concatenate(found, axis=1), columns)
