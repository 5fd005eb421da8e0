"""The SNS message of an alert: a subject for people, attributes for filters, the record itself."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from claimtrace.ids import digest
from monitoring.layers.records import GUARD

MAX_ENTRIES: Final = 10
MAX_CALL_BYTES: Final = 256 * 1024
"""The limit of all messages of a call together, with subjects and attributes."""

SENT: Final = "sent"
LOST: Final = "lost"
RESULTS: Final = (SENT, LOST)
"""The outcomes of an alert for SNS, as a metric's label has them."""

_SUBJECT_CHARS: Final = 100
_ID: Final = re.compile(r"[!-~]{1,128}")
_ENTRY_BYTES: Final = 200
"""An upper bound of the bytes that field names take in an entry."""


class SnsMessage(NamedTuple):
    """An entry of `PublishBatch` without its id, and an upper bound of its size in bytes."""

    entry: dict[str, Any]
    size: int


class _Alert(msgspec.Struct):
    """The fields of an alert that its message needs; an alert of another form lacks some."""

    alert_id: str = ""
    model: str = ""
    layer: str = ""
    state: str = ""
    subjects: list[str] = []


_decode = msgspec.json.Decoder(_Alert).decode


def sns_message_of(alert: bytes, *, fifo: bool) -> SnsMessage:
    """Return the message of an alert.

    Args:
        alert: JSON, as on `claims.alerts`.
        fifo: whether the SNS topic is a FIFO topic: alerts of one model stay in order there, and an
            alert that is sent again within five minutes is delivered once.

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
    """Return one line of ASCII that begins with a letter, as SNS demands of a subject."""
    if not (alert.state and alert.layer and alert.model):
        return "claimtrace alert"
    kind = "Alert" if alert.layer == GUARD else "Drift"
    words = f"{kind} {alert.state}: {alert.layer} of {alert.model}"
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in words)
    return plain[:_SUBJECT_CHARS]


def _attributes(alert: _Alert) -> dict[str, dict[str, str]]:
    """Return attributes for filter policies: model, layer and state, and the list of subjects."""
    texts = {"model": alert.model, "layer": alert.layer, "state": alert.state}
    made = {n: {"DataType": "String", "StringValue": text} for n, text in texts.items() if text}
    if alert.subjects:
        listed = msgspec.json.encode(alert.subjects).decode()
        made["subjects"] = {"DataType": "String.Array", "StringValue": listed}
    return made


def _text(attribute: dict[str, str]) -> str:
    return attribute["StringValue"]
