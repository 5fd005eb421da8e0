"""Sums and differences of tiles."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimtrace.errors import ModelError, StateError
from monitoring.windows.tile import Tile, merge, subtract

COUNT = st.integers(0, 10**12)


def _tiles(window_from_ms, window_to_ms):
    return st.builds(
        Tile,
        model=st.just("demo/1"),
        window_from_ms=st.just(window_from_ms),
        window_to_ms=st.just(window_to_ms),
        n=COUNT,
        counts=st.tuples(
            st.lists(COUNT, min_size=3, max_size=3), st.lists(COUNT, min_size=1, max_size=1)
        ).map(list),
        missing=st.lists(COUNT, min_size=2, max_size=2),
        score_counts=st.lists(COUNT, min_size=2, max_size=2),
        **dict.fromkeys(
            ("unscored", "referred", "unseen", "unseen_values", "late", "labels", "frauds"), COUNT
        ),
    )


@given(_tiles(0, 10), _tiles(10, 20), _tiles(20, 30))
def test_merging_is_a_sum(a, b, c):
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(merge(c, a), b)
    both = merge(a, b)
    assert (both.window_from_ms, both.window_to_ms) == (0, 20)
    assert (both.n, both.late, both.frauds) == (a.n + b.n, a.late + b.late, a.frauds + b.frauds)


@given(_tiles(0, 10), _tiles(10, 20), _tiles(20, 30))
def test_a_sliding_window_is_plus_the_new_minus_the_old(a, b, c):
    assert subtract(merge(a, b), b) == a
    assert subtract(merge(a, b), a) == b
    assert subtract(merge(merge(a, b), c), a) == merge(b, c)


@given(_tiles(0, 10), _tiles(0, 10))
def test_a_partition_share_leaves_the_window(a, b):
    assert subtract(merge(a, b), b) == a


@given(_tiles(0, 10))
def test_json_there_and_back(tile):
    assert msgspec.json.decode(msgspec.json.encode(tile), type=Tile) == tile


def _tile(**fields):
    plain = {
        "model": "demo/1",
        "window_from_ms": 0,
        "window_to_ms": 10,
        "n": 1,
        "counts": [[1, 0]],
        "missing": [0],
        "score_counts": [1, 0],
    }
    return Tile(**(plain | fields))


@pytest.mark.parametrize(
    "other", [{"model": "demo/2"}, {"counts": [[1, 0, 0]]}, {"score_counts": [1]}]
)
def test_tiles_of_different_models_have_no_sum(other):
    with pytest.raises(ModelError, match="can't be combined"):
        merge(_tile(), _tile(**other))


@pytest.mark.parametrize("other", [{"n": 2}, {"counts": [[0, 1]]}, {"frauds": 1}, {"missing": [1]}])
def test_what_is_not_a_part_is_refused(other):
    with pytest.raises(StateError, match="doesn't contain"):
        subtract(_tile(), _tile(**other))
