"""Records to be appended to logs, in columns; an `Outgoing` is made only when one is accessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..buffers.byte_strings import ByteStrings
from ..events import Headers, Outgoing

Row = tuple[str, int, bytes | None, bytes | None, int, Headers]
"""The fields of an `Outgoing`, in order."""


class OutgoingColumns(NamedTuple):
    """Records for one topic, in order.

    `partitions` and `log_times_ms` are int64[n]; `headers` is None when no record has any.
    """

    topic: str
    partitions: NDArray[np.int64]
    keys: ByteStrings
    values: ByteStrings
    log_times_ms: NDArray[np.int64]
    headers: Sequence[Headers] | None = None

    def by_partition(self) -> Iterator[tuple[int, OutgoingColumns]]:
        """Yield each partition with its records, partitions ascending, records in their order."""
        order = np.argsort(self.partitions, kind="stable")
        present, counts = np.unique(self.partitions[order], return_counts=True)
        keys, values, times = (
            self.keys.take(order),
            self.values.take(order),
            self.log_times_ms[order],
        )
        headers = self.headers and [self.headers[row] for row in order.tolist()]
        end = 0
        for partition, count in zip(present.tolist(), counts.tolist(), strict=True):
            start, end = end, end + count
            yield partition, OutgoingColumns(
                self.topic, np.full(count, partition), keys[start:end], values[start:end],
                times[start:end], headers and headers[start:end],
            )  # fmt: skip

    def rows(self) -> Iterator[Row]:
        """Iterate over the fields of each record."""
        headers = self.headers or [()] * len(self.partitions)
        return zip(
            [self.topic] * len(headers), self.partitions.tolist(), self.keys, self.values,
            self.log_times_ms.tolist(), headers, strict=True,
        )  # fmt: skip


class OutgoingBatch(Sequence[Outgoing]):
    """A sequence of records, held as columns for each topic.

    >>> box = OutgoingBatch.of([Outgoing("a", 1, None, b"x", 5), Outgoing("a", 0, b"k", b"y", 7)])
    >>> box[1].key, [(n, list(part.values)) for n, part in box.parts[0].by_partition()]
    (b'k', [(0, [b'y']), (1, [b'x'])])
    """

    def __init__(self, parts: Sequence[OutgoingColumns]) -> None:
        self.parts = [part for part in parts if len(part.partitions)]

    @classmethod
    def of(cls, records: Iterable[Outgoing]) -> OutgoingBatch:
        """Return records grouped by topic; those of one topic stay in their order."""
        if isinstance(records, OutgoingBatch):
            return records
        topics: dict[str, list[Outgoing]] = {}
        for record in records:
            topics.setdefault(record.topic, []).append(record)
        return cls([_columns(topic, rows) for topic, rows in topics.items()])

    def rows(self) -> Iterator[Row]:
        """Iterate over the fields of each record, in order: faster than making objects."""
        return chain.from_iterable(part.rows() for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part.partitions) for part in self.parts)

    def __iter__(self) -> Iterator[Outgoing]:
        return map(Outgoing._make, self.rows())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, at: int) -> Outgoing: ...
    @overload
    def __getitem__(self, at: slice) -> list[Outgoing]: ...
    def __getitem__(self, at: int | slice) -> Outgoing | list[Outgoing]:
        return list(self)[at]


def _columns(topic: str, rows: Sequence[Outgoing]) -> OutgoingColumns:
    headers = [row.headers for row in rows]
    return OutgoingColumns(
        topic,
        np.array([row.partition for row in rows], np.int64),
        ByteStrings.of([row.key for row in rows]),
        ByteStrings.of([row.value for row in rows]),
        np.array([row.log_time_ms for row in rows], np.int64),
        headers if any(headers) else None,
    )
