"""The newest values of each entity of a feature group, in columns.

A put with an older event time than the stored one changes nothing here (it still goes to the
offline store); one with an equal or newer time replaces the whole record. Source of the semantics:
SageMaker Feature Store's online store, with one rule for equal times in both stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel

from ..state_arrays import Arrays

NEVER = np.iinfo(np.int64).min
ENTITIES_A_SLICE: Final = 65_536


class Profiles:
    """Values of `fields` float64 fields for each entity number; missing is NaN."""

    def __init__(self, fields: int) -> None:
        self._times = np.full(1024, NEVER, np.int64)
        self._values = np.full((fields, 1024), np.nan, np.float64)

    def run(
        self,
        is_put: NDArray[np.bool_],
        entities: NDArray[np.int64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        largest: int,
    ) -> NDArray[np.float64]:
        """Carry out puts and gets in order; returns [fields, n], NaN at puts and unknown entities.

        Args:
            is_put: whether each operation puts (`values[:, i]`) or gets.
            entities: their numbers, -1 for none.
            times: event times of puts.
            values: [fields, n]; columns of gets are not read.
            largest: how many entity numbers exist.
        """
        if largest > self._times.size:
            self._grow(max(largest, self._times.size + self._times.size // 2))
        out = np.full(values.shape, np.nan, np.float64)
        _run(is_put, entities, times, values, self._times, self._values, out)
        return out

    def mark(self, living: NDArray[np.bool_]) -> Iterator[int]:
        """Mark the entities that have a profile, a slice at a time."""
        for first in range(0, min(living.size, self._times.size), ENTITIES_A_SLICE):
            last = min(first + ENTITIES_A_SLICE, living.size, self._times.size)
            living[first:last] |= self._times[first:last] != NEVER
            yield (last - first) // 16

    def arrays(self) -> Arrays:
        """All state, for a snapshot."""
        return {"times": self._times, "values": self._values}

    def restore(self, arrays: Arrays) -> None:
        """Take state from a snapshot."""
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
