"""All windows over one entity kind: its ids' numbers, and the series behind its features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..definitions.features import Entity, WindowFeature
from ..state_arrays import Arrays
from .aggregates import INSERT, MARK, QUERY, Operations, Program, compile_windows, run
from .compaction import ENTITIES_A_SLICE, SLOTS_A_UNIT, slide
from .entity_series import (
    EVERYWHERE,
    FIRST_MISSING_BIT,
    LIVE,
    SETTLED,
    TOP,
    Pool,
    empty_pool,
    evict_range,
    mark_distinct,
    with_room,
)

_FIRST_ENTITIES, _FIRST_SLOTS = 256, 1024
LARGEST_FREE_SHARE = 0.04
"""Of what the entries need: more free room than that isn't left lying between blocks."""


@dataclass(frozen=True)
class Touches:
    """What one batch does to the entities of one kind, in log order; see `Operations`.

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
    """The features of one entity kind over one kind of fact (claims, or labels by arrival)."""

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
        among = self._distinct_names if feature.aggregate == "distinct" else self._value_names
        column = among.index(feature.value) if feature.value else 0
        return (feature.aggregate, column, feature.width_ms, feature.delay_ms, feature.current,
                feature.empty)  # fmt: skip

    @property
    def value_fields(self) -> list[str]:
        """The fields whose sums, means and extremes are kept."""
        return self._value_names

    @property
    def distinct_fields(self) -> list[str]:
        """The fields whose different values are counted."""
        return self._distinct_names

    @property
    def live_entries(self) -> int:
        """Entity-events that some window can still reach."""
        return int(self._pool.meta[LIVE])

    @property
    def used_bytes(self) -> int:
        """Bytes of entries, with the unused room in their blocks, and of the directory."""
        pool = self._pool
        entry = 8 + 8 * pool.prefix.shape[0] + 4 * pool.distinct.shape[0] + 1
        entity = 8 + 4 + 4 + 1 + 8 * pool.base.shape[0]
        entities = int(np.count_nonzero(pool.size_class >= 0))
        return int(int(pool.meta[TOP]) * entry + entities * entity)

    def apply(
        self, touches: Touches, entities: int, distinct_counts: list[int], rows: int
    ) -> NDArray[np.float64]:
        """Carry out a batch; returns float64[rows, features], NaN where nothing was asked."""
        out = np.full((rows, len(self.names)), np.nan, np.float64)
        operations = self._operations(touches)
        self._pool = with_room(self._pool, entities, 0)
        most = max(distinct_counts, default=0)
        if most > self._stamps.shape[1]:
            self._stamps = np.zeros((len(self._distinct_names), most + most // 2), np.int64)
        done = 0
        while True:
            done = run(operations, done, self._pool, self._program, self._stamps, self._stamp,
                       self._edges, out)  # fmt: skip
            if done == operations.kind.size:
                return out
            self._pool = with_room(self._pool, 0, self._pool.time.size + 1)

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

    def tidy(self, watermark: int) -> Iterator[int]:
        """Give back the entries that no event comes back to, and free room, a slice at a time."""
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
        """Give back room above the top, an array at a time, when most of it is."""
        room = 2 * max(int(self._pool.meta[TOP]), _FIRST_SLOTS)
        if self._pool.time.size > 2 * room:
            for name in ("time", "prefix", "distinct", "marks"):  # `time` first: it says how many
                if name != "time" and self._pool.time.size != room:
                    return  # it has grown again meanwhile
                trimmed = getattr(self._pool, name)[..., :room].copy()
                self._pool = self._pool._replace(**{name: trimmed})
                yield room // SLOTS_A_UNIT

    def mark(self, living: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the entities that have entries, a slice at a time."""
        for first in range(0, self._pool.start.size, ENTITIES_A_SLICE):
            found = first + np.flatnonzero(self._pool.length[first : first + ENTITIES_A_SLICE])
            living[found[found < living.size]] = True
            yield ENTITIES_A_SLICE // 8

    def mark_distinct(self, field: str, living: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the numbers that a distinct column has in entries, a slice at a time."""
        column = self._distinct_names.index(field)
        for first in range(0, self._pool.start.size, ENTITIES_A_SLICE):
            last = min(first + ENTITIES_A_SLICE, self._pool.start.size)
            mark_distinct(self._pool, column, first, last, living)
            yield ENTITIES_A_SLICE

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        pool, top = self._pool, int(self._pool.meta[TOP])
        trimmed = {"time": pool.time[:top], "prefix": pool.prefix[:, :top],
                   "distinct": pool.distinct[:, :top], "marks": pool.marks[:top]}  # fmt: skip
        return {**pool._asdict(), **trimmed}

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
        entities, slots = arrays["start"].size, arrays["time"].size
        pool = empty_pool(
            entities, 2 * max(slots, 1), len(self._value_names), len(self._distinct_names)
        )
        for name in Pool._fields:
            getattr(pool, name)[..., : arrays[name].shape[-1]] = arrays[name]
        pool.meta[SETTLED] = EVERYWHERE  # what was being slid then isn't any more
        self._pool = pool


class EntityWindows:
    """The features about one entity kind: over its claims, and over the labels that arrived."""

    def __init__(self, entity: Entity, features: list[WindowFeature], lateness_ms: int) -> None:
        self.entity = entity
        by_claim = [feature for feature in features if not feature.known]
        by_label = [feature for feature in features if feature.known]
        self.claims = Series(by_claim, lateness_ms) if by_claim else None
        self.labels = Series(by_label, lateness_ms) if by_label else None

    @property
    def series(self) -> list[tuple[str, Series]]:
        """The series that exist, by name."""
        both = (("claims", self.claims), ("labels", self.labels))
        return [(name, each) for name, each in both if each is not None]


def _fields_of(features: list[WindowFeature], *, distinct: bool) -> list[str]:
    return sorted(
        {f.value for f in features if f.value and (f.aggregate == "distinct") == distinct}
    )


__all__ = ["INSERT", "MARK", "QUERY", "EntityWindows", "Series", "Touches"]
