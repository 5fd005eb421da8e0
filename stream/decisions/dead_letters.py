"""Dead letters: refused input with its original key, bytes and headers, and with the reason.

The value on `claims.dead` is the original value, so that it can be sent again after a fix. Of a
value over the limit only the first bytes are kept, with the digest of the whole; the input log has
the rest.
"""

from __future__ import annotations

from typing import Final

from claimtrace.decisions import DEAD_TOPIC
from claimtrace.events import Outgoing, Record
from claimtrace.ids import digest
from claimtrace.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_VALUE_BYTES
from claimtrace.refusals import Refusal

KEPT_OF_OVERSIZE_BYTES: Final = 4096
"""Length of the part of an oversize value that is kept."""
PREFIX: Final = "x-dead-"
"""Start of the names of the headers that a dead letter adds."""


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
    headers = tuple((PREFIX + name, text.encode()) for name, text in context.items())
    return Outgoing(
        DEAD_TOPIC,
        record.partition,
        record.key,
        value,
        record.log_time_ms,
        headers + _pruned(record.headers),
    )


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
