"""One event of the topic `claims.audit`, its bytes, and its link in its writer's chain.

Each process that writes has a chain of its own, since several doors write to one topic without
knowing of each other; on the embedded log all processes write one chain, in one transaction each.
The chain is that of decisions: SHA-256 over the chain of the writer's event before and this event
without its chain. Events hold ids and no personal data: what could be one, such as a phone number
that is a key of features, or an address, stands as a pseudonym.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Literal

import msgspec

from claimtrace.decisions import GENESIS, chain_of, check_seal

Kind = Literal[
    "access.refused", "personal.read", "key.added", "key.revoked", "serve.started", "serve.stopped",
]  # fmt: skip
"""What happened. Kinds that are added later are read too: see `SealedEvent.kind`."""

EMBEDDED_WRITER: Final = "log"
"""The writer of all events on an embedded log."""
MOST_TEXT_CHARS: Final = 200

_encode = msgspec.json.Encoder().encode


class Actor(msgspec.Struct, frozen=True):
    """An actor: `key:ID`, `token:SUBJECT`, `os:USER@HOST`, `open`, `nobody`; and its role."""

    id: str
    role: str = ""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event before it has a writer and a place in the chain.

    Attributes:
        kind: see `Kind`.
        at_ms: when, by the clock of the process.
        actor: who.
        on_behalf: the person for whom a program acted; empty: nobody else.
        request_id: of the HTTP request; empty: none.
        claim_id: the claim concerned; empty: none.
        version: of the claim's case that the actor had seen; 0 until there are cases.
        subject: the id of what was read or changed: a key's, or a pseudonym.
        body: facts by name: ids, counts, words; no personal data.
    """

    kind: str
    at_ms: int
    actor: Actor
    on_behalf: str = ""
    request_id: str = ""
    claim_id: str = ""
    version: int = 0
    subject: str = ""
    body: dict[str, str | int | bool] = {}


class AuditEvent(Draft, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """An event as written: `sequence` is 1, 2, 3 ... for each writer, without gaps."""

    schema_version: int = 1
    event_id: str
    writer: str
    sequence: int


class SealedEvent(AuditEvent, frozen=True, kw_only=True):
    """An event as read back from the log, with its link in the chain."""

    chain: str


class Head(msgspec.Struct, frozen=True):
    """The last event of a writer: its sequence, and its chain."""

    sequence: int = 0
    chain: str = GENESIS


_reader = msgspec.json.Decoder(SealedEvent)


def seal_event(draft: Draft, writer: str, head: Head) -> tuple[bytes, Head]:
    """Return the bytes of the writer's next event, and the head after it.

    >>> draft = Draft(kind="key.added", at_ms=1, actor=Actor("os:ann@host"), subject="key:1")
    >>> value, after = seal_event(draft, "log", Head())
    >>> read_event(value).sequence, after.sequence, check_seal(value, GENESIS)
    (1, 1, True)
    """
    sequence = head.sequence + 1
    fields = {name: getattr(draft, name) for name in Draft.__struct_fields__}
    event = AuditEvent(event_id=f"{writer}-{sequence}", writer=writer, sequence=sequence, **fields)
    body = _encode(event)
    chain = hashlib.sha256(head.chain.encode() + body).hexdigest()
    return b'%b,"chain":"%b"}' % (body[:-1], chain.encode()), Head(sequence, chain)


def read_event(value: bytes | None) -> SealedEvent | None:
    """Return an event from its bytes; None when they are none."""
    try:
        return _reader.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def continues(value: bytes, event: SealedEvent, before: Head) -> bool:
    """Whether an event's bytes continue a writer's chain."""
    return event.sequence == before.sequence + 1 and check_seal(value, before.chain)


def head_of(value: bytes, event: SealedEvent) -> Head:
    """Return the head of a writer after an event."""
    return Head(event.sequence, chain_of(value))


def pseudonym(kind: str, key: str, secret: str) -> str:
    """Return a name for a key that may be personal; the same for the same key and secret.

    Args:
        kind: what the key is of: `phone`, `address`, ...
        key: the key as the caller wrote it.
        secret: random text kept with the API keys; without it nobody can try out keys.

    >>> pseudonym("phone", "+49 30 1", "s") == pseudonym("phone", "+49 30 1", "s")
    True
    """
    hashed = hmac.new(secret.encode(), f"{kind}\\n{key}".encode(), hashlib.sha256)
    return f"{kind}:{hashed.hexdigest()[:24]}"


def shortened(text: str) -> str:
    """Return a text from outside, cut to what an event may hold, without control characters."""
    return "".join(c for c in text[:MOST_TEXT_CHARS] if c.isprintable())
