"""Records of plans from the offline store, in bulk; what isn't there yet comes from the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from claimtrace.batches.records import Records
from claimtrace.buffers.byte_strings import ByteStrings
from claimtrace.errors import StateError
from featurestore.offline.adapters.delta import OfflineStore
from featurestore.offline.tables import EVENTS
from serving.evidence.index import Gap, Read
from serving.evidence.sources import Place
from stream.journal.plan import Plan, Range
from stream.journal.source import Source

_COLUMNS = ("topic", "partition", "position", "key", "value", "log_time_ms")

TopicPartition = tuple[str, int]


class StoredRecords:
    """Reads records by plan or by place.

    Args:
        store: the offline store.
        source: the log.
        by_position: whether the log finds a single record by its position; else whole ranges of
            plans are read from it.
        together: whether many single records of one partition can be read in one call.
    """

    def __init__(
        self,
        store: OfflineStore,
        source: Source,
        *,
        by_position: bool = True,
        together: bool = False,
    ) -> None:
        self._store, self._source = store, source
        self._by_position, self._together = by_position, together

    def read(self, plans: Sequence[Plan]) -> Read:
        """Return the records of some plans, and those that are neither here nor there."""
        spans = [(plan.number, span) for plan in plans for span in plan.ranges]
        stored = self._stored(_bounds([span for _, span in spans]))
        have = {part: np.sort(stored.positions[stored.parts == i])
                for i, part in enumerate(stored.topic_partitions)}  # fmt: skip
        parts, gaps, replaced = [], [], []
        for number, span in spans:
            positions = have.get((span.topic, span.partition), np.zeros(0, np.int64))
            edges = np.searchsorted(positions, [span.from_position, span.to_position])
            count = int(edges[1] - edges[0])
            if count == span.to_position - span.from_position:
                continue
            try:
                parts.append(Records.of(self._source.fetch([span])))
                replaced.append(span)
            except StateError:
                gaps += _missing(span, positions[edges[0] : edges[1]], number)
        kept = np.ones(len(stored), np.bool_)
        for span in replaced:
            is_in = stored.is_on({(span.topic, span.partition)})
            is_in &= stored.positions >= span.from_position
            kept &= ~(is_in & (stored.positions < span.to_position))
        return Read(Records.joined([stored.take(np.flatnonzero(kept)), *parts]), gaps)

    def at(self, places: Sequence[Place], plans: Mapping[int, Plan]) -> Records:
        """Return the records at some places, in their order, without those that are gone."""
        found: dict[tuple[str, int, int], Records] = {}
        if self._together and (whole := self._together_at(places)) is not None:
            return whole
        for place in places if self._by_position else ():
            topic, partition, position, _ = place
            span = Range(topic, partition, position, position + 1)
            try:
                found[place[:3]] = Records.of(self._source.fetch([span]))
            except StateError:
                continue
        lost = [place for place in places if place[:3] not in found]
        if lost:
            found |= self._from_store(lost)
        lost = [place for place in lost if place[:3] not in found]
        for place in lost if not self._by_position else ():
            found |= self._from_plan(plans[place.plan], place)
        return Records.joined([found[place[:3]] for place in places if place[:3] in found])

    def _together_at(self, places: Sequence[Place]) -> Records | None:
        """Read all places in one call, in the order of their positions; None if one is gone."""
        spans = [Range(*place[:3], place.position + 1) for place in sorted(places)]
        try:
            records = Records.of(self._source.fetch(spans))
        except StateError:
            return None
        parts = [records.topic_partitions[part] for part in records.parts.tolist()]
        at = {(*part, position): i
              for i, (part, position) in enumerate(
                  zip(parts, records.positions.tolist(), strict=True))}  # fmt: skip
        return records.take(np.array([at[place[:3]] for place in places], np.int64))

    def _from_store(self, places: Sequence[Place]) -> dict[tuple[str, int, int], Records]:
        """Read single records from the offline store."""
        wanted = {place[:3] for place in places}
        spans = [Range(*place[:3], place.position + 1) for place in places]
        stored = self._stored(_bounds(spans), [place.position for place in places])
        found = {}
        for i, (part, position) in enumerate(
            zip(stored.parts.tolist(), stored.positions.tolist(), strict=True)
        ):
            place = (*stored.topic_partitions[part], position)
            if place in wanted:
                found[place] = stored.take(np.array([i]))
        return found

    def _from_plan(self, plan: Plan, place: Place) -> dict[tuple[str, int, int], Records]:
        """Read the whole range of a plan from a log that doesn't find records by position."""
        for span in plan.ranges:
            is_in = span.from_position <= place.position < span.to_position
            if (span.topic, span.partition) == place[:2] and is_in:
                try:
                    records = Records.of(self._source.fetch([span]))
                except StateError:
                    return {}
                return {(place[0], place[1], record_at): records.take(np.array([i]))
                        for i, record_at in enumerate(records.positions.tolist())}  # fmt: skip
        return {}

    def _stored(
        self, bounds: Mapping[TopicPartition, tuple[int, int]], exactly: Sequence[int] | None = None
    ) -> Records:
        """Return the stored records within bounds of position, by topic-partition."""
        if not bounds or EVENTS not in self._store.tables():
            return Records.of([])
        low = min(each[0] for each in bounds.values())
        high = max(each[1] for each in bounds.values())
        wanted: Any = (pc.field("position") >= low) & (pc.field("position") < high)
        if exactly is not None:
            wanted &= pc.field("position").isin(sorted(set(exactly)))
        scan = self._store.dataset(EVENTS).scanner(columns=list(_COLUMNS), filter=wanted)
        parts = [_records_of(batch) for batch in scan.to_batches() if batch.num_rows]
        found = Records.joined(parts)
        kept = np.zeros(len(found), np.bool_)
        for i, topic_partition in enumerate(found.topic_partitions):
            if topic_partition in bounds:
                first, last = bounds[topic_partition]
                at = found.positions
                kept |= (found.parts == i) & (at >= first) & (at < last)
        return found.take(np.flatnonzero(kept))


def _records_of(batch: pa.RecordBatch) -> Records:
    """Return a batch of stored rows as records, without an object for each."""
    topics = batch["topic"].dictionary_encode() if not pa.types.is_dictionary(
        batch["topic"].type
    ) else batch["topic"]  # fmt: skip
    names = topics.dictionary.to_pylist()
    codes = topics.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    partitions = batch["partition"].to_numpy(zero_copy_only=False).astype(np.int64)
    pairs, parts = np.unique(codes << 32 | partitions, return_inverse=True)
    topic_partitions = [(names[pair >> 32], pair & 0xFFFFFFFF) for pair in pairs.tolist()]
    return Records(
        topic_partitions, parts.astype(np.int64),
        batch["position"].to_numpy(zero_copy_only=False).astype(np.int64),
        _byte_strings(batch["key"]), _byte_strings(batch["value"]),
        batch["log_time_ms"].to_numpy(zero_copy_only=False).astype(np.int64),
    )  # fmt: skip


def _byte_strings(column: pa.Array) -> ByteStrings:
    """Return a column of bytes over Arrow's own buffers."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.cast(pa.large_binary())
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    sizes = np.diff(bounds)
    if column.null_count:
        sizes = np.where(column.is_null().to_numpy(zero_copy_only=False), -1, sizes)
    return ByteStrings(content, bounds[:-1].copy(), sizes)


def _bounds(spans: Sequence[Range]) -> dict[TopicPartition, tuple[int, int]]:
    found: dict[TopicPartition, tuple[int, int]] = {}
    for span in spans:
        first, last = found.get((span.topic, span.partition), (span.from_position, 0))
        found[span.topic, span.partition] = (
            min(first, span.from_position), max(last, span.to_position)
        )  # fmt: skip
    return found


def _missing(span: Range, have: Any, plan: int) -> list[Gap]:
    """Return the stretches of a range without any record."""
    edges = [span.from_position - 1, *have.tolist(), span.to_position]
    return [
        Gap(span.topic, span.partition, before + 1, behind, plan)
        for before, behind in pairwise(edges)
        if behind > before + 1
    ]
