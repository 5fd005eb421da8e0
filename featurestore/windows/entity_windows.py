"""Windows over one kind of entity: the series of claims and the series of labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..definitions.features import Entity, WindowFeature
from ..state_arrays import Arrays
from .aggregates import INSERT, MARK, QUERY, Operations, Program, compile_windows, look, run
from .compaction import ENTITIES_A_SLICE, SLOTS_A_UNIT, slide
from .entity_series import (
    EVERYWHERE,
    FIRST_MISSING_BIT,
    REUSE_BELOW,
    TOP,
    Pool,
    empty_pool,
    evict_range,
    mark_distinct,
    with_capacity,
)

_FIRST_ENTITIES, _FIRST_SLOTS = 256, 1024
LARGEST_FREE_SHARE = 0.04
"""The largest share of free slots, of the slots that entries need, that isn't worth compaction."""


@dataclass(frozen=True)
class Touches:
    """The touches of one batch on the entities of one kind, in log order; see `Operations`.

    `order` is the index of each event in the batch, `watermark` the watermark as of the event.
    `values` and `distincts` are by field name, float64 with NaN and int64 with -1 for missing.
    """

    order: NDArray[np.int64]
    kind: NDArray[np.uint8]
    entity: NDArray[np.int64]
    time: NDArray[np.int64]
    watermark: NDArray[np.int64]
    row: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    distincts: dict[str, NDArray[np.int64]]
    outcome_before: NDArray[np.uint8]
    outcome: NDArray[np.uint8]


class Series:
    """Window features of one kind of entity over claims, or over labels by their arrival.

    Args:
        features: the window features.
        lateness_ms: claims up to this much behind the watermark are applied.
    """

    def __init__(self, features: list[WindowFeature], lateness_ms: int) -> None:
        self.names = [feature.name for feature in features]
        self._value_names = _fields_of(features, distinct=False)
        self._distinct_names = _fields_of(features, distinct=True)
        self._program: Program = compile_windows([self._row(feature) for feature in features])
        self._lateness_ms = lateness_ms
        self._pool: Pool = empty_pool(
            _FIRST_ENTITIES, _FIRST_SLOTS, len(self._value_names), len(self._distinct_names)
        )
        self._stamps = np.zeros((len(self._distinct_names), 1024), np.int64)
        self._stamp = np.zeros(2, np.int64)
        self._edges = np.empty(self._program.offsets.size, np.int64)

    def _row(self, feature: WindowFeature) -> tuple[str, int, int, int, bool, float]:
        names = self._distinct_names if feature.aggregate == "distinct" else self._value_names
        column = names.index(feature.value) if feature.value else 0
        return (feature.aggregate, column, feature.width_ms, feature.delay_ms, feature.current,
                feature.empty)  # fmt: skip

    @property
    def value_fields(self) -> list[str]:
        """The fields of sums, means, deviations and extremes."""
        return self._value_names

    @property
    def distinct_fields(self) -> list[str]:
        """The fields whose distinct values are counted."""
        return self._distinct_names

    def apply(
        self, touches: Touches, entities: int, distinct_counts: list[int], rows: int
    ) -> NDArray[np.float64]:
        """Apply the touches of a batch; returns float64[rows, features], NaN without a query.

        Args:
            touches: the touches, in log order.
            entities: the number of entity numbers that exist.
            distinct_counts: for each distinct field, the number of numbers that exist.
            rows: the number of rows of the result, one a claim.
        """
        out = np.full((rows, len(self.names)), np.nan, np.float64)
        operations = self._operations(touches)
        self._pool = with_capacity(self._pool, entities, 0)
        self._reserve_stamps(distinct_counts)
        done = 0
        while True:
            done = run(operations, done, self._pool, self._program, self._stamps, self._stamp,
                       self._edges, out)  # fmt: skip
            if done == operations.kind.size:
                return out
            self._pool = with_capacity(self._pool, 0, self._pool.time.size + 1)

    def look(self, touches: Touches, distinct_counts: list[int], rows: int) -> NDArray[np.float64]:
        """Answer the queries of touches, without any change; returns what `apply` returns.

        Args:
            touches: queries only, of claims that aren't late. An entity number that no batch had
                is an entity without entries.
            distinct_counts, rows: see `apply`.
        """
        out = np.full((rows, len(self.names)), np.nan, np.float64)
        self._reserve_stamps(distinct_counts)
        look(self._operations(touches), self._pool, self._program, self._stamps, self._stamp,
             self._edges, out)  # fmt: skip
        return out

    def _reserve_stamps(self, distinct_counts: list[int]) -> None:
        largest = max(distinct_counts, default=0)
        if largest > self._stamps.shape[1]:
            # old stamps needn't be copied: each query uses a new stamp
            self._stamps = np.zeros((len(self._distinct_names), largest + largest // 2), np.int64)

    def _operations(self, touches: Touches) -> Operations:
        n = touches.kind.size
        values = np.zeros((len(self._value_names), n), np.int64)
        mark = touches.outcome.copy()
        for k, name in enumerate(self._value_names):
            column = touches.values[name]
            missing = np.isnan(column)
            values[k] = np.where(missing, 0, column).astype(np.int64)
            mark |= missing.astype(np.uint8) * np.uint8(FIRST_MISSING_BIT << k)
        distincts = np.full((len(self._distinct_names), n), -1, np.int64)
        for m, name in enumerate(self._distinct_names):
            distincts[m] = touches.distincts[name]
        horizon_ms = self._program.horizon_ms + self._lateness_ms
        return Operations(
            kind=touches.kind,
            entity=touches.entity,
            time=touches.time,
            evict_until=touches.watermark - horizon_ms,
            row=touches.row,
            values=values,
            distincts=distincts,
            mark=mark,
            outcome_before=touches.outcome_before,
        )

    def compaction(self, watermark: int) -> Iterator[int]:
        """Evict entries that no window can reach, then compact the pool if that is worth it.

        Yields the units of work after each slice. Entries of entities that are touched are evicted
        in `apply` already; this finds the entities that aren't touched any more.
        """
        until = watermark - self._program.horizon_ms - self._lateness_ms
        fitting = 0
        for first in range(0, self._pool.start.size, ENTITIES_A_SLICE):
            last = min(first + ENTITIES_A_SLICE, self._pool.start.size)
            fitting += evict_range(self._pool, first, last, until)
            yield ENTITIES_A_SLICE
        if self._pool.meta[TOP] > fitting * (1 + LARGEST_FREE_SHARE):
            yield from slide(lambda: self._pool)
            yield from self._trim()

    def _trim(self) -> Iterator[int]:
        """Free the unused slots above the top, if most slots are; yields after each array."""
        slots = 2 * max(int(self._pool.meta[TOP]), _FIRST_SLOTS)
        if self._pool.time.size > 2 * slots:
            # `time` first: its size is the capacity that inserts respect
            for name in ("time", "prefix", "distinct", "marks"):
                if name != "time" and self._pool.time.size != slots:
                    return  # the pool has grown between two slices
                trimmed = getattr(self._pool, name)[..., :slots].copy()
                self._pool = self._pool._replace(**{name: trimmed})
                yield slots // SLOTS_A_UNIT

    def mark(self, live: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the entities that have entries as live; yields units after each slice."""
        for first in range(0, self._pool.start.size, ENTITIES_A_SLICE):
            found = first + np.flatnonzero(self._pool.length[first : first + ENTITIES_A_SLICE])
            live[found[found < live.size]] = True
            yield ENTITIES_A_SLICE // 8

    def mark_distinct(self, field: str, live: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the numbers of a distinct column as live; yields the units after each slice."""
        column = self._distinct_names.index(field)
        for first in range(0, self._pool.start.size, ENTITIES_A_SLICE):
            last = min(first + ENTITIES_A_SLICE, self._pool.start.size)
            mark_distinct(self._pool, column, first, last, live)
            yield ENTITIES_A_SLICE

    def arrays(self) -> Arrays:
        """Return all state, for a snapshot."""
        pool, top = self._pool, int(self._pool.meta[TOP])
        trimmed = {"time": pool.time[:top], "prefix": pool.prefix[:, :top],
                   "distinct": pool.distinct[:, :top], "marks": pool.marks[:top]}  # fmt: skip
        return {**pool._asdict(), **trimmed}

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot."""
        entities, slots = arrays["start"].size, arrays["time"].size
        pool = empty_pool(
            entities, 2 * max(slots, 1), len(self._value_names), len(self._distinct_names)
        )
        for name in Pool._fields:
            getattr(pool, name)[..., : arrays[name].shape[-1]] = arrays[name]
        pool.meta[REUSE_BELOW] = (
            EVERYWHERE  # a compaction at the time of the snapshot isn't resumed
        )
        self._pool = pool


class EntityWindows:
    """The window features of one kind of entity: a series of claims and a series of labels."""

    def __init__(self, entity: Entity, features: list[WindowFeature], lateness_ms: int) -> None:
        self.entity = entity
        by_claim = [feature for feature in features if not feature.known]
        by_label = [feature for feature in features if feature.known]
        self.claims = Series(by_claim, lateness_ms) if by_claim else None
        self.labels = Series(by_label, lateness_ms) if by_label else None

    @property
    def series(self) -> list[tuple[str, Series]]:
        """The series that exist, with their names `claims` and `labels`."""
        both = (("claims", self.claims), ("labels", self.labels))
        return [(name, each) for name, each in both if each is not None]


def _fields_of(features: list[WindowFeature], *, distinct: bool) -> list[str]:
    return sorted(
        {f.value for f in features if f.value and (f.aggregate == "distinct") == distinct}
    )


__all__ = ["INSERT", "MARK", "QUERY", "EntityWindows", "Series", "Touches"]
