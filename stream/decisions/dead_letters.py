"""Bad input, kept whole: original key, bytes and headers, and in further headers what was wrong.

The value on `claims.dead` is the value that came in, so that it can be sent again after a mend. Of
a value over the limit the first bytes are kept, with its digest; the input log has the rest.
"""

from __future__ import annotations

from typing import Final

from claimtrace.decisions import DEAD_TOPIC
from claimtrace.events import Outgoing, Record
from claimtrace.ids import digest
from claimtrace.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_VALUE_BYTES
from claimtrace.refusals import Refusal

KEPT_OF_OVERSIZE_BYTES: Final = 4096
PREFIX: Final = "x-dead-"


def dead_letter(record: Record, refusal: Refusal) -> Outgoing:
    """The record for the dead-letter topic, on the partition of the input."""
    value = record.value or b""
    told = {
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
        told["bytes"] = str(len(value))
        told["digest"] = digest(value)
        value = value[:KEPT_OF_OVERSIZE_BYTES]
    headers = tuple((PREFIX + name, text.encode()) for name, text in told.items())
    return Outgoing(
        DEAD_TOPIC,
        record.partition,
        record.key,
        value,
        record.log_time_ms,
        headers + _pruned(record.headers),
    )


def _pruned(headers: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    """The original headers as far as they fit the limits."""
    kept: list[tuple[str, bytes]] = []
    size = 0
    for name, value in headers[:MAX_HEADERS]:
        size += len(name) + len(value)
        if size > MAX_HEADER_BYTES:
            break
        kept.append((name, value))
    return tuple(kept)
