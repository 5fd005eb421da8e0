"""Tiles against a row-by-row oracle; batch borders, order and restarts change nothing."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ConfigError, ModelError, StateError
from monitoring.windows.reference import build_reference
from monitoring.windows.tile_book import MAX_OPEN_WINDOWS, TileBook, merge
from tests.oracles.naive_drift import naive_outcome_tiles, naive_tiles, naive_verdict_tiles

_RNG = np.random.default_rng(11)
_TRAINING = np.column_stack(
    [_RNG.lognormal(3, 1, 400), _RNG.integers(0, 3, 400), np.full(400, 7.0), np.full(400, np.nan)]
)
_SCORES = _RNG.beta(1, 9, 400)
REFERENCE = build_reference(
    ["amount", "kind", "constant", "never"], _TRAINING, _SCORES, _SCORES > 0.3, refer_threshold=0.3
)
EDGES = [feature.edges for feature in REFERENCE.features]

VALUE = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([edge for edges in EDGES for edge in edges]),
    st.just(math.nan),
)
ROW = st.tuples(
    st.integers(1_000, 1_300),
    st.tuples(*[VALUE] * 4),
    st.one_of(st.floats(0, 1), st.just(math.nan), st.sampled_from(REFERENCE.score.edges)),
    st.booleans(),
    st.integers(0, 3),
)
ROWS = st.lists(ROW, max_size=60)
WINDOW = st.integers(1, 60)
LATENESS = st.integers(0, 60)


def _add(book, rows):
    times = np.array([row[0] for row in rows], dtype=np.int64)
    matrix = np.array([row[1] for row in rows], dtype=np.float64).reshape(len(rows), 4)
    scores = np.array([row[2] for row in rows], dtype=np.float64)
    referred = np.array([row[3] for row in rows], dtype=bool)
    unseen = np.array([row[4] for row in rows], dtype=np.int64)
    book.add(times, matrix, scores, referred, unseen)


def _book(window_ms, lateness_ms):
    return TileBook(REFERENCE, "demo/1", window_ms, lateness_ms)


def _bytes(arrays):
    return {name: array.tobytes() for name, array in arrays.items()}


@given(ROWS, WINDOW, LATENESS)
@settings(deadline=None)
def test_tiles_equal_the_oracle(rows, window_ms, lateness_ms):
    book = _book(window_ms, lateness_ms)
    _add(book, rows)
    lateness_ms = book.lateness_ms
    expected = naive_tiles(rows, EDGES, REFERENCE.score.edges, window_ms, lateness_ms)
    found = [msgspec.to_builtins(tile) for tile in book.close()]
    for tile, oracle in zip(found, expected, strict=True):
        assert {name: tile[name] for name in oracle} == oracle
        assert tile["window_to_ms"] - tile["window_from_ms"] == window_ms
        assert (tile["model"], tile["labels"], tile["frauds"]) == ("demo/1", 0, 0)
    assert book.watermark == (max(row[0] for row in rows) if rows else None)
    assert book.close() == []


@given(ROWS, WINDOW, LATENESS, st.lists(st.integers(0, 60), max_size=6))
@settings(deadline=None)
def test_batch_borders_leave_no_trace(rows, window_ms, lateness_ms, cuts):
    whole, parts = _book(window_ms, lateness_ms), _book(window_ms, lateness_ms)
    _add(whole, rows)
    tiles = []
    borders = [0, *sorted(cuts), len(rows)]
    for start, end in pairwise(borders):
        _add(parts, rows[start:end])
        tiles += parts.close()
    assert whole.close() == tiles
    assert _bytes(whole.arrays()) == _bytes(parts.arrays())


@given(ROWS, WINDOW, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_within_the_lateness_leaves_no_trace(rows, window_ms, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    books = _book(window_ms, 400), _book(window_ms, 400)
    # Rows spread over more time than short windows wait: then the order of rows matters.
    if books[0].lateness_ms < 300:
        return
    for book, some in zip(books, (rows, shuffled), strict=True):
        _add(book, some)
    assert [book.close() for book in books] == [[], []]
    assert books[0].flush() == books[1].flush()


@given(ROWS, WINDOW, LATENESS, st.integers(0, 60))
@settings(deadline=None)
def test_a_restored_book_continues_exactly(rows, window_ms, lateness_ms, cut):
    book = _book(window_ms, lateness_ms)
    _add(book, rows[:cut])
    book.add_outcomes(np.array([row[0] for row in rows[:cut]]), np.ones(len(rows[:cut]), bool))
    restored = TileBook.restore(REFERENCE, "demo/1", window_ms, lateness_ms, book.arrays())
    for one in (book, restored):
        _add(one, rows[cut:])
    assert _bytes(book.arrays()) == _bytes(restored.arrays())
    assert book.close() == restored.close()
    assert book.flush() == restored.flush()


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60), WINDOW, LATENESS)
@settings(deadline=None)
def test_outcomes_equal_the_oracle(rows, window_ms, lateness_ms):
    whole, parts = _book(window_ms, lateness_ms), _book(window_ms, lateness_ms)
    times = np.array([row[0] for row in rows], dtype=np.int64)
    fraud = np.array([row[1] for row in rows], dtype=bool)
    whole.add_outcomes(times, fraud)
    for i in range(len(rows)):
        parts.add_outcomes(times[i : i + 1], fraud[i : i + 1])
    tiles = whole.close()
    assert tiles == parts.close()
    assert _bytes(whole.arrays()) == _bytes(parts.arrays())
    expected = naive_outcome_tiles(rows, window_ms, whole.lateness_ms)
    assert [(t.window_from_ms, t.labels, t.frauds, t.late) for t in tiles] == expected
    assert all(tile.n == 0 and not any(map(any, tile.counts)) for tile in tiles)


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.booleans(), st.integers(0, 5), st.booleans()),
        max_size=60,
    ),
    WINDOW,
    LATENESS,
)
@settings(deadline=None)
def test_one_verdict_a_claim_equals_the_oracle(rows, window_ms, lateness_ms):
    whole, parts = _book(window_ms, lateness_ms), _book(window_ms, lateness_ms)
    columns = [np.array([row[i] for row in rows], kind) for i, kind in enumerate((int, bool) * 2)]
    whole.add_outcomes(*columns)
    tiles = []
    for i in range(len(rows)):
        parts.add_outcomes(*(column[i : i + 1] for column in columns))
        arrays = {name: array.copy() for name, array in parts.arrays().items()}
        parts = TileBook.restore(REFERENCE, "demo/1", window_ms, lateness_ms, arrays)
        tiles += parts.close()
    assert tiles == whole.close()
    assert _bytes(whole.arrays()) == _bytes(parts.arrays())
    expected = naive_verdict_tiles(rows, window_ms, whole.lateness_ms)
    assert [(t.window_from_ms, t.labels, t.frauds, t.late) for t in tiles] == expected


@given(ROWS, st.lists(st.tuples(st.integers(1_000, 1_300), st.booleans()), max_size=30), WINDOW)
@settings(deadline=None)
def test_claims_and_outcomes_may_come_in_either_order(rows, outcomes, window_ms):
    times = np.array([row[0] for row in outcomes], dtype=np.int64)
    fraud = np.array([row[1] for row in outcomes], dtype=bool)
    first, second = _book(window_ms, 20), _book(window_ms, 20)
    _add(first, rows)
    first.add_outcomes(times, fraud)
    second.add_outcomes(times, fraud)
    _add(second, rows)
    assert sorted(first.close(), key=repr) == sorted(second.close(), key=repr)
    assert _bytes(first.arrays()) == _bytes(second.arrays())


@given(ROWS, st.integers(0, 60))
@settings(deadline=None)
def test_tiles_of_partitions_merge_to_the_whole(rows, cut):
    tiles = []
    for some in (rows, rows[:cut], rows[cut:]):
        book = _book(1_000, 0)
        _add(book, some)
        tiles.append(book.flush())
    whole, *parts = tiles
    merged = {}
    for tile in (tile for part in parts for tile in part):
        known = merged.get(tile.window_from_ms)
        merged[tile.window_from_ms] = tile if known is None else merge(known, tile)
    assert [merged[start] for start in sorted(merged)] == whole


def test_late_rows_are_counted_on_the_next_tile():
    row = ((1.0, 1.0, 7.0, math.nan), 0.1, False, 0)
    book = _book(10, 5)
    _add(book, [(t, *row) for t in (5, 14, 9, 15, 9, 9, 30, 40)])
    tiles = [(tile.window_from_ms, tile.n, tile.late) for tile in book.close()]
    # At 15 the window from 0 closes; both rows of time 9 after it are late.
    assert tiles == [(0, 2, 0), (10, 2, 2)]
    assert [(tile.window_from_ms, tile.late) for tile in book.flush()] == [(30, 0), (40, 0)]


def test_flush_closes_for_good():
    row = ((1.0, 1.0, 7.0, math.nan), 0.1, False, 0)
    book = _book(10, 100)
    _add(book, [(25, *row)])
    assert [tile.window_from_ms for tile in book.flush()] == [20]
    _add(book, [(26, *row), (31, *row)])
    assert [(tile.window_from_ms, tile.n, tile.late) for tile in book.flush()] == [(30, 1, 1)]
    assert _book(10, 0).flush() == []


def test_open_windows_are_bounded():
    row = ((1.0, 1.0, 7.0, math.nan), 0.1, False, 0)
    book = _book(10, 10**9)
    _add(book, [(10 * i, *row) for i in range(1_000)])
    assert len(book.close()) == 1_000 - MAX_OPEN_WINDOWS + 1
    assert book.arrays()["counts"].shape[0] == MAX_OPEN_WINDOWS
    assert len(book.flush()) == MAX_OPEN_WINDOWS - 1


def test_columns_of_any_layout_are_counted():
    rng = np.random.default_rng(2)
    matrix = np.asfortranarray(rng.random((50, 8)).astype(np.float32)[:, ::2])
    flags = rng.random(50) > 0.5
    books = _book(10, 0), _book(10, 0)
    for book, some in zip(books, (matrix, np.ascontiguousarray(matrix, np.float64)), strict=True):
        book.add(np.full(50, 3), some, rng.random(50) * 0, flags, np.zeros(50, np.int32))
    assert books[0].flush() == books[1].flush()


def test_pending_tiles_survive_a_restart():
    row = ((1.0, 1.0, 7.0, math.nan), 0.1, True, 2)
    book = _book(10, 0)
    _add(book, [(5, *row), (25, *row)])
    restored = TileBook.restore(REFERENCE, "demo/1", 10, 0, book.arrays())
    (tile,) = restored.close()
    assert (tile.referred, tile.unseen, tile.unseen_values, tile.missing[3]) == (1, 1, 2, 1)
    assert book.close() == [tile]


@pytest.mark.parametrize(
    ("label", "window_ms", "lateness_ms"), [("demo/2", 10, 0), ("demo/1", 11, 0), ("demo/1", 10, 9)]
)
def test_state_of_another_book_is_refused(label, window_ms, lateness_ms):
    arrays = _book(10, 0).arrays()
    with pytest.raises(StateError, match="another model"):
        TileBook.restore(REFERENCE, label, window_ms, lateness_ms, arrays)


def test_rows_of_other_definitions_are_refused():
    book = _book(10, 0)
    one = np.zeros(1)
    with pytest.raises(ModelError, match="other definitions"):
        book.add(np.zeros(1, np.int64), np.zeros((1, 3)), one, one > 0, np.zeros(1, np.int64))
    with pytest.raises(ModelError):
        book.add(np.zeros(1, np.int64), np.zeros((1, 4)), np.zeros(2), one > 0, one.astype(int))


@pytest.mark.parametrize(("window_ms", "lateness_ms"), [(0, 0), (-5, 0), (10, -1)])
def test_windows_out_of_range_are_refused(window_ms, lateness_ms):
    with pytest.raises(ConfigError):
        _book(window_ms, lateness_ms)
