"""Dead letters: refused input with its original key, bytes and headers, and with the reason.

The value on `claims.dead` is the original value, so that it can be sent again after a fix. Of a
value over the limit only the first bytes are kept, with the digest of the whole; so are those of a
key with which the record would be larger than a topic takes. The input log has the rest.
"""

from __future__ import annotations

from typing import Final

from claimtrace.decisions import DEAD_TOPIC
from claimtrace.events import Outgoing, Record
from claimtrace.ids import digest
from claimtrace.limits import (
    MAX_DEAD_LETTER_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_VALUE_BYTES,
)
from claimtrace.refusals import Refusal

KEPT_OF_OVERSIZE_BYTES: Final = 4096
"""Length of the part of an oversize value, or key, that is kept."""
PREFIX: Final = "x-dead-"
"""Start of the names of the headers that a dead letter adds."""

_RECORD_BYTES: Final = 36
"""The most that Kafka's format adds to a record, beside its key, value and headers."""
_SMALL_KEY_BYTES: Final = 4 * KEPT_OF_OVERSIZE_BYTES
"""A dead letter with a key up to this long always fits, whatever its value and headers are."""


def dead_letter(record: Record, refusal: Refusal) -> Outgoing:
    """Make the record for the dead-letter topic, on the partition of the input.

    Its headers are those of `PREFIX`, followed by the original ones as far as they fit.
    """
    value = record.value or b""
    context = {
        "topic": record.topic,
        "partition": str(record.partition),
        "position": str(record.position),
        "log-time-ms": str(record.log_time_ms),
        "reason": refusal.reason,
        "field": refusal.field,
        "detail": refusal.detail,
        "hint": refusal.hint,
    }
    if len(value) > MAX_VALUE_BYTES:
        context["bytes"] = str(len(value))
        context["digest"] = digest(value)
        value = value[:KEPT_OF_OVERSIZE_BYTES]
    key, kept = record.key, _pruned(record.headers)
    headers = _context_headers(context)
    if key is not None and len(key) > _SMALL_KEY_BYTES:
        size = _RECORD_BYTES + len(key) + len(value) + _header_bytes(headers + kept)
        if size > MAX_DEAD_LETTER_BYTES:
            headers += _context_headers({"key-bytes": str(len(key)), "key-digest": digest(key)})
            key = key[:KEPT_OF_OVERSIZE_BYTES]
    return Outgoing(DEAD_TOPIC, record.partition, key, value, record.log_time_ms, headers + kept)


def _context_headers(context: dict[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((PREFIX + name, text.encode()) for name, text in context.items())


def _header_bytes(headers: tuple[tuple[str, bytes], ...]) -> int:
    """Return the size of headers in Kafka's format, where a length of up to 63 takes one byte."""
    sizes = [size for name, value in headers for size in (len(name.encode()), len(value))]
    return sum(size + (size.bit_length() + 7) // 7 for size in sizes)


def _pruned(headers: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    """Keep the first original headers that fit `MAX_HEADERS` and `MAX_HEADER_BYTES` together."""
    kept: list[tuple[str, bytes]] = []
    size = 0
    for name, value in headers[:MAX_HEADERS]:
        size += len(name) + len(value)
        if size > MAX_HEADER_BYTES:
            break
        kept.append((name, value))
    return tuple(kept)
