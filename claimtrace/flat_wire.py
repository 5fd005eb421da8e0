"""A wire that reads plain claims into columns, and decodes all else as `Wire` does.

The answers are those of `Wire.decode`, but that a plain claim's event stays unread: its fields lie
in columns, where the features take them from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .events import Event, Record
from .flat_json import FlatColumns, FlatReader
from .flat_kernel import MISSING
from .framing import Plain
from .limits import (
    EVENT_TIME_MIN_MS,
    FUTURE_REFUSED_MS,
    FUTURE_TOLERANCE_MS,
    MAX_VALUE_BYTES,
)
from .siphash import Key, hash_parts
from .wire import CLAMPED, NO_TIME, Accepted, Refusal, Wire, has_too_many_headers

UNREAD: Final = Event()
"""Stands for the event of a claim whose fields lie in columns."""


class Read(NamedTuple):
    """The answers for a batch, and the fields of its accepted claims, in order, in columns."""

    answers: list[Accepted | Refusal | None]
    claims: FlatColumns


class FlatWire(Wire):
    """A `Wire` with a fast way for claims.

    Args:
        events: the event types, the claim first.
        currency, key, plain: as of `Wire`.
    """

    def __init__(
        self, events: Sequence[type[Event]], currency: str, key: Key, plain: Plain | None = None
    ) -> None:
        super().__init__(events, currency, key, plain)
        self.claims = FlatReader(events[0])

    def read(self, records: Sequence[Record], unknown_schemas: Collection[int] = ()) -> Read:
        """The answers of `decode`, but `UNREAD` for claims that are plain: they are in columns."""
        topic = self.claims.kind.topic
        places = [i for i, record in enumerate(records) if record.topic == topic]
        values = [_readable(records[i]) for i in places]
        bounds = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(value) for value in values], out=bounds[1:])
        joined = b"".join([*values, self.claims.defaults])
        buffer = np.frombuffer(joined, np.uint8)
        plain, columns = self.claims.read(buffer, bounds, np.arange(len(values)))
        log_times = np.array([records[i].log_time_ms for i in places], np.int64)
        times, flags, in_range = self._times(columns, log_times)
        plain &= in_range
        plain &= self._in_currency(columns)
        contents = hash_parts(buffer, bounds, self._key)
        text = joined.decode("latin-1")
        first, second = columns.of(self.claims.kind.id_field)
        answers: list[Accepted | Refusal | None] = [None] * len(records)
        rows = np.flatnonzero(plain)
        for row, start, end, time, flag, content in zip(
            rows.tolist(), first[rows].tolist(), second[rows].tolist(), times[rows].tolist(),
            flags[rows].tolist(), contents[rows].tolist(), strict=True,
        ):  # fmt: skip
            answers[places[row]] = Accepted(UNREAD, text[start:end], time, flag, content)
        return Read(answers, self._with_others(records, unknown_schemas, answers, places, columns))

    def _with_others(
        self,
        records: Sequence[Record],
        unknown_schemas: Collection[int],
        answers: list[Accepted | Refusal | None],
        places: list[int],
        columns: FlatColumns,
    ) -> FlatColumns:
        """Decode what isn't plain into `answers`; returns the columns of all accepted claims."""
        others = [i for i, answer in enumerate(answers) if answer is None]
        decoded = self.decode([records[i] for i in others], unknown_schemas)
        for i, answer in zip(others, decoded, strict=True):
            answers[i] = answer
        found = [(row, answers[i]) for row, i in enumerate(places)]
        events = {row: a.event for row, a in found if type(a) is Accepted and a.event is not UNREAD}
        accepted = [row for row, answer in found if type(answer) is Accepted]
        columns = self.claims.fill(columns, events)
        return columns if len(accepted) == len(places) else columns.rows(accepted)

    def _times(
        self, columns: FlatColumns, log_times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """`event_time_ms` for all rows: times, flags, and whether they are in range."""
        first, second = columns.of(self.claims.kind.time_field)
        absent = second == MISSING
        clamped = ~absent & (first > log_times + FUTURE_TOLERANCE_MS)
        times = np.where(absent | clamped, log_times, first)
        in_range = (first >= EVENT_TIME_MIN_MS) & (first <= log_times + FUTURE_REFUSED_MS)
        return times, absent * NO_TIME | clamped * CLAMPED, absent | in_range

    def _in_currency(self, columns: FlatColumns) -> NDArray[np.bool_] | bool:
        if not self._has_currency[self.claims.kind.topic]:
            return True
        wanted = np.frombuffer(self._currency.encode(), np.uint8)
        first, second = columns.of("currency")
        fits = second - first == len(wanted)
        at = np.where(fits, first, 0)[:, None] + np.arange(len(wanted))
        in_it: NDArray[np.bool_] = fits & (columns.buffer[at] == wanted).all(axis=1)
        return in_it


def _readable(record: Record) -> bytes:
    """A value within the limits; nothing in place of others, and nothing is never plain."""
    value = record.value
    if not value or len(value) > MAX_VALUE_BYTES:
        return b""
    return b"" if record.headers and has_too_many_headers(record) else value
