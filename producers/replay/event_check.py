"""Encode the events of a table's rows, and refuse those that a worker would refuse."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from claimtrace.events import Record
from claimtrace.limits import MAX_VALUE_BYTES
from claimtrace.refusals import Refusal

from .cells import Unreadable
from .mapping_check import KnownEvents

_encode = msgspec.json.Encoder().encode
_NUL: Final = b"\\u0000"


class RefusedEvent(Exception):
    """An event that a worker would refuse, with the field at fault and its value."""

    def __init__(self, field: str, value: Any, error: Unreadable) -> None:
        super().__init__(field)
        self.field, self.value, self.error = field, value, error


class EventCheck:
    """Encodes events of a domain's types, and decodes them as a worker does.

    Args:
        known: the domain's event types and currency.
    """

    def __init__(self, known: KnownEvents) -> None:
        self._known = known
        self._decoders = {
            topic: msgspec.json.Decoder(kind).decode for topic, kind in known.by_topic.items()
        }
        self._with_currency = {
            topic
            for topic, kind in known.by_topic.items()
            if known.currency and "currency" in kind.__struct_fields__
        }

    def encoded(
        self, topic: str, fields: dict[str, Any], log_time_ms: int, *, check: bool = True
    ) -> bytes:
        """Return an event as JSON; without `check` it is known to be accepted.

        Raises:
            RefusedEvent: a worker would make a dead letter of it.
        """
        try:
            value = _encode(fields)
        except (ValueError, OverflowError):
            raise RefusedEvent("", None, Unreadable("bad_type", "can't be encoded")) from None
        if not check:
            return value
        try:
            event = self._decoders[topic](value)
        except (msgspec.DecodeError, RecursionError):
            self._refuse(topic, fields, value, log_time_ms)
            raise  # the quick check and the worker's own differ: a fault of ours
        wrong = (
            topic in self._with_currency and getattr(event, "currency", "") != self._known.currency
        )
        if wrong or _NUL in value or len(value) > MAX_VALUE_BYTES:
            self._refuse(topic, fields, value, log_time_ms)
        return value

    def _refuse(self, topic: str, fields: dict[str, Any], value: bytes, log_time_ms: int) -> None:
        """Decode with the worker's decoder, which names reason and field of what it refuses."""
        from claimtrace.buffers.siphash import hash_key  # slow to import, and rarely needed
        from claimtrace.encoding.decoder import Decoder

        kinds = [self._known.by_topic[topic]]
        currency = self._known.currency or fields.get("currency", "")
        decoder = Decoder(kinds, currency, hash_key(""))
        (answer,) = decoder.decode([Record(topic, 0, 0, None, value, log_time_ms)])
        if isinstance(answer, Refusal):
            said = f" ({answer.detail})" if answer.detail else ""
            why = f"is refused by {topic}: {answer.field or 'the event'}{said}"
            raise RefusedEvent(answer.field, fields.get(answer.field),
                               Unreadable(answer.reason, why, answer.hint))  # fmt: skip
