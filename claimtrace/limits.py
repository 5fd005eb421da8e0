"""Maxima that two files must agree on, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

MAX_VALUE_BYTES: Final = 256 * 1024
"""A claim event is about 1 kB; a quarter of a MiB leaves room and bounds the parser's memory."""

MAX_DEPTH: Final = 32
"""Nesting of JSON. Events are flat; deeper input is an attack or a mistake."""

MAX_FIELDS: Final = 512
"""Members of one JSON object. Unknown members below this are ignored."""

MAX_TEXT_CHARS: Final = 8192
"""Characters of one string, the narrative of a claim included."""

MAX_ID_CHARS: Final = 128
"""Characters of an identifier of an event or entity."""

MAX_HEADERS: Final = 64
"""Headers of one record."""
MAX_HEADER_BYTES: Final = 16 * 1024
"""Names and values of one record's headers, all together."""

MAX_DEAD_LETTER_BYTES: Final = 1_000_000
"""A whole dead letter in Kafka's format: what a producer sends at the most, and less than a topic
takes (1 MiB). A key that would make it larger is cut."""

MAX_AMOUNT_CENTS: Final = 10**11
"""A thousand million in major units. Sums of 2**26 of them still fit 63 bits."""

EVENT_TIME_MIN_MS: Final = 631_152_000_000
"""1990-01-01: the oldest claims in the data sets that are replayed here are of 1994."""

FUTURE_TOLERANCE_MS: Final = 5 * 60_000
"""Clocks differ: an event time up to this far past the log's time is used unchanged."""

FUTURE_REFUSED_MS: Final = 24 * 3_600_000
"""An event time past the tolerance is clamped to the log's time; one past this is refused."""

MAX_BATCH_RECORDS: Final = 2000
"""Records of one plan. With more, latency grows and throughput doesn't."""

MAX_BATCH_BYTES: Final = 32 * 2**20
"""Bytes of all values of one plan: 2,000 events of the largest size would be half a GiB."""

assert MAX_VALUE_BYTES < MAX_BATCH_BYTES
assert MAX_VALUE_BYTES + 4 * MAX_HEADER_BYTES < MAX_DEAD_LETTER_BYTES // 2  # a name: UTF-8
assert FUTURE_TOLERANCE_MS < FUTURE_REFUSED_MS
assert MAX_AMOUNT_CENTS * 2**26 < 2**63
