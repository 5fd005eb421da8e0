"""Every aggregate over every window equals a loop over all entries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.windows.aggregates import (
    AGGREGATES,
    INSERT,
    MARK,
    QUERY,
    Operations,
    compile_windows,
    run,
)
from featurestore.windows.entity_series import (
    FIRST_MISSING_BIT,
    FRAUD,
    OUTCOME_BITS,
    empty_pool,
    with_capacity,
)

DAY_MS = 86_400_000
VALUE = st.one_of(st.none(), st.integers(-(10**11), 10**11), st.integers(0, 3))
WINDOW = st.tuples(
    st.sampled_from(sorted(AGGREGATES)), st.integers(0, 1), st.integers(1, 25), st.integers(0, 9),
    st.booleans(), st.sampled_from([math.nan, 0.0, -1.0]),
)  # fmt: skip
OPERATION = st.tuples(
    st.sampled_from([QUERY, INSERT, QUERY | INSERT, QUERY | INSERT, MARK]),
    st.integers(-1, 2),
    st.integers(0, 40),
    st.tuples(VALUE, VALUE),
    st.tuples(st.integers(-1, 4), st.integers(-1, 4)),
    st.sampled_from([0, 1, FRAUD]),
)


def columns_of(operations):
    """Operations in the engine's form: one row each, with a horizon that evicts nothing."""
    marks = [
        outcome | sum(FIRST_MISSING_BIT << k for k, value in enumerate(values) if value is None)
        for _, _, _, values, _, outcome in operations
    ]
    n = len(operations)
    return Operations(
        kind=np.array([o[0] for o in operations], np.uint8),
        entity=np.array([o[1] for o in operations], np.int64),
        time=np.array([o[2] for o in operations], np.int64),
        evict_until=np.full(n, -100, np.int64),
        row=np.arange(n),
        values=np.array([[v or 0 for v in o[3]] for o in operations], np.int64)
        .reshape(n, 2)
        .T.copy(),
        distincts=np.array([o[4] for o in operations], np.int64).reshape(n, 2).T.copy(),
        mark=np.array(marks, np.uint8),
        outcome_before=np.zeros(n, np.uint8),
    )


def naive(window, past, own):
    """Compute one feature; `past` entries and `own` are (time, values, distincts, outcome)."""
    aggregate, column, width, delay, current, empty = window
    at = own[0]
    inside = [e for e in past if at - delay - width < e[0] <= at - delay]
    counted = inside + ([own] if current and delay == 0 else [])
    values = [e[1][column] for e in counted if e[1][column] is not None]
    frauds = sum(e[3] == FRAUD for e in inside)
    match aggregate:
        case "count":
            return float(len(counted))
        case "sum":
            return float(sum(values))
        case "mean":
            return sum(values) / len(values) if values else empty
        case "std":
            n = len(values)
            if n < 2:
                return empty
            numerator = n * sum(v * v for v in values) - sum(values) ** 2
            return math.sqrt(float(numerator) / (float(n) * float(n - 1)))
        case "min":
            return float(min(values)) if values else empty
        case "max":
            return float(max(values)) if values else empty
        case "distinct":
            return float(len({e[2][column] for e in counted if e[2][column] >= 0}))
        case "since_last":
            return (at - max(e[0] for e in inside)) / DAY_MS if inside else empty
        case "outcomes":
            return float(frauds)
        case _:
            return frauds / len(counted) if counted else empty


def oracle(windows, operations):
    """Compute all features of all queries by looping over all entries."""
    out = np.full((len(operations), len(windows)), np.nan)
    entries: dict[int, list] = {}
    for row, (kind, entity, at, values, distincts, outcome) in enumerate(operations):
        if entity < 0:
            continue
        past = entries.setdefault(entity, [])
        if kind == MARK:
            # the kernel marks the newest of equal times: stable order, the last one that fits
            same = [e for e in past if e[0] == at and e[3] == 0]
            if same:
                same[-1][3] = outcome
            continue
        if kind & QUERY:
            own = [at, values, distincts, outcome]
            out[row] = [naive(window, past, own) for window in windows]
        if kind & INSERT:
            past.append([at, values, distincts, outcome])
    return out


def served(windows, operations):
    """Compute all features with the kernel, which stops whenever the pool must grow."""
    out = np.full((len(operations), len(windows)), np.nan)
    pool, columns = empty_pool(3, 1, 2, 2), columns_of(operations)
    program, stamp = compile_windows(windows), np.zeros(2, np.int64)
    stamps, done = np.zeros((2, 8), np.int64), 0
    edges = np.empty(program.offsets.size, np.int64)
    while (done := run(columns, done, pool, program, stamps, stamp, edges, out)) < len(operations):
        pool = with_capacity(pool, 0, pool.time.size + 1)
    return out


EVERYTHING = [
    (aggregate, column, width, delay, current, empty)
    for aggregate in sorted(AGGREGATES)
    for column in (0, 1)
    for width, delay in ((3, 0), (12, 0), (12, 5))
    for current, empty in ((False, math.nan), (True, -1.0))
]


def dense_operations(seed):
    """Many entries of one entity close together, a third of the values missing."""
    rng = np.random.default_rng(seed)

    def value():
        return (
            None
            if rng.random() < 0.3
            else int(rng.integers(-3, 10**11 if rng.random() < 0.2 else 3))
        )

    return [
        (
            int(rng.choice([QUERY | INSERT, QUERY | INSERT, INSERT, QUERY, MARK])),
            int(rng.random() < 0.1),
            int(rng.integers(0, 20)),
            (value(), value()),
            (int(rng.integers(-1, 3)), int(rng.integers(-1, 5))),
            int(rng.integers(0, 3)),
        )
        for _ in range(60)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_every_aggregate_over_dense_entries_equals_a_loop(seed):
    operations = dense_operations(seed)
    np.testing.assert_array_equal(served(EVERYTHING, operations), oracle(EVERYTHING, operations))


@given(
    windows=st.lists(WINDOW, min_size=1, max_size=8), operations=st.lists(OPERATION, max_size=60)
)
@settings(deadline=None, max_examples=200)
def test_windows_equal_a_loop_over_all_entries(windows, operations):
    np.testing.assert_array_equal(served(windows, operations), oracle(windows, operations))


@given(st.integers(1, 20), st.integers(0, 9), st.integers(-1, 1))
@settings(deadline=None)
def test_a_window_is_half_open_to_the_millisecond(width, delay, off):
    """An entry exactly `delay + width` back is out, one exactly `delay` back is in."""
    for edge, inside in ((delay + width, off > 0), (delay, off <= 0)):
        at = 100 - edge + off
        operations = [(INSERT, 0, at, (1, 1), (0, 0), 0), (QUERY, 0, 100, (1, 1), (0, 0), 0)]
        within = 100 - delay - width < at <= 100 - delay
        out = np.full((2, 1), np.nan)
        run(columns_of(operations), 0, empty_pool(1, 4, 2, 2),
            compile_windows([("count", 0, width, delay, False, 0.0)]),
            np.zeros((2, 8), np.int64), np.zeros(2, np.int64),
            np.empty(2, np.int64), out)  # fmt: skip
        assert out[1, 0] == within
        if width > 1:
            assert within == inside


def test_marks_leave_the_bits_of_missing_values_alone():
    operations = [(INSERT, 0, 5, (None, 3), (0, 0), 0), (MARK, 0, 5, (1, 1), (0, 0), FRAUD)]
    pool = empty_pool(1, 4, 2, 2)
    run(columns_of(operations), 0, pool, compile_windows([]), np.zeros((2, 8), np.int64),
        np.zeros(2, np.int64), np.empty(0, np.int64), np.empty((2, 0)))  # fmt: skip
    mark = int(pool.marks[pool.start[0]])
    assert mark & OUTCOME_BITS == FRAUD
    assert mark & FIRST_MISSING_BIT
    assert not mark & FIRST_MISSING_BIT << 1
