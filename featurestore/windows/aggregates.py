"""The aggregates of one entity kind: windows compiled to a small table, run over a batch in numba.

An operation is one event's touch on one entity, in log order: it may query (before it inserts, so
that the event doesn't see itself), insert, or mark an outcome. A feature whose current event is
"in" adds the event's own value to what the query found.

Aggregates, over the entries in (t - delay - width, t - delay] that had arrived:
    COUNT, SUM; MEAN = sum / present; STD = sample standard deviation; MIN, MAX; DISTINCT;
    SINCE = days from the newest entry to t; OUTCOMES = entries known as fraud;
    RATE = outcomes / count.
What is undefined on an empty window (MEAN, STD below two values, MIN, MAX, SINCE, RATE) is the
feature's `empty` value, missing (NaN) unless the definition says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.clock import DAY_MS

from . import int128 as exact
from .entity_series import (
    FIRST_MISSING_BIT,
    FRAUD,
    OUTCOME_BITS,
    evict,
    insert,
    mark_outcome,
    upper_bound,
)

COUNT, SUM, MEAN, STD, MIN, MAX, DISTINCT, SINCE, OUTCOMES, RATE = range(10)
AGGREGATES = {
    "count": COUNT,
    "sum": SUM,
    "mean": MEAN,
    "std": STD,
    "min": MIN,
    "max": MAX,
    "distinct": DISTINCT,
    "since_last": SINCE,
    "outcomes": OUTCOMES,
    "rate": RATE,
}

QUERY, INSERT, MARK = 1, 2, 4
_AHEAD = 32  # operations whose memory is fetched together


class Program(NamedTuple):
    """Compiled windows: one row a feature; `offsets` are the distinct distances of edges from t."""

    aggregate: NDArray[np.int64]
    column: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    current: NDArray[np.int64]
    empty: NDArray[np.float64]
    offsets: NDArray[np.int64]
    horizon_ms: int


class Operations(NamedTuple):
    """Touches on entities in log order, in columns; `row` is where a query's features go."""

    kind: NDArray[np.uint8]
    entity: NDArray[np.int64]
    time: NDArray[np.int64]
    evict_until: NDArray[np.int64]
    row: NDArray[np.int64]
    values: NDArray[np.int64]
    distincts: NDArray[np.int64]
    mark: NDArray[np.uint8]
    outcome_before: NDArray[np.uint8]


def compile_windows(
    windows: list[tuple[str, int, int, int, bool, float]],
) -> Program:
    """Compile (aggregate, column, width_ms, delay_ms, current in, empty) rows, one a feature.

    >>> compile_windows([("count", 0, 100, 0, True, 0.0)]).offsets.tolist()
    [0, 100]
    """
    edges = sorted({d for _, _, _, d, _, _ in windows} | {d + w for _, _, w, d, _, _ in windows})
    place = {offset: i for i, offset in enumerate(edges)}
    rows = [
        (AGGREGATES[name], column, place[delay + width], place[delay], current and delay == 0)
        for name, column, width, delay, current, _ in windows
    ]
    table = np.array(rows, np.int64).reshape(-1, 5)
    return Program(
        aggregate=table[:, 0].copy(),
        column=table[:, 1].copy(),
        low=table[:, 2].copy(),
        high=table[:, 3].copy(),
        current=table[:, 4].copy(),
        empty=np.array([row[5] for row in windows], np.float64),
        offsets=np.array(edges, np.int64),
        horizon_ms=edges[-1] if edges else 0,
    )


@kernel
def run(operations, begin, pool, program, stamps, stamp, edges, out):  # type: ignore[no-untyped-def]
    """Carry out operations from `begin` on; returns how many are done: fewer when the pool is full.

    Args:
        operations: `Operations`; values[K, n], distincts[M, n].
        pool: `featurestore.windows.entity_series.Pool`, changed in place.
        program: `Program`.
        stamps: int64[V, M]-like table [M, V] of distinct numbers last seen at which stamp.
        edges: int64[offsets], to work in.
        stamp: int64[2], counts queries, never reused; and a place for what nobody reads.
        out: float64[rows, features].
    """
    # taken out of their tuples once: each access to an array in one is counted, and not for free
    kinds, entities, times = operations.kind, operations.entity, operations.time
    values, distincts, own_marks = operations.values, operations.distincts, operations.mark
    before, evict_until, rows = operations.outcome_before, operations.evict_until, operations.row
    start, head, length, base = pool.start, pool.head, pool.length, pool.base
    time, prefix, distinct, marks = pool.time, pool.prefix, pool.distinct, pool.marks
    aggregates, columns, lows, highs = program.aggregate, program.column, program.low, program.high
    currents, empties, offsets = program.current, program.empty, program.offsets
    count = kinds.size
    for i in range(begin, count):
        if (i - begin) % _AHEAD == 0:
            stamp[1] ^= _fetched(entities, i, min(i + _AHEAD, count), pool)
        kind, entity = kinds[i], entities[i]
        if entity < 0:
            continue
        if kind & MARK:
            mark_outcome(pool, entity, times[i], before[i], own_marks[i])
            continue
        if length[entity] and time[start[entity] + head[entity]] <= evict_until[i]:
            evict(pool, entity, evict_until[i])
        if kind & QUERY:
            first = start[entity] + head[entity]
            _query(
                entity, times[i], i, rows[i], first, first + length[entity], own_marks[i], values,
                distincts, base, time, prefix, distinct, marks, aggregates, columns, lows, highs,
                currents, empties, offsets, edges, stamps, stamp, out,
            )  # fmt: skip
        if kind & INSERT and not insert(pool, entity, times[i], values, distincts, i, own_marks[i]):
            return i
    return count


@kernel
def _fetched(entities, begin, end, pool):  # type: ignore[no-untyped-def]
    """Read what the next operations will read, so that the processor fetches all of it at once.

    Each entity lies somewhere else in memory, and one operation waits for the one before it; reads
    that wait for nothing overlap. A third of the time of `run`, measured with 100,000 entities.
    """
    seen = np.int64(0)
    for i in range(begin, end):
        entity = entities[i]
        if entity >= 0:
            seen ^= pool.start[entity] ^ pool.head[entity] ^ pool.length[entity]
            seen ^= pool.size_class[entity]
            for k in range(pool.base.shape[0]):
                seen ^= pool.base[k, entity]
    for i in range(begin, end):
        entity = entities[i]
        if entity >= 0 and pool.length[entity]:
            first = pool.start[entity] + pool.head[entity]
            last = first + pool.length[entity] - 1
            seen ^= pool.time[first] ^ pool.time[last] ^ pool.marks[last]
            for k in range(pool.prefix.shape[0]):
                seen ^= pool.prefix[k, last]
            for m in range(pool.distinct.shape[0]):
                seen ^= pool.distinct[m, last]
    return seen


@kernel
def _query(  # type: ignore[no-untyped-def]  # noqa: C901
    entity,
    at,
    i,
    row,
    first,
    last,
    own_mark,
    values,
    distincts,
    base,
    time,
    prefix,
    distinct,
    marks,
    aggregates,
    columns,
    lows,
    highs,
    currents,
    empties,
    offsets,
    edges,
    stamps,
    stamp,
    out,
):
    for e in range(edges.size):
        last = upper_bound(time, first, last, at - offsets[e])
        edges[e] = last
    for f in range(aggregates.size):
        column = np.uint64(columns[f])
        low, high = edges[lows[f]], edges[highs[f]]
        aggregate = aggregates[f]
        own = currents[f] == 1
        value, present = np.int64(0), False
        if SUM <= aggregate <= MAX and own:
            present = own_mark & (FIRST_MISSING_BIT << column) == 0
            value = values[column, i]
        if aggregate == COUNT:
            out[row, f] = high - low + own
        elif aggregate == SUM:
            total = _total(base, prefix, entity, first, low, high, column)
            out[row, f] = total + value if present else total
        elif aggregate == MEAN:
            total = _total(base, prefix, entity, first, low, high, column)
            count = _present(marks, low, high, column)
            if present:
                total, count = total + value, count + 1
            out[row, f] = np.float64(total) / count if count else empties[f]
        elif aggregate == STD:
            out[row, f] = _deviation(base, prefix, marks, entity, first, low, high, column,
                                     present, value, empties[f])  # fmt: skip
        elif aggregate in (MIN, MAX):
            out[row, f] = _extreme(base, prefix, marks, entity, first, low, high, column, present,
                                   value, aggregate == MAX, empties[f])  # fmt: skip
        elif aggregate == DISTINCT:
            stamp[0] += 1
            mine = distincts[column, i] if own else -1
            out[row, f] = _distinct(distinct, low, high, column, mine, stamps, stamp[0])
        elif aggregate == SINCE:
            out[row, f] = np.float64(at - time[high - 1]) / DAY_MS if high > low else empties[f]
        else:
            frauds = 0
            for j in range(low, high):
                frauds += (marks[j] & OUTCOME_BITS) == FRAUD
            out[row, f] = frauds
            if aggregate == RATE:
                count = high - low + own
                out[row, f] = np.float64(frauds) / count if count else empties[f]


@njit(cache=True, inline="always")
def _total(base, prefix, entity, first, low, high, column):  # type: ignore[no-untyped-def]
    if high == low:
        return np.int64(0)
    before = base[column, entity] if low == first else prefix[column, low - 1]
    return prefix[column, high - 1] - before


@njit(cache=True, inline="always")
def _present(marks, low, high, column):  # type: ignore[no-untyped-def]
    bit = np.uint8(FIRST_MISSING_BIT << column)
    count = 0
    for j in range(np.uint64(low), np.uint64(high)):
        count += (marks[j] & bit) == 0
    return count


@kernel
def _deviation(base, prefix, marks, entity, first, low, high, column, present, value, empty):  # type: ignore[no-untyped-def]
    bit = np.uint8(FIRST_MISSING_BIT << column)
    count, total = 0, np.int64(0)
    squares_high, squares_low = np.uint64(0), np.uint64(0)
    if present:
        count, total = 1, value
        squares_high, squares_low = exact.square(value)
    before = base[column, entity] if low == first else prefix[column, low - 1]
    for j in range(np.uint64(low), np.uint64(high)):
        each = prefix[column, j] - before
        before = prefix[column, j]
        if marks[j] & bit:
            continue
        count += 1
        total += each
        more_high, more_low = exact.square(each)
        squares_high, squares_low = exact.add(squares_high, squares_low, more_high, more_low)
    if count < 2:
        return empty
    return exact.deviation(count, total, squares_high, squares_low)


@kernel
def _extreme(base, prefix, marks, entity, first, low, high, column, present, value, largest, empty):  # type: ignore[no-untyped-def]
    bit = np.uint8(FIRST_MISSING_BIT << column)
    found, best = present, value
    before = base[column, entity] if low == first else prefix[column, low - 1]
    for j in range(np.uint64(low), np.uint64(high)):
        each = prefix[column, j] - before
        before = prefix[column, j]
        if marks[j] & bit:
            continue
        if not found or (each > best if largest else each < best):
            found, best = True, each
    return np.float64(best) if found else empty


@kernel
def _distinct(distinct, low, high, column, mine, stamps, stamp):  # type: ignore[no-untyped-def]
    count = 0
    if mine >= 0:
        stamps[column, mine] = stamp
        count = 1
    for j in range(low, high):
        number = distinct[column, j]
        if number >= 0 and stamps[column, number] != stamp:
            stamps[column, number] = stamp
            count += 1
    return count
