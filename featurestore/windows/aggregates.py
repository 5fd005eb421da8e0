"""Aggregates over one kind of entity: windows compiled to a table, run over a batch in numba.

An operation is the touch of one event on one entity, in log order: a query, an insert, a query and
then an insert (so that the event doesn't see itself), or a mark that sets an outcome. A feature
whose current event is "in" adds the event's own value to the result of the query.

Aggregates, over the entries in (t - delay - width, t - delay] that had arrived:
    COUNT, SUM; MEAN = sum / present; STD = sample standard deviation; MIN, MAX; DISTINCT;
    SINCE = days from the newest entry to t; OUTCOMES = entries with outcome fraud;
    RATE = outcomes / count. OUTCOMES and RATE leave out labels that another one has replaced.
An aggregate that is undefined (MEAN, MIN, MAX without a value, STD below two values, SINCE and RATE
without an entry) has the feature's `empty` value: missing (NaN) unless the definition sets another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.clock import DAY_MS

from . import int128
from .entity_series import (
    FIRST_MISSING_BIT,
    FRAUD,
    OUTCOME_BITS,
    VOID,
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
"""Bits of an operation's kind."""
_PREFETCH = 32  # operations whose memory is read ahead together


class Program(NamedTuple):
    """Compiled windows, in columns with one row a feature.

    Args:
        aggregate: the aggregate's code, such as COUNT.
        column: the index of the value column, or of the distinct column for DISTINCT.
        low, high: the indices in `offsets` of the window's edges.
        current: 1 if the current event is included.
        empty: the value where the aggregate is undefined.
        offsets: the distinct distances of window edges from t, ascending, in ms.
        horizon_ms: the largest offset: no window reaches further back.
    """

    aggregate: NDArray[np.int64]
    column: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    current: NDArray[np.int64]
    empty: NDArray[np.float64]
    offsets: NDArray[np.int64]
    horizon_ms: int


class Operations(NamedTuple):
    """Operations on entities in log order, in columns of n.

    Args:
        kind: a combination of QUERY, INSERT and MARK.
        entity: the entity's number, -1 for none (the operation is skipped).
        time: the time in ms at which a query asks, or of the entry to insert or mark.
        evict_until: the time up to which the entity's entries are evicted first.
        row: the row of the output that a query fills.
        values: int64[K, n], the values of the event; 0 if missing.
        distincts: int64[M, n], the numbers of the event's distinct values, -1 for none.
        mark: the byte `mark` of the event: its outcome, and a bit for each missing value.
        outcome_before: for a MARK, the outcome that the entry has so far.
    """

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
    """Compile windows from rows (aggregate, column, width_ms, delay_ms, current is in, empty).

    >>> compile_windows([("count", 0, 100, 0, True, 0.0)]).offsets.tolist()
    [0, 100]
    """
    edges = sorted({d for _, _, _, d, _, _ in windows} | {d + w for _, _, w, d, _, _ in windows})
    index_of = {offset: i for i, offset in enumerate(edges)}
    rows = [
        (AGGREGATES[name], column, index_of[delay + width], index_of[delay], current and delay == 0)
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
    """Run operations from index `begin`; returns the index of the first that doesn't fit.

    Returns n when all operations are done. Otherwise the pool is full: the caller grows the pool
    and runs the rest.

    Args:
        operations: `Operations`.
        begin: the index of the first operation to run.
        pool: `featurestore.windows.entity_series.Pool`, changed in place.
        program: `Program`.
        stamps: int64[M, V], for each distinct column and number the stamp at which it was counted
            last, so that counting distinct numbers needs no set.
        stamp: int64[2]: a counter of distinct queries, whose values are never reused; and a sink
            for the result of prefetching, which nothing reads.
        edges: int64[offsets], work space for the entry index of each window edge.
        out: float64[rows, features], the result of queries.
    """
    # the arrays are taken out of their tuples once: each access through a tuple in the loop costs
    # an increment and a decrement of the array's reference count
    kinds, entities, times = operations.kind, operations.entity, operations.time
    values, distincts, own_marks = operations.values, operations.distincts, operations.mark
    before, evict_until, rows = operations.outcome_before, operations.evict_until, operations.row
    start, head, length, base = pool.start, pool.head, pool.length, pool.base
    time, prefix, distinct, marks = pool.time, pool.prefix, pool.distinct, pool.marks
    aggregates, columns, lows, highs = program.aggregate, program.column, program.low, program.high
    currents, empties, offsets = program.current, program.empty, program.offsets
    count = kinds.size
    for i in range(begin, count):
        if (i - begin) % _PREFETCH == 0:
            # the result is stored so that the compiler can't remove the reads
            stamp[1] ^= _prefetch(entities, i, min(i + _PREFETCH, count), pool)
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
def look(operations, pool, program, stamps, stamp, edges, out):  # type: ignore[no-untyped-def]
    """Answer queries without any change: nothing is inserted, and nothing is evicted.

    An entry that `run` would evict first is in no window of a query that isn't late, so the answers
    are those of `run`. An entity with a number beyond the pool's has no entries.

    Args:
        operations: `Operations`; each is a query.
        pool, program, stamps, stamp, edges, out: see `run`.
    """
    for i in range(operations.kind.size):
        entity = operations.entity[i]
        if entity < 0:
            continue
        first = last = np.int64(0)
        if entity < pool.length.size:
            first = pool.start[entity] + pool.head[entity]
            last = first + pool.length[entity]
        else:
            entity = np.int64(0)  # with no entries the running sums of an entity aren't read
        _query(
            entity, operations.time[i], i, operations.row[i], first, last, operations.mark[i],
            operations.values, operations.distincts, pool.base, pool.time, pool.prefix,
            pool.distinct, pool.marks, program.aggregate, program.column, program.low,
            program.high, program.current, program.empty, program.offsets, edges, stamps, stamp,
            out,
        )  # fmt: skip


@kernel
def _prefetch(entities, begin, end, pool):  # type: ignore[no-untyped-def]
    """Read the memory that the next operations will read, so that their cache misses overlap.

    Entities are scattered over memory, and each operation waits for the one before it; independent
    reads are served at the same time. Saves a third of the time of `run`, measured with 100,000
    entities.
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
    entity, at, i, row, first, last, own_mark, values, distincts, base, time, prefix, distinct,
    marks, aggregates, columns, lows, highs, currents, empties, offsets, edges, stamps, stamp, out,
):  # fmt: skip
    """Fill row `row` of `out` with all features of one query.

    The parameters are single arrays instead of tuples for speed; see `run`.
    """
    # offsets ascend, so each edge is at or before the one found last: the search range shrinks
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
            own_number = distincts[column, i] if own else -1
            out[row, f] = _distinct(distinct, low, high, column, own_number, stamps, stamp[0])
        elif aggregate == SINCE:
            out[row, f] = np.float64(at - time[high - 1]) / DAY_MS if high > low else empties[f]
        else:
            frauds = void = 0
            for j in range(low, high):
                outcome = marks[j] & OUTCOME_BITS
                frauds += outcome == FRAUD
                void += outcome == VOID
            out[row, f] = frauds
            if aggregate == RATE:
                count = high - low - void + own
                out[row, f] = np.float64(frauds) / count if count else empties[f]


@njit(cache=True, inline="always")
def _total(base, prefix, entity, first, low, high, column):  # type: ignore[no-untyped-def]
    """Return the sum of a value over the entries [low, high), by one subtraction of prefix sums."""
    if high == low:
        return np.int64(0)
    before = base[column, entity] if low == first else prefix[column, low - 1]
    return prefix[column, high - 1] - before


@njit(cache=True, inline="always")
def _present(marks, low, high, column):  # type: ignore[no-untyped-def]
    """Count the entries [low, high) that have a value."""
    bit = np.uint8(FIRST_MISSING_BIT << column)
    count = 0
    for j in range(np.uint64(low), np.uint64(high)):
        count += (marks[j] & bit) == 0
    return count


@kernel
def _deviation(base, prefix, marks, entity, first, low, high, column, present, value, empty):  # type: ignore[no-untyped-def]
    """Return the sample standard deviation over the entries [low, high), and `value` if `present`.

    Squares are summed in 128 bits: a float sum would cancel to nothing for large, close amounts.
    """
    bit = np.uint8(FIRST_MISSING_BIT << column)
    count, total = 0, np.int64(0)
    squares_high, squares_low = np.uint64(0), np.uint64(0)
    if present:
        count, total = 1, value
        squares_high, squares_low = int128.square(value)
    before = base[column, entity] if low == first else prefix[column, low - 1]
    for j in range(np.uint64(low), np.uint64(high)):
        each = prefix[column, j] - before
        before = prefix[column, j]
        if marks[j] & bit:
            continue
        count += 1
        total += each
        more_high, more_low = int128.square(each)
        squares_high, squares_low = int128.add(squares_high, squares_low, more_high, more_low)
    if count < 2:
        return empty
    return int128.deviation(count, total, squares_high, squares_low)


@kernel
def _extreme(base, prefix, marks, entity, first, low, high, column, present, value, largest, empty):  # type: ignore[no-untyped-def]
    """Return the maximum (`largest`) or minimum over the entries, and `value` if `present`."""
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
def _distinct(distinct, low, high, column, own_number, stamps, stamp):  # type: ignore[no-untyped-def]
    """Count the distinct numbers in the entries [low, high), and `own_number` unless it is -1."""
    count = 0
    if own_number >= 0:
        stamps[column, own_number] = stamp
        count = 1
    for j in range(low, high):
        number = distinct[column, j]
        if number >= 0 and stamps[column, number] != stamp:
            stamps[column, number] = stamp
            count += 1
    return count
