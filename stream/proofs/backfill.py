"""The served vectors computed again from the log, and compared with what was served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimtrace.events import Record
from featurestore.definitions.domain import Domain

from ..engine.engine import Engine
from ..journal.plan import Plan
from ..journal.source import Source

BATCH_RECORDS = 3_333
"""Not a divisor of anything: the back-fill must not depend on the borders that live batches had."""

Vectors = dict[tuple[int, int], NDArray[np.float64]]


@dataclass(frozen=True)
class FeatureDiff:
    """Served against back-filled: how many of `values` differ, and vectors only one side has."""

    vectors: int
    values: int
    differing: int
    missing: int
    extra: int
    worst: list[tuple[str, int]]


def backfill(
    engine: Engine,
    plans: Iterable[Plan],
    source: Source,
    progress: Callable[[int], None] = lambda _: None,
) -> Vectors:
    """Every accepted claim's vector by (partition, position), in the journal's order."""
    vectors: Vectors = {}
    for records in _rebatched(plans, source):
        read, taken = engine.take_in(records)
        claims = read.facts.take(taken.claims).records
        places = zip(claims.partitions(), claims.positions.tolist(), strict=True)
        vectors.update(zip(places, taken.vectors.matrix, strict=True))
        progress(len(records))
    return vectors


def compare(vectors: Vectors, served: Iterable[pa.RecordBatch], domain: Domain) -> FeatureDiff:
    """Compare with the offline store's rows of (partition, position, features, definitions)."""
    left = dict(vectors)
    width = len(domain.features)
    differing = np.zeros(width, np.int64)
    compared = extra = 0
    for batch in served:
        places = zip(batch["partition"].to_pylist(), batch["position"].to_pylist(), strict=True)
        flat = batch["features"].flatten().to_numpy(zero_copy_only=False)
        if len(flat) != batch.num_rows * width:
            extra += batch.num_rows
            continue
        for place, row in zip(places, flat.reshape(-1, width), strict=True):
            mine = left.pop(place, None)
            if mine is None:
                extra += 1
                continue
            compared += 1
            differing += ~((mine == row) | (np.isnan(mine) & np.isnan(row)))
    order: list[Any] = np.argsort(-differing, kind="stable").tolist()
    names = domain.feature_names
    worst = [(names[i], int(differing[i])) for i in order[:5] if differing[i]]
    total = int(differing.sum())
    return FeatureDiff(compared, compared * width, total, len(left), extra, worst)


def _rebatched(plans: Iterable[Plan], source: Source) -> Iterator[list[Record]]:
    waiting: list[Record] = []
    for plan in plans:
        waiting += source.fetch(plan.ranges)
        while len(waiting) >= BATCH_RECORDS:
            yield waiting[:BATCH_RECORDS]
            waiting = waiting[BATCH_RECORDS:]
    if waiting:
        yield waiting
