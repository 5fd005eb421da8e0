"""An alert as SNS takes it: a subject for people, attributes for filters, the record as it is."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from claimtrace.ids import digest

MAX_ENTRIES: Final = 10
MAX_CALL_BYTES: Final = 256 * 1024
"""Of all messages of a call together, with subjects and attributes."""

SENT: Final = "sent"
LOST: Final = "lost"
RESULTS: Final = (SENT, LOST)
"""What becomes of a notice."""

_SUBJECT_CHARS: Final = 100
_ID: Final = re.compile(r"[!-~]{1,128}")
_ENTRY_BYTES: Final = 200
"""For the names in it."""


class SnsMessage(NamedTuple):
    """An entry of `PublishBatch` without its id, and how much of a call it takes."""

    entry: dict[str, Any]
    size: int


class _Alert(msgspec.Struct):
    """What is taken from an alert; one of another form has fewer attributes."""

    alert_id: str = ""
    model: str = ""
    layer: str = ""
    state: str = ""
    subjects: list[str] = []


_decode = msgspec.json.Decoder(_Alert).decode


def sns_message_of(alert: bytes, *, fifo: bool) -> SnsMessage:
    """The notice of an alert.

    Args:
        alert: JSON, as on `claims.alerts`.
        fifo: for a FIFO topic: alerts of one model stay in order, and one that comes again within
            five minutes is told once.

    >>> alert = b'{"alert_id":"a1","model":"auto/3","layer":"score","state":"raised"}'
    >>> sns_message_of(alert, fifo=False).entry["Subject"]
    'Drift raised: score of auto/3'
    """
    try:
        found = _decode(alert)
    except msgspec.DecodeError:
        found = _Alert()
    message = alert.decode()
    subject = _subject(found)
    attributes = _attributes(found)
    entry: dict[str, Any] = {"Message": message, "Subject": subject}
    if attributes:
        entry["MessageAttributes"] = attributes
    if fifo:
        entry["MessageGroupId"] = found.model if _ID.fullmatch(found.model) else "alerts"
        is_id = _ID.fullmatch(found.alert_id)
        entry["MessageDeduplicationId"] = found.alert_id if is_id else digest(alert)
    size = len(alert) + len(subject) + _ENTRY_BYTES
    size += sum(len(name) + len(_text(each).encode()) + 20 for name, each in attributes.items())
    return SnsMessage(entry, size)


def _subject(alert: _Alert) -> str:
    """One line of ASCII that begins with a letter."""
    if not (alert.state and alert.layer and alert.model):
        return "claimtrace alert"
    words = f"Drift {alert.state}: {alert.layer} of {alert.model}"
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in words)
    return plain[:_SUBJECT_CHARS]


def _attributes(alert: _Alert) -> dict[str, dict[str, str]]:
    """For filter policies: the model, the layer, the state, and the subjects as a list."""
    texts = {"model": alert.model, "layer": alert.layer, "state": alert.state}
    made = {n: {"DataType": "String", "StringValue": text} for n, text in texts.items() if text}
    if alert.subjects:
        listed = msgspec.json.encode(alert.subjects).decode()
        made["subjects"] = {"DataType": "String.Array", "StringValue": listed}
    return made


def _text(attribute: dict[str, str]) -> str:
    return attribute["StringValue"]
