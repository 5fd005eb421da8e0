"""Records of one batch in columns; a `Record` is made only when one is accessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..buffers.byte_strings import ByteStrings
from ..events import Headers, Record

TopicPartition = tuple[str, int]
"""A topic and a partition."""


class Records(Sequence[Record]):
    """A sequence of records.

    Args:
        topic_partitions: the topic-partitions that the records come from, each once.
        parts: int64[n], the index into `topic_partitions` for each record.
        positions, log_times_ms: int64[n].
        keys, values: null where a record has none.
        headers: None when no record has any.

    >>> records = Records.of([Record("a", 0, 5, None, b"x", 9), Record("a", 1, 0, b"k", b"y", 7)])
    >>> records.topic_partitions, records.parts.tolist(), records[1].key
    ([('a', 0), ('a', 1)], [0, 1], b'k')
    >>> records.take(np.array([1]))[0].position
    0
    """

    __slots__ = (
        "headers",
        "keys",
        "log_times_ms",
        "parts",
        "positions",
        "topic_partitions",
        "values",
    )

    def __init__(
        self,
        topic_partitions: Sequence[TopicPartition],
        parts: NDArray[np.int64],
        positions: NDArray[np.int64],
        keys: ByteStrings,
        values: ByteStrings,
        log_times_ms: NDArray[np.int64],
        headers: Sequence[Headers] | None = None,
    ) -> None:
        self.topic_partitions, self.parts, self.positions = topic_partitions, parts, positions
        self.keys, self.values, self.log_times_ms = keys, values, log_times_ms
        self.headers = headers

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Return records in their order; a `Records` is returned unchanged."""
        if isinstance(records, Records):
            return records
        rows = list(records)
        if not rows:
            none = np.zeros(0, np.int64)
            return cls([], none, none, ByteStrings.none(0), ByteStrings.none(0), none)
        topics, partitions, positions, keys, values, times, headers = zip(*rows, strict=True)
        numbers: dict[TopicPartition, int] = {}
        parts = [
            numbers.setdefault(topic_partition, len(numbers))
            for topic_partition in zip(topics, partitions, strict=True)
        ]
        return cls(
            list(numbers), np.array(parts, np.int64), np.array(positions, np.int64),
            ByteStrings.of(keys), ByteStrings.of(values), np.array(times, np.int64),
            headers if any(headers) else None,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Return the concatenation of several batches."""
        parts = [part for part in parts if len(part)]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of([])
        numbers: dict[TopicPartition, int] = {}
        renumbered = [  # for each batch: its topic-partitions' indices in the joined list
            np.array([numbers.setdefault(tp, len(numbers)) for tp in p.topic_partitions], np.int64)
            for p in parts
        ]
        headers: list[Headers] | None = None
        if any(part.headers is not None for part in parts):
            headers = [each for part in parts for each in part.headers or [()] * len(part)]
        return cls(
            list(numbers),
            np.concatenate([new[part.parts] for new, part in zip(renumbered, parts, strict=True)]),
            np.concatenate([part.positions for part in parts]),
            ByteStrings.joined([part.keys for part in parts]),
            ByteStrings.joined([part.values for part in parts]),
            np.concatenate([part.log_times_ms for part in parts]),
            headers,
        )

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> Records: ...
    def __getitem__(self, at: int | slice) -> Record | Records:
        if isinstance(at, slice):
            headers = None if self.headers is None else self.headers[at]
            return Records(
                self.topic_partitions, self.parts[at], self.positions[at], self.keys[at],
                self.values[at], self.log_times_ms[at], headers,
            )  # fmt: skip
        topic, partition = self.topic_partitions[self.parts[at]]
        return Record(
            topic, partition, int(self.positions[at]), self.keys[at], self.values[at],
            int(self.log_times_ms[at]), () if self.headers is None else self.headers[at],
        )  # fmt: skip

    def __iter__(self) -> Iterator[Record]:
        topics = [topic for topic, _ in self.topic_partitions]
        columns = zip(
            [topics[part] for part in self.parts.tolist()], self.partitions().tolist(),
            self.positions.tolist(), self.keys, self.values, self.log_times_ms.tolist(),
            self.headers or [()] * len(self), strict=True,
        )  # fmt: skip
        return map(Record._make, columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: NDArray[np.int64]) -> Records:
        """Return the records at `rows`, each at most once, in that order; all rows: `self`."""
        if len(rows) == len(self) and (not len(rows) or (rows[1:] > rows[:-1]).all()):
            return self
        return Records(
            self.topic_partitions,
            self.parts[rows],
            self.positions[rows],
            self.keys.take(rows),
            self.values.take(rows),
            self.log_times_ms[rows],
            None if self.headers is None else [self.headers[i] for i in rows.tolist()],
        )

    def within(self, most_bytes: int) -> Records:
        """Return the longest prefix whose values together fit into a limit; at least one record."""
        sizes = np.cumsum(np.maximum(self.values.sizes, 0))
        fitting = int(np.searchsorted(sizes, most_bytes, side="right"))
        return self if fitting >= len(self) else self[: max(fitting, 1)]

    def is_of(self, topic: str) -> NDArray[np.bool_]:
        """Return bool[n]: whether each record is of a topic."""
        return self._are([each == topic for each, _ in self.topic_partitions])

    def is_on(self, topic_partitions: AbstractSet[TopicPartition]) -> NDArray[np.bool_]:
        """Return bool[n]: whether each record is of one of some topic-partitions."""
        return self._are([each in topic_partitions for each in self.topic_partitions])

    def partitions(self) -> NDArray[np.int64]:
        """Return int64[n]: the partition of each record."""
        return np.array([partition for _, partition in self.topic_partitions], np.int64)[self.parts]

    def _are(self, flags: list[bool]) -> NDArray[np.bool_]:
        """Spread a flag for each topic-partition over the records."""
        if all(flags):
            return np.ones(len(self), np.bool_)
        spread: NDArray[np.bool_] = np.array(flags, np.bool_)[self.parts]
        return spread
