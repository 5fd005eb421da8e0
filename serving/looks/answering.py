"""Answers to those who ask what would be decided, from an engine between two plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from claimtrace.decisions import ModelRef
from claimtrace.errors import UsageError
from claimtrace.events import Record
from claimtrace.limits import MAX_ID_CHARS, MAX_VALUE_BYTES
from claimtrace.looks import AdvisoryDecision, AsOf, advisory_answer
from claimtrace.refusals import Refusal
from stream.engine.engine import Engine
from stream.engine.looked import Looked

from .queue import MOST_CLAIMS

DECIDED_ALREADY: Final = "decided_already"
_TOO_LARGE: Final = Refusal("too_large")
_encode = msgspec.json.Encoder().encode


class Ask(NamedTuple):
    """Claims of one request, as JSON, and the model that is to decide; None: who is in charge."""

    values: Sequence[bytes]
    model: ModelRef | None = None


class Answered(NamedTuple):
    """The state that was asked, and what became of each claim of a request, in order."""

    as_of: AsOf
    looked: Sequence[Looked]


class NotScored(msgspec.Struct, frozen=True, kw_only=True):
    """Why a claim has no score: it would be refused, or is decided already.

    `reason`, `field` and `hint` are those of the dead letter that it would become. With the reason
    `decided_already` the path of its decision is in `decision`; else that is empty.
    """

    reason: str
    field: str
    hint: str
    decision: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one claim of a list: it has exactly one of both."""

    score: AdvisoryDecision | UnsetType = UNSET
    not_scored: NotScored | UnsetType = UNSET


class Scores(msgspec.Struct, frozen=True):
    """The answer to a list of claims: a place for each, in their order."""

    advisory: bool
    as_of: AsOf
    scores: list[Place]


class BadBody(UsageError):
    """A body that holds no claims, or too many."""


class Asked(NamedTuple):
    """The claims in a body; `is_list` says whether the answer is a list."""

    values: list[bytes]
    is_list: bool


_list = msgspec.json.Decoder(list[msgspec.Raw])


def claims_in(body: bytes) -> Asked:
    """Read the claims of a body: one object, or a list of 1 to 256 of them.

    Only the outermost brackets are read here; each claim has to pass the gate of the stream.

    Raises:
        BadBody: it isn't JSON, or has no claim, or too many.

    >>> claims_in(b'[{"claim_id": "a"}, 2]')
    Asked(values=[b'{"claim_id": "a"}', b'2'], is_list=True)
    """
    first = body.lstrip(b" \t\r\n")[:1]
    if first == b"{":
        return Asked([body], is_list=False)
    if first != b"[":
        raise BadBody("the body is neither a claim nor a list of claims", where="body",
                      hint="send one JSON object, or a list of them")  # fmt: skip
    try:
        values = [bytes(each) for each in _list.decode(body)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadBody(f"the body isn't JSON: {error}", where="body",
                      hint="send one claim as an object, or a list of them") from error  # fmt: skip
    if not 1 <= len(values) <= MOST_CLAIMS:
        raise BadBody(f"{len(values)} claims in the list", where="body",
                      hint=f"send 1 to {MOST_CLAIMS}; larger files go to /v1/batches")  # fmt: skip
    return Asked(values, is_list=True)


def answers(engine: Engine, asks: Sequence[Ask], log_time_ms: int) -> list[Answered]:
    """Look at the claims of all requests of a batch, each claim alone.

    Args:
        engine: between two plans; it isn't changed.
        asks: of one model.
        log_time_ms: the time at which the claims would be taken onto the log.

    Raises:
        ClaimtraceError: as `Engine.look`.
    """
    topic, as_of = engine.domain.claim.topic, engine.as_of(log_time_ms)
    values = [value for ask in asks for value in ask.values]
    # what is larger than any value on the log isn't decoded at all
    small = [at for at, value in enumerate(values) if len(value) <= MAX_VALUE_BYTES]
    records = [Record(topic, 0, at, None, values[at], log_time_ms) for at in small]
    found = [Looked(refusal=_TOO_LARGE)] * len(values)
    for at, looked in zip(small, engine.look(records, asks[0].model), strict=True):
        found[at] = looked
    answered, first = [], 0
    for ask in asks:
        answered.append(Answered(as_of, found[first : first + len(ask.values)]))
        first += len(ask.values)
    return answered


def not_scored(looked: Looked, value: bytes, id_field: str) -> NotScored | None:
    """Return why a claim has no score; None when it has one."""
    if looked.decision:
        return None
    if looked.is_known:
        claim_id = claim_id_of(value, id_field)
        return NotScored(reason=DECIDED_ALREADY, field=id_field, hint="its decision is on the log",
                         decision=f"/v1/decisions/{claim_id}")  # fmt: skip
    refusal = looked.refusal or Refusal("bad_json")
    return NotScored(reason=refusal.reason, field=refusal.field, hint=refusal.hint, decision="")


def list_of(answered: Answered, values: Sequence[bytes], id_field: str) -> bytes:
    """Return the answer to a list of claims, as the JSON of `Scores`.

    Args:
        answered: the answer.
        values: the claims.
        id_field: the field of a claim's id.
    """
    places = []
    for looked, value in zip(answered.looked, values, strict=True):
        if (why := not_scored(looked, value, id_field)) is None:
            places.append(b'{"score":%b}' % advisory_answer(looked.decision, answered.as_of))
        else:
            places.append(b'{"not_scored":%b}' % _encode(why))
    return b'{"advisory":true,"as_of":%b,"scores":[%b]}' % (
        _encode(answered.as_of), b",".join(places)
    )  # fmt: skip


def claim_id_of(value: bytes, id_field: str) -> str:
    """Return the id in a claim that the gate has accepted; empty when it can't be read."""
    try:
        claim: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    found = claim.get(id_field) if isinstance(claim, dict) else None
    return found if isinstance(found, str) and len(found) <= MAX_ID_CHARS else ""
