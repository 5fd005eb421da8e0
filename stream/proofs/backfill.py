"""Compute the vectors again from the log and compare them with the served ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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
"""Not a divisor of usual batch sizes: no vector may depend on the batch borders of the live run."""

Vectors = dict[tuple[int, int], NDArray[np.float64]]
"""float64[features] by (partition, position) of the claim."""


@dataclass(frozen=True)
class FeatureDiff:
    """Differences between served and back-filled vectors.

    `vectors` (of `values` numbers) were on both sides and `differing` of the numbers are unequal;
    `missing` vectors were not served, `extra` ones are served only or of another width; `worst`
    names up to five features with their differing values, the most first. `later` vectors are of
    plans whose rows weren't stored yet when the comparison began.
    """

    vectors: int
    values: int
    differing: int
    missing: int
    extra: int
    worst: list[tuple[str, int]]
    later: int = 0


def backfill(
    engine: Engine,
    plans: Iterable[Plan],
    source: Source,
    progress: Callable[[int], None] = lambda _: None,
) -> Vectors:
    """Compute the vector of every accepted claim, in the journal's order.

    Args:
        engine: without any state.
        plans: the whole journal, or its beginning.
        source: the input log.
        progress: called with the number of records of each batch.
    """
    vectors: Vectors = {}
    for records in _rebatched(engine, plans, source):
        decoded, ingested = engine.ingest(records)
        claims = decoded.facts.take(ingested.claims).records
        positions = zip(claims.partitions(), claims.positions.tolist(), strict=True)
        vectors.update(zip(positions, ingested.vectors.matrix, strict=True))
        progress(len(records))
    return vectors


def compare(
    vectors: Vectors,
    served: Iterable[pa.RecordBatch],
    domain: Domain,
    stored: Mapping[int, int] | None = None,
) -> FeatureDiff:
    """Compare back-filled vectors with the served ones.

    Args:
        vectors: of `backfill`.
        served: rows of the offline store with `partition`, `position` and `features`.
        domain: the definitions that both sides use.
        stored: by partition the position up to which rows were stored when `served` was opened;
            vectors from there on may be missing, as workers may be at work. None: none may.
    """
    unmatched = dict(vectors)
    width = len(domain.features)
    differing = np.zeros(width, np.int64)
    compared = extra = 0
    for batch in served:
        positions = zip(batch["partition"].to_pylist(), batch["position"].to_pylist(), strict=True)
        flat = batch["features"].flatten().to_numpy(zero_copy_only=False)
        if len(flat) != batch.num_rows * width:  # of other definitions: not comparable
            extra += batch.num_rows
            continue
        for position, row in zip(positions, flat.reshape(-1, width), strict=True):
            own = unmatched.pop(position, None)
            if own is None:
                extra += 1
                continue
            compared += 1
            differing += ~((own == row) | (np.isnan(own) & np.isnan(row)))
    order: list[Any] = np.argsort(-differing, kind="stable").tolist()
    names = domain.feature_names
    worst = [(names[i], int(differing[i])) for i in order[:5] if differing[i]]
    total = int(differing.sum())
    ends = stored or {}
    later = sum(position >= ends.get(part, position + 1) for part, position in unmatched)
    missing = len(unmatched) - later
    return FeatureDiff(compared, compared * width, total, missing, extra, worst, later)


def _rebatched(engine: Engine, plans: Iterable[Plan], source: Source) -> Iterator[list[Record]]:
    """Yield the records of all plans in batches of `BATCH_RECORDS`; no batch has two editions."""
    waiting: list[Record] = []
    for plan in plans:
        if plan.edition:
            if waiting:
                yield waiting
            waiting = []
            engine.begin(plan.edition)
        source.order_topics(engine.tie_order)
        waiting += source.fetch(plan.ranges)
        while len(waiting) >= BATCH_RECORDS:
            yield waiting[:BATCH_RECORDS]
            waiting = waiting[BATCH_RECORDS:]
    if waiting:
        yield waiting
