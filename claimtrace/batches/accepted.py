"""Accepted events of one batch in columns, with the records that carried them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..events import Event, Record
from ..refusals import Refusal
from .records import Records

UNREAD: Final = Event()
"""Placeholder for the event of a claim whose fields are in columns."""


class Accepted(NamedTuple):
    """An accepted event, decoded; `content` is a 64-bit digest of its bytes."""

    event: Event
    event_id: str
    event_time_ms: int
    flags: int
    content: int


class AcceptedRecord(NamedTuple):
    """An accepted event with the record that carried it."""

    record: Record
    accepted: Accepted


class AcceptedEvents(Sequence[AcceptedRecord]):
    """Accepted events in columns; an `AcceptedRecord` is made only when an item is accessed.

    Args:
        records: the record of each event.
        event_ids: the id of each event.
        event_times_ms, flags: int64[n], see `Accepted`.
        contents: uint64[n], see `Accepted`.
        events: index -> event; the fields of events that aren't in it are in columns
            (`claimtrace.encoding.json_columns.JsonColumns`).
    """

    __slots__ = ("contents", "event_ids", "event_times_ms", "events", "flags", "records")

    def __init__(
        self,
        records: Records,
        event_ids: Sequence[str],
        event_times_ms: NDArray[np.int64],
        flags: NDArray[np.int64],
        contents: NDArray[np.uint64],
        events: Mapping[int, Event],
    ) -> None:
        self.records, self.event_ids, self.event_times_ms = records, event_ids, event_times_ms
        self.flags, self.contents, self.events = flags, contents, events

    @classmethod
    def of(cls, facts: Sequence[AcceptedRecord]) -> AcceptedEvents:
        """Return accepted events in their order; an `AcceptedEvents` is returned unchanged."""
        if isinstance(facts, AcceptedEvents):
            return facts
        records = Records.of([fact.record for fact in facts])
        return cls.accepted(records, [fact.accepted for fact in facts])

    @classmethod
    def accepted(cls, records: Records, given: Sequence[Accepted]) -> AcceptedEvents:
        """Return the events `given`, one for each of the records."""
        return cls(
            records,
            [each.event_id for each in given],
            np.array([each.event_time_ms for each in given], np.int64),
            np.array([each.flags for each in given], np.int64),
            np.array([each.content for each in given], np.uint64),
            {i: each.event for i, each in enumerate(given)},
        )

    def __len__(self) -> int:
        return len(self.event_ids)

    @overload
    def __getitem__(self, at: int) -> AcceptedRecord: ...
    @overload
    def __getitem__(self, at: slice) -> AcceptedEvents: ...
    def __getitem__(self, at: int | slice) -> AcceptedRecord | AcceptedEvents:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        at = range(len(self))[at]
        accepted = Accepted(
            self.event(at), self.event_ids[at], int(self.event_times_ms[at]), int(self.flags[at]),
            int(self.contents[at]),
        )  # fmt: skip
        return AcceptedRecord(self.records[at], accepted)

    def __iter__(self) -> Iterator[AcceptedRecord]:
        return (self[i] for i in range(len(self)))

    def event(self, at: int) -> Event:
        """Return the event at an index; `UNREAD` where its fields are in columns."""
        return self.events.get(at, UNREAD)

    def take(self, rows: NDArray[np.int64]) -> AcceptedEvents:
        """Return the events at `rows`, which are ascending."""
        if len(rows) == len(self):
            return self
        return AcceptedEvents(
            self.records.take(rows),
            [self.event_ids[i] for i in rows.tolist()],
            self.event_times_ms[rows],
            self.flags[rows],
            self.contents[rows],
            self._events_at(rows),
        )

    def _events_at(self, rows: NDArray[np.int64]) -> dict[int, Event]:
        """Return the event objects at ascending `rows`, by their index within `rows`."""
        if not self.events or not len(rows):
            return {}
        indices = np.fromiter(self.events, np.int64, len(self.events))
        order = np.minimum(np.searchsorted(rows, indices), len(rows) - 1)
        found = (rows[order] == indices).tolist()
        pairs = zip(order.tolist(), self.events.values(), found, strict=True)
        return {i: event for i, event, is_in_rows in pairs if is_in_rows}


class DecodedBatch(NamedTuple):
    """A batch of records after decoding.

    Attributes:
        facts: the accepted events, in order.
        accepted: int64[n], the index among the records of each accepted event, ascending.
        refused: index among the records -> refusal, or None for a tombstone.
    """

    facts: AcceptedEvents
    accepted: NDArray[np.int64]
    refused: Mapping[int, Refusal | None]

    def part(self, is_in: NDArray[np.bool_]) -> DecodedBatch:
        """Return the batch of only those records for which bool[n] `is_in` is true."""
        if is_in.all():
            return self
        new_indices = np.cumsum(is_in) - 1
        kept = np.flatnonzero(is_in[self.accepted])
        refused = {int(new_indices[i]): answer for i, answer in self.refused.items() if is_in[i]}
        return DecodedBatch(self.facts.take(kept), new_indices[self.accepted[kept]], refused)


def decoded_batch_of(
    records: Records, answers: Sequence[Accepted | Refusal | None]
) -> DecodedBatch:
    """Return a decoded batch from the answers of `Decoder.decode`, one for each record."""
    found = [i for i, answer in enumerate(answers) if type(answer) is Accepted]
    given = [answer for answer in answers if type(answer) is Accepted]
    accepted = np.array(found, np.int64)
    facts = AcceptedEvents.accepted(records.take(accepted), given)
    refused = {i: a for i, a in enumerate(answers) if not isinstance(a, Accepted)}
    return DecodedBatch(facts, accepted, refused)


def interleaved(
    records: Records,
    plain: tuple[AcceptedEvents, NDArray[np.int64]],
    decoded: DecodedBatch,
    decoded_at: NDArray[np.int64],
) -> DecodedBatch:
    """Merge the two decoded parts of a batch, in the order of its records.

    Args:
        records: the whole batch.
        plain: accepted events without event objects, and their indices among the records.
        decoded: the other records, decoded.
        decoded_at: the indices of those among the records.
    """
    facts, at = plain
    indices = np.concatenate([at, decoded_at[decoded.accepted]])
    order = np.argsort(indices)
    accepted = indices[order]
    back = np.empty(len(order), np.int64)  # the inverse of `order`: where each event ends up
    back[order] = np.arange(len(order))
    ids = [*facts.event_ids, *decoded.facts.event_ids]
    behind = back[len(facts) :].tolist()
    both = facts, decoded.facts
    joined = AcceptedEvents(
        records.take(accepted),
        [ids[i] for i in order.tolist()],
        np.concatenate([each.event_times_ms for each in both])[order],
        np.concatenate([each.flags for each in both])[order],
        np.concatenate([each.contents for each in both])[order],
        {behind[i]: event for i, event in decoded.facts.events.items()},
    )
    refused = {int(decoded_at[i]): answer for i, answer in decoded.refused.items()}
    return DecodedBatch(joined, accepted, refused)
