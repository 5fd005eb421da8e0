"""Reason codes of dead letters, each with a hint for the sender."""

from __future__ import annotations

from typing import Final, NamedTuple

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
"""Every reason that a dead letter can have -> the hint how to fix it."""


class Refusal(NamedTuple):
    """The reason why bytes are not accepted as an event.

    `reason` is a key of `REASONS`, `field` the field concerned if known, `detail` the parser's own
    finding, such as `at byte 17`; none of them repeats the content.
    """

    reason: str
    field: str = ""
    detail: str = ""

    @property
    def hint(self) -> str:
        """The instruction for the sender."""
        return REASONS[self.reason]
