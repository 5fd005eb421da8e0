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
"""Stands for the event of a claim whose fields lie in columns."""


class Accepted(NamedTuple):
    """An event with what the log knows of it. `content` is a 64-bit digest of its bytes."""

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
    """Accepted events, in order; a `AcceptedRecord` is made only where somebody asks for one.

    Args:
        records: which carried them.
        event_ids: of each.
        event_times_ms, flags: int64[n]; contents: uint64[n]; see `Accepted`.
        events: by place; the fields of the others lie in columns (`FlatColumns`).
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
        """Any facts, in their order."""
        if isinstance(facts, AcceptedEvents):
            return facts
        records = Records.of([fact.record for fact in facts])
        return cls.accepted(records, [fact.accepted for fact in facts])

    @classmethod
    def accepted(cls, records: Records, given: Sequence[Accepted]) -> AcceptedEvents:
        """What was accepted of each of some records."""
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
        """The event at a place; `UNREAD` where its fields lie in columns."""
        return self.events.get(at, UNREAD)

    def take(self, rows: NDArray[np.int64]) -> AcceptedEvents:
        """Some of the facts, by ascending places."""
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
        """The events at some ascending places, by their order among those."""
        if not self.events or not len(rows):
            return {}
        places = np.fromiter(self.events, np.int64, len(self.events))
        order = np.minimum(np.searchsorted(rows, places), len(rows) - 1)
        found = (rows[order] == places).tolist()
        pairs = zip(order.tolist(), self.events.values(), found, strict=True)
        return {i: event for i, event, is_there in pairs if is_there}


class DecodedBatch(NamedTuple):
    """What a batch of records turned out to be.

    `facts` are its accepted events, which stand at `accepted` int64[n] among the records; `refused`
    are the others by place, None for a tombstone.
    """

    facts: AcceptedEvents
    accepted: NDArray[np.int64]
    refused: Mapping[int, Refusal | None]

    def part(self, is_in: NDArray[np.bool_]) -> DecodedBatch:
        """The same of some of the records."""
        if is_in.all():
            return self
        places = np.cumsum(is_in) - 1
        kept = np.flatnonzero(is_in[self.accepted])
        refused = {int(places[i]): answer for i, answer in self.refused.items() if is_in[i]}
        return DecodedBatch(self.facts.take(kept), places[self.accepted[kept]], refused)


def decoded_batch_of(
    records: Records, answers: Sequence[Accepted | Refusal | None]
) -> DecodedBatch:
    """What a batch turned out to be, from the answers of `Wire.decode`."""
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
    """What a batch turned out to be, from two parts of it.

    Args:
        records: the whole batch.
        plain: facts without objects, and their places among the records.
        decoded: what the other records turned out to be.
        decoded_at: the places of those.
    """
    facts, at = plain
    places = np.concatenate([at, decoded_at[decoded.accepted]])
    order = np.argsort(places)
    accepted = places[order]
    back = np.empty(len(order), np.int64)
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
