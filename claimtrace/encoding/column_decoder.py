"""A decoder that reads plain claims into columns, and all other records as `Decoder` does.

*Plain* is defined in `claimtrace.encoding.json_columns`. The result equals that of `Decoder.decode`
on the same records, except that no event object is made for a plain claim: its fields are in
columns, from which the features read them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ..batches.accepted import AcceptedEvents, DecodedBatch, decoded_batch_of, interleaved
from ..batches.records import Records
from ..buffers.byte_strings import ByteStrings
from ..buffers.siphash import Key, hash_parts
from ..event_flags import CLAMPED, NO_TIME
from ..events import Event
from ..limits import EVENT_TIME_MIN_MS, FUTURE_REFUSED_MS, FUTURE_TOLERANCE_MS, MAX_VALUE_BYTES
from ..schemas.confluent_frame import Plain
from .decoder import Decoder, has_too_many_headers
from .json_columns import JsonColumnReader, JsonColumns
from .json_kernel import MISSING


class ColumnDecoder(Decoder):
    """A `Decoder` with a fast path for claims.

    Args:
        events: the event types, the claim first.
        currency, key, plain: as for `Decoder`.
    """

    def __init__(
        self, events: Sequence[type[Event]], currency: str, key: Key, plain: Plain | None = None
    ) -> None:
        super().__init__(events, currency, key, plain)
        self.claims = JsonColumnReader(events[0])

    def read(
        self, records: Records, unknown_schemas: Collection[int] = ()
    ) -> tuple[DecodedBatch, JsonColumns]:
        """Decode records; returns also the columns of the accepted claims, in order.

        Args:
            records: of one plan.
            unknown_schemas: as for `Decoder.decode`.
        """
        claims_at = np.flatnonzero(records.is_of(self.claims.kind.topic))
        claims = records.take(claims_at)
        plain, facts, columns = self._read_plain(claims)
        is_other = np.ones(len(records), np.bool_)
        is_other[claims_at[plain]] = False
        others_at = np.flatnonzero(is_other)
        if not others_at.size:
            return DecodedBatch(facts, claims_at, {}), columns
        others = records.take(others_at)
        decoded = decoded_batch_of(others, self.decode(others, unknown_schemas))
        facts = facts.take(np.flatnonzero(plain))
        read = interleaved(records, (facts, claims_at[plain]), decoded, others_at)
        return read, self._accepted(columns, read, claims_at)

    def _read_plain(self, claims: Records) -> tuple[NDArray[np.bool_], AcceptedEvents, JsonColumns]:
        """Return which claims are plain, and events and columns of all as if all were plain."""
        values = claims.values
        unreadable = values.sizes > MAX_VALUE_BYTES
        if claims.headers is not None:
            unreadable |= np.array([has_too_many_headers(each) for each in claims], np.bool_)
        if unreadable.any():  # read as null, which is never plain: left to `Decoder`
            sizes = np.where(unreadable, -1, values.sizes)
            values = ByteStrings(values.content, values.starts, sizes)
        buffer, bounds = values.copied(self.claims.defaults), values.bounds()
        plain, columns = self.claims.read(buffer, bounds, np.arange(len(values)))
        times, flags, in_range = self._times(columns, claims.log_times_ms)
        plain &= in_range
        plain &= self._in_currency(columns)
        contents = hash_parts(buffer, bounds, self._key)
        ids = columns.texts(self.claims.kind.id_field, plain)
        return plain, AcceptedEvents(claims, ids, times, flags, contents, {}), columns

    def _accepted(
        self, columns: JsonColumns, read: DecodedBatch, claims_at: NDArray[np.int64]
    ) -> JsonColumns:
        """Return the columns of the accepted claims, with values of those decoded into objects."""
        is_claim = read.facts.records.is_of(self.claims.kind.topic)
        rows = np.searchsorted(claims_at, read.accepted[is_claim])
        indices = np.flatnonzero(is_claim).tolist()
        events = {
            row: read.facts.events[index]
            for row, index in zip(rows.tolist(), indices, strict=True)
            if index in read.facts.events
        }
        columns = self.claims.fill(columns, events)
        return columns if len(rows) == len(claims_at) else columns.rows(rows)

    def _times(
        self, columns: JsonColumns, log_times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return times, flags and whether in range for all rows: `event_time_ms` on columns.

        A plain time has a zone, so `NO_ZONE` never occurs here.
        """
        first, second = columns.of(self.claims.kind.time_field)
        absent = second == MISSING
        clamped = ~absent & (first > log_times + FUTURE_TOLERANCE_MS)
        times = np.where(absent | clamped, log_times, first)
        in_range = (first >= EVENT_TIME_MIN_MS) & (first <= log_times + FUTURE_REFUSED_MS)
        return times, absent * NO_TIME | clamped * CLAMPED, absent | in_range

    def _in_currency(self, columns: JsonColumns) -> NDArray[np.bool_] | bool:
        if not self._has_currency[self.claims.kind.topic]:
            return True
        wanted = np.frombuffer(self._currency.encode(), np.uint8)
        first, second = columns.of("currency")
        fits = second - first == len(wanted)
        # rows of another length compare the buffer's first bytes, which `fits` masks out
        at = np.where(fits, first, 0)[:, None] + np.arange(len(wanted))
        in_it: NDArray[np.bool_] = fits & (columns.buffer[at] == wanted).all(axis=1)
        return in_it
