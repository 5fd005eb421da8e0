"""The newest profile values of each entity of a feature group, in columns.

A put with an event time before the stored one changes nothing here (it still goes to the offline
store); a put with an equal or later time replaces the whole record. Source of the semantics:
SageMaker Feature Store's online store, with the same rule for equal times in both stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel

from ..state_arrays import Arrays

NEVER = np.iinfo(np.int64).min
"""The time of an entity without a profile."""
ENTITIES_A_SLICE: Final = 65_536


class Profiles:
    """The values of `fields` float64 fields for each entity number; missing values are NaN."""

    def __init__(self, fields: int) -> None:
        self._times = np.full(1024, NEVER, np.int64)
        self._values = np.full((fields, 1024), np.nan, np.float64)

    def run(
        self,
        is_put: NDArray[np.bool_],
        entities: NDArray[np.int64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        entity_count: int,
    ) -> NDArray[np.float64]:
        """Apply puts and gets in order; returns [fields, n], NaN for puts and unknown entities.

        Args:
            is_put: whether each operation is a put (of `values[:, i]`) or a get.
            entities: the entity number of each operation, -1 for none.
            times: the event times of puts, in ms; not read for gets.
            values: the values of puts [fields, n]; not read for gets.
            entity_count: the number of entity numbers that exist.
        """
        if entity_count > self._times.size:
            self._grow(max(entity_count, self._times.size + self._times.size // 2))
        out = np.full(values.shape, np.nan, np.float64)
        _run(is_put, entities, times, values, self._times, self._values, out)
        return out

    def look(self, entities: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the values of entities now: [fields, n], NaN for -1 and unknown entities."""
        out = np.full((len(self._values), entities.size), np.nan, np.float64)
        known = (entities >= 0) & (entities < self._times.size)
        out[:, known] = self._values[:, entities[known]]
        return out

    def mark(self, live: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the entities that have a profile as live; yields units after each slice."""
        for first in range(0, min(live.size, self._times.size), ENTITIES_A_SLICE):
            last = min(first + ENTITIES_A_SLICE, live.size, self._times.size)
            live[first:last] |= self._times[first:last] != NEVER
            yield (last - first) // 16

    def arrays(self) -> Arrays:
        """Return all state, for a snapshot."""
        return {"times": self._times, "values": self._values}

    def restore(self, arrays: Arrays) -> None:
        """Replace all state by that of a snapshot."""
        self._times = np.array(arrays["times"], np.int64)
        self._values = np.array(arrays["values"], np.float64)

    def _grow(self, size: int) -> None:
        times = np.full(size, NEVER, np.int64)
        times[: self._times.size] = self._times
        values = np.full((self._values.shape[0], size), np.nan, np.float64)
        values[:, : self._times.size] = self._values
        self._times, self._values = times, values


@kernel
def _run(is_put, entities, times, values, row_times, row_values, out):  # type: ignore[no-untyped-def]
    for i in range(entities.size):
        entity = entities[i]
        if entity < 0:
            continue
        if is_put[i]:
            if times[i] >= row_times[entity]:
                row_times[entity] = times[i]
                for k in range(values.shape[0]):
                    row_values[k, entity] = values[k, i]
        else:
            for k in range(values.shape[0]):
                out[k, i] = row_values[k, entity]
