"""Decode records into events. The parser is total.

Any bytes give an `Accepted` event, a `Refusal` with a named reason, or `None` for a tombstone;
never an exception. Limits are checked before anything is parsed (`claimtrace.encoding.json_guard`),
the decoder is typed and strict, and times are converted to milliseconds here, once. A value framed
with the id of a registered schema (`claimtrace.schemas.confluent_frame`) is converted to plain JSON
first, and then decoded like any other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from ..batches.accepted import Accepted
from ..buffers.byte_strings import bounds_of
from ..buffers.siphash import Key, hash_parts
from ..event_flags import event_time_ms
from ..events import SCHEMA_VERSION, Event, Record
from ..limits import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_VALUE_BYTES,
)
from ..refusals import Refusal
from ..schemas.confluent_frame import FRAME_BYTES, Plain, schema_id
from . import json_guard as gate

_GATE_REASONS = {
    gate.TOO_DEEP: "too_deep",
    gate.TOO_MANY_FIELDS: "too_many_fields",
    gate.DUPLICATE_KEY: "duplicate_key",
    gate.BAD_STRING: "bad_string",
    gate.NOT_AN_OBJECT: "bad_json",
}
_PATH = re.compile(r"`\$\.([^`.\[]+)")
_LEAP_SECOND = re.compile(rb'("\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):60')


class Decoder:
    """Decodes records of the topics that a domain declares.

    Args:
        events: the event types.
        currency: the one currency of the domain; an event with another one is refused.
        key: the SipHash key of the content digests.
        plain: converts a framed value's payload to plain JSON; without it framed values are
            refused.
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
        """Return one answer for each record, in order; `None` for a tombstone.

        Args:
            records: of one plan.
            unknown_schemas: schema ids that the registry did not know when the plan was made. The
                plan holds them, so that a replay refuses the same records although an id has been
                registered since.

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
        """Return the JSON bytes to parse; a refusal; or None for a tombstone."""
        value = record.value
        if record.headers and has_too_many_headers(record):
            return Refusal("headers_too_large")
        if not value:
            return None
        if len(value) > MAX_VALUE_BYTES:
            return Refusal("too_large", "", f"{len(value)} bytes")
        if record.topic not in self._decoders:
            return Refusal("unknown_topic", "", record.topic)
        if value[0] < 9:  # no JSON text starts with a byte below a tab: a magic byte
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
            # A leap second (:60) is a valid time that Python's datetime can't hold: one second less
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
    """Whether a record's headers exceed `MAX_HEADERS` or `MAX_HEADER_BYTES`."""
    return (
        len(record.headers) > MAX_HEADERS
        or sum(len(k) + len(v) for k, v in record.headers) > MAX_HEADER_BYTES
    )


def _refusal_of(error: Exception, id_field: str, value: bytes) -> Refusal:
    """Return the refusal for msgspec's error, whose kind and field are only in its text."""
    if isinstance(error, RecursionError):
        return Refusal("too_deep")
    text = str(error)
    found = _PATH.search(text)
    field = found[1] if found else ""
    if not isinstance(error, msgspec.ValidationError):
        offset = text.rpartition("(byte ")[2].rstrip(")") if "(byte" in text else len(value)
        return Refusal("bad_json", "", f"at byte {offset}")
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
