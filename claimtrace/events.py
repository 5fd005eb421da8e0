"""Facts on the log: the base class of a domain's event types, and a record as delivered.

An event type is a `msgspec.Struct` that declares its topic, the field that identifies an event, and
the field that holds the time when it happened:

>>> class Ping(Event, topic="pings", id="ping_id", time="sent_at"):
...     ping_id: EventId
...     sent_at: datetime | None = None
>>> Ping.topic, Ping.id_field, Ping.time_field
('pings', 'ping_id', 'sent_at')

Encoded, an event is one JSON object with `schema_version` in it. Schema rules: a new field has a
default; a field's type and meaning never change; a new meaning is a new field.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
from msgspec import Meta

from .clock import SECOND_MS
from .limits import MAX_AMOUNT_CENTS, MAX_ID_CHARS, MAX_TEXT_CHARS

SCHEMA_VERSION = 1

ID_PATTERN = r"^[A-Za-z0-9](?!.*\.\.)[A-Za-z0-9._:\-]*\Z"

EventId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID_CHARS,
        pattern=ID_PATTERN,
        extra_json_schema={"title": "id"},
    ),
]
"""Identifies an event or a claim: letters, digits, `._:-`; a JSON string, never a number."""

EntityId = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
"""Identifies a policy, a shop, a phone ... as the source writes it; normalised before counting."""

Cents = Annotated[int, Meta(ge=0, le=MAX_AMOUNT_CENTS)]
"""An amount in minor units of the domain's currency: exact, never a float."""

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
"""A small whole number."""

Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
"""Free text; shown escaped, never interpreted."""

Category = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
"""One of the values that the definitions list; other values are flagged as unseen."""

Pii = Meta(extra={"pii": True})
"""Marks a field that holds personal data: `phone: Annotated[EntityId, Pii]`."""


class EventMeta(msgspec.StructMeta):
    """Metaclass that takes `topic`, `id` and `time` as class arguments, beside msgspec's own."""

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        topic: str = "",
        id: str = "",  # noqa: A002 - reads as the declaration it is
        time: str = "",
        **config: Any,
    ) -> EventMeta:
        """Make the struct and store topic, id field and time field on it."""
        cls = super().__new__(mcs, name, bases, namespace, **config)
        cls.topic, cls.id_field, cls.time_field = topic, id, time  # type: ignore[attr-defined]
        return cls


class Event(msgspec.Struct, metaclass=EventMeta, frozen=True, kw_only=True, gc=False):
    """A fact on the log. Subclasses declare `topic`, `id` and `time`."""

    topic: ClassVar[str]
    id_field: ClassVar[str]
    time_field: ClassVar[str]

    schema_version: int = SCHEMA_VERSION


Headers = tuple[tuple[str, bytes], ...]
"""Names and values of a record's headers."""


class Record(NamedTuple):
    """An event as delivered: bytes with their topic, partition and position.

    `position` is unique and ascending within (topic, partition); `log_time_ms` is when the log
    appended the record.
    """

    topic: str
    partition: int
    position: int
    key: bytes | None
    value: bytes | None
    log_time_ms: int
    headers: Headers = ()


class Outgoing(NamedTuple):
    """A record to be appended to a log, before it has a position."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    log_time_ms: int
    headers: Headers = ()


EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def time_ms(written: datetime) -> int:
    """Return milliseconds since 1970 UTC, rounded down; a time without a zone is taken as UTC."""
    since = (written if written.tzinfo else written.replace(tzinfo=EPOCH.tzinfo)) - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_MS + since.microseconds // 1000
