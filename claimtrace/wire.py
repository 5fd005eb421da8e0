"""Bytes to events and back: the only file that knows the encoding. The parser is total.

Any bytes give an `Accepted` event, a `Refusal` with a named reason, or `None` for a tombstone;
never an exception. Limits are checked before anything is parsed (`claimtrace.gate`), the decoder is
typed and strict, and times are brought to milliseconds here, once. A value that a schema registry
has the schema of (`claimtrace.framing`) becomes plain JSON first, and then goes the same way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from . import gate
from .byte_strings import bounds_of
from .events import SCHEMA_VERSION, Event, Record, time_ms
from .framing import FRAME_BYTES, Plain, schema_id
from .limits import (
    EVENT_TIME_MIN_MS,
    FUTURE_REFUSED_MS,
    FUTURE_TOLERANCE_MS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_VALUE_BYTES,
)
from .siphash import Key, hash_parts

REASONS: Final[dict[str, str]] = {
    "bad_avro": "encode the value with the schema whose id it carries, no byte more or less",
    "bad_json": "send one JSON object in UTF-8, without BOM or trailing bytes",
    "bad_utf8": "encode the value as UTF-8",
    "bad_string": "remove NUL and lone surrogates from strings",
    "bad_type": "send the type that the schema names; ids are strings, amounts whole cents",
    "bad_id": "an id is 1 to 128 of letters, digits and . _ : - and starts with a letter or digit",
    "bad_time": "send ISO 8601 with a zone, such as 2026-03-01T12:00:00Z",
    "bad_currency": "this log takes one currency; convert before sending",
    "duplicate_key": "send each key once and unescaped; parsers differ in which one they take",
    "headers_too_large": "send at most 64 headers of 16 KiB in all",
    "id_conflict": "another event has this id; a correction needs an id of its own",
    "missing_field": "send every required field",
    "out_of_range": "amounts are whole cents from 0 to 100 000 000 000; text has a maximum",
    "time_out_of_range": "the time is before 1990 or more than a day ahead of the log",
    "too_deep": "events are flat; remove nesting beyond 32",
    "too_large": "a value has at most 256 KiB",
    "too_many_fields": "an event has at most 512 members",
    "unknown_schema": "send plain JSON with schema_version 1, or the id of a known schema",
    "unknown_topic": "the domain declares no event for this topic",
}
"""Every reason that a dead letter can have, with what to do about it."""

NO_TIME, NO_ZONE, CLAMPED, LATE, PLACEHOLDER, UNSEEN, INCOMPLETE = (1 << i for i in range(7))
FLAG_NAMES: Final = {
    NO_TIME: "no_time",
    NO_ZONE: "no_zone",
    CLAMPED: "future_clamped",
    LATE: "late",
    PLACEHOLDER: "placeholder_id",
    UNSEEN: "unseen_category",
    INCOMPLETE: "incomplete",
}
"""What was odd about an accepted event, as bits in here and as names on the decision."""

_GATE_REASONS = {
    gate.TOO_DEEP: "too_deep",
    gate.TOO_MANY_FIELDS: "too_many_fields",
    gate.DUPLICATE_KEY: "duplicate_key",
    gate.BAD_STRING: "bad_string",
    gate.NOT_AN_OBJECT: "bad_json",
}
_PATH = re.compile(r"`\$\.([^`.\[]+)")
_LEAP_SECOND = re.compile(rb'("\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):60')


class Refusal(NamedTuple):
    """Why bytes are no event: a key of `REASONS`, the field if known, and what the parser said."""

    reason: str
    field: str = ""
    detail: str = ""

    @property
    def hint(self) -> str:
        """What the sender can do."""
        return REASONS[self.reason]


class Accepted(NamedTuple):
    """An event with what the log knows of it. `content` is a 64-bit digest of its bytes."""

    event: Event
    event_id: str
    event_time_ms: int
    flags: int
    content: int


class Wire:
    """Decodes records of the topics that a domain declares.

    Args:
        events: the event types.
        currency: the one currency of the domain; an event with another one is refused.
        key: for the content digests.
        plain: makes plain JSON of a framed value's payload; without it framed values are refused.
    """

    def __init__(
        self, events: Sequence[type[Event]], currency: str, key: Key, plain: Plain | None = None
    ) -> None:
        self._decoders = {kind.topic: msgspec.json.Decoder(kind) for kind in events}
        self._id_fields = {kind.topic: kind.id_field for kind in events}
        self._time_fields = {kind.topic: kind.time_field for kind in events}
        self._has_currency = {kind.topic: "currency" in kind.__struct_fields__ for kind in events}
        self._currency = currency
        self._key = key
        self._plain = plain

    def decode(
        self, records: Sequence[Record], unknown_schemas: Collection[int] = ()
    ) -> list[Accepted | Refusal | None]:
        """One answer for each record, in order; `None` for a tombstone.

        Args:
            records: of one plan.
            unknown_schemas: ids that the registry did not know when the plan was made. The plan
                holds them, so that a replay refuses the same records although an id was given
                out since.

        Raises:
            ClaimtraceError: `plain` has lost a schema that was known. Input never raises.
        """
        values = [self._admissible(record, unknown_schemas) for record in records]
        bounds = bounds_of([len(v) if type(v) is bytes else 0 for v in values])
        buffer = np.frombuffer(b"".join(v for v in values if type(v) is bytes), np.uint8)
        codes, offsets = gate.inspect(buffer, bounds)
        contents = hash_parts(buffer, bounds, self._key).tolist()
        answers: list[Accepted | Refusal | None] = []
        for i, (record, value) in enumerate(zip(records, values, strict=True)):
            if type(value) is not bytes:
                answers.append(value)  # type: ignore[arg-type]
            elif codes[i]:
                reason = _GATE_REASONS[int(codes[i])]
                answers.append(Refusal(reason, "", f"at byte {offsets[i]}"))
            else:
                answers.append(self._decode_one(record, value, contents[i]))
        return answers

    def _admissible(self, record: Record, unknown: Collection[int]) -> bytes | Refusal | None:
        value = record.value
        if record.headers and has_too_many_headers(record):
            return Refusal("headers_too_large")
        if not value:
            return None
        if len(value) > MAX_VALUE_BYTES:
            return Refusal("too_large", "", f"{len(value)} bytes")
        if record.topic not in self._decoders:
            return Refusal("unknown_topic", "", record.topic)
        if value[0] < 9:
            answer = self._unframed(value, unknown)
            if isinstance(answer, Refusal):
                return answer
            value = answer
        if not value.isascii():
            try:
                value.decode()
            except UnicodeDecodeError as error:
                return Refusal("bad_utf8", "", f"at byte {error.start}")
        return value

    def _unframed(self, value: bytes, unknown: Collection[int]) -> bytes | Refusal:
        number = schema_id(value)
        if number is None or self._plain is None:
            return Refusal("unknown_schema", "", f"magic byte {value[0]}")
        if number in unknown:
            return Refusal("unknown_schema", "", f"schema id {number}")
        plain = self._plain(number, value[FRAME_BYTES:])
        if isinstance(plain, bytes) and len(plain) > MAX_VALUE_BYTES:
            return Refusal("too_large", "", f"{len(plain)} bytes as JSON")
        return plain

    def _decode_one(self, record: Record, value: bytes, content: int) -> Accepted | Refusal:
        topic = record.topic
        try:
            event = self._decoders[topic].decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            repaired = _LEAP_SECOND.sub(rb"\1:59", value)
            if repaired != value:
                return self._decode_one(record, repaired, content)
            return _refusal_of(error, self._id_fields[topic], value)
        if event.schema_version != SCHEMA_VERSION:
            return Refusal("unknown_schema", "schema_version", str(event.schema_version))
        if self._has_currency[topic] and event.currency != self._currency:  # type: ignore[attr-defined]
            return Refusal("bad_currency", "currency", "")
        time_field = self._time_fields[topic]
        timed = event_time_ms(getattr(event, time_field), record.log_time_ms)
        if timed is None:
            return Refusal("time_out_of_range", time_field, "")
        event_id = getattr(event, self._id_fields[topic])
        return Accepted(event, event_id, timed[0], timed[1], content)


def has_too_many_headers(record: Record) -> bool:
    """Whether a record's headers are more than anybody needs."""
    return (
        len(record.headers) > MAX_HEADERS
        or sum(len(k) + len(v) for k, v in record.headers) > MAX_HEADER_BYTES
    )


def event_time_ms(written: datetime | None, log_time_ms: int) -> tuple[int, int] | None:
    """Event time in ms and flags, or None when out of range.

    Missing: the log's time. Without a zone: taken as UTC. Ahead of the log by more than the
    tolerance: clamped to the log's time, so that one bad clock can't move anything else.

    >>> event_time_ms(None, 5_000_000_000_000)
    (5000000000000, 1)
    """
    if written is None:
        return log_time_ms, NO_TIME
    flags = NO_ZONE if written.tzinfo is None else 0
    happened_ms = time_ms(written)
    if happened_ms < EVENT_TIME_MIN_MS or happened_ms > log_time_ms + FUTURE_REFUSED_MS:
        return None
    if happened_ms > log_time_ms + FUTURE_TOLERANCE_MS:
        return log_time_ms, flags | CLAMPED
    return happened_ms, flags


def flag_names(flags: int) -> list[str]:
    """The names of the set bits, in order.

    >>> flag_names(LATE | NO_ZONE)
    ['no_zone', 'late']
    """
    return [name for bit, name in FLAG_NAMES.items() if flags & bit]


def encode(event: Any) -> bytes:
    """An event, decision or record of ours as JSON bytes."""
    return msgspec.json.encode(event)


def _refusal_of(error: Exception, id_field: str, value: bytes) -> Refusal:
    if isinstance(error, RecursionError):
        return Refusal("too_deep")
    text = str(error)
    found = _PATH.search(text)
    field = found[1] if found else ""
    if not isinstance(error, msgspec.ValidationError):
        place = text.rpartition("(byte ")[2].rstrip(")") if "(byte" in text else len(value)
        return Refusal("bad_json", "", f"at byte {place}")
    if "missing required field" in text:
        named = text.split("`")[1]
        return Refusal("bad_id" if named == id_field else "missing_field", named, "")
    if field == id_field:
        numeric = "got `int`" in text or "got `float`" in text
        return Refusal("bad_type" if numeric else "bad_id", field, "")
    if "datetime" in text:
        wrong_type = "got `" in text
        return Refusal("bad_type" if wrong_type else "bad_time", field, "")
    if ">=" in text or "<=" in text or "out of range" in text or "length" in text:
        return Refusal("out_of_range", field, "")
    return Refusal("bad_type", field, "")
