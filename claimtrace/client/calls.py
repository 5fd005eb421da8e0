"""The calls of the API as steps, for the clients of both kinds: what to send, and what comes back.

Each function returns a `Talk`: a generator that yields steps and returns the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ..backoff import Backoff
from ..decisions import SealedDecision
from ..errors import (
    ApiError,
    BadAnswer,
    NotDecidedYet,
    ServerUnavailable,
    TooManyRequests,
    UsageError,
)
from ..looks import AdvisoryDecision
from .answers import FeatureGroup, Models, NotScored, Scores
from .exchange import Patience, exchange
from .http import Pause, Request, Response, Talk, part, path_of

T = TypeVar("T")
Claim = Mapping[str, Any] | msgspec.Struct | bytes
"""A claim event as its fields, as a struct, or as JSON."""

LONGEST_WAIT_S: Final = 30.0
MOST_CLAIMS: Final = 256
_JSON: Final = (("content-type", "application/json"),)
_encode: Final = msgspec.json.Encoder().encode
_FIRST_POLL_S: Final = 0.05
_LONGEST_POLL_S: Final = 1.0


def encoded(claim: Claim) -> bytes:
    """Return a claim as JSON; the bytes of JSON stay as they are.

    Raises:
        UsageError: it isn't an object of JSON.

    >>> encoded({"claim_id": "C-1", "total_claim_cents": 120_000})
    b'{"claim_id":"C-1","total_claim_cents":120000}'
    """
    if isinstance(claim, bytes | bytearray):
        content = bytes(claim)  # as they are: other bytes are another claim
    else:
        try:
            content = _encode(claim)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise UsageError(f"a claim can't be written as JSON: {error}", where="claim",
                             hint="use text, numbers, booleans and None") from error  # fmt: skip
    if not content.lstrip(b" \t\r\n").startswith(b"{"):
        raise UsageError("a claim is one JSON object", where="claim",
                         hint="give a dict of its fields")  # fmt: skip
    return content


def decide(claim: Claim, wait_s: float, base: str, patience: Patience, now_s: float) -> Talk[bytes]:
    """Have a claim decided; returns the bytes of the sealed decision.

    The body is the same in each repeat, so that the server knows it by the claim's id.

    Args:
        claim: the claim.
        wait_s: how long the server holds the request; then it says where the decision will be.
        base: the address of the server, which a Location must not leave.
        patience: how long the call waits.
        now_s: the time, monotonic.

    Raises:
        NotDecidedYet: the claim is on the log, and the time limit is over.
        ApiError: see `exchange`.
    """
    wait_s = min(wait_s, LONGEST_WAIT_S)
    if not wait_s >= 0:
        raise UsageError("wait_s is no number of seconds", where="decide", hint="0 to 30")
    until_s = now_s + patience.total_s
    headers = (*_JSON, ("prefer", f"wait={wait_s:g}"))
    request = Request("POST", "/v1/decisions", headers=headers, content=encoded(claim),
                      longer_s=wait_s)  # fmt: skip
    found, now_s = yield from _timed(exchange(request, patience, until_s, now_s), now_s)
    if found.status != 202:
        return _whole(request, found)
    path = path_of(found.headers.get("location", ""), base)
    if path is None:
        raise BadAnswer("the server took the claim, but doesn't say where its decision will be",
                        where=request.label, status=202,
                        hint="send the same claim again: a repeat is safe")  # fmt: skip
    asked, pauses = Request("GET", path), Backoff(_FIRST_POLL_S, _LONGEST_POLL_S)
    why: ApiError | None = None
    while True:
        pause_s = min(pauses.next_s(), until_s - now_s)
        _, now_s = yield Pause(pause_s / 2, pause_s)
        if now_s >= until_s:
            break
        try:
            asking = exchange(asked, patience, until_s, now_s, also=404)  # not decided yet
            found, now_s = yield from _timed(asking, now_s)
        except (ServerUnavailable, TooManyRequests) as error:  # until the limit, or beyond it
            why = error
            break
        if found.status == 200:
            return _whole(asked, found)
    raise NotDecidedYet("the claim is on the log, and not decided yet", where=asked.label,
                        hint="ask for it later, or send the same claim again: a repeat is safe",
                        status=202, code="not_decided_yet") from why  # fmt: skip


def _timed(talk: Talk[T], now_s: float) -> Talk[tuple[T, float]]:
    """Run steps inside of others, and return the time of the last one beside the result."""
    try:
        step = next(talk)
        while True:
            heard = yield step
            now_s = heard.now_s
            step = talk.send(heard)
    except StopIteration as ended:
        return ended.value, now_s


def decision(claim_id: str, patience: Patience, now_s: float) -> Talk[bytes]:
    """Return the bytes of the sealed decision on a claim.

    Raises:
        NotFound: there is none.
    """
    request = Request("GET", f"/v1/decisions/{part(claim_id)}")
    found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
    if found.status == 202:
        raise NotDecidedYet("the claim is not decided yet", where=request.label, status=202,
                            hint="ask again later", code="not_decided_yet")  # fmt: skip
    return _whole(request, found)


def read_decision(sealed: bytes) -> SealedDecision:
    """Read a sealed decision.

    Raises:
        BadAnswer: the bytes are none.
    """
    return _read(SealedDecision, "a decision")(sealed)


def score(
    claims: Claim | Sequence[Claim], model: str | None, patience: Patience, now_s: float
) -> Talk[AdvisoryDecision | list[AdvisoryDecision | NotScored]]:
    """Ask what would be decided on one claim, or on each of a list; nothing is written.

    Raises:
        UsageError: there are no claims, or more than 256.
    """
    query = (("model", model),) if model is not None else ()
    if isinstance(claims, Mapping | msgspec.Struct | bytes | bytearray):
        request = Request("POST", "/v1/scores", query, _JSON, encoded(claims))
        found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
        return _read(AdvisoryDecision, "an advisory decision")(found.content)
    if not 1 <= len(claims) <= MOST_CLAIMS:
        raise UsageError(f"{len(claims)} claims to score at once", where="score",
                         hint=f"1 to {MOST_CLAIMS}; use batches for files")  # fmt: skip
    body = b"[%b]" % b",".join(encoded(claim) for claim in claims)
    request = Request("POST", "/v1/scores", query, _JSON, body)
    found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
    scores = _read(Scores, "a list of scores")(found.content)
    if len(scores.scores) != len(claims):
        raise BadAnswer(f"{len(scores.scores)} answers to {len(claims)} claims",
                        where=request.label)  # fmt: skip
    answers: list[AdvisoryDecision | NotScored] = []
    for place in scores.scores:
        one = place.score if isinstance(place.score, AdvisoryDecision) else place.not_scored
        if not isinstance(one, AdvisoryDecision | NotScored):
            raise BadAnswer("an answer to a claim is empty", where=request.label)
        answers.append(one)
    return answers


def evidence(
    claim_id: str, at_plan: int | None, patience: Patience, now_s: float
) -> Talk[dict[str, Any]]:
    """Ask for the evidence of a decision: the rows that each feature counted."""
    query = (("at_plan", str(at_plan)),) if at_plan is not None else ()
    path = f"/v1/decisions/{part(claim_id)}/evidence"
    found = yield from get(path, dict[str, Any], "evidence", patience, now_s, query)
    return found


def what_if(
    claim_id: str, changes: Mapping[str, Any], patience: Patience, now_s: float
) -> Talk[dict[str, Any]]:
    """Ask what would have been decided, had fields of the claim had other values."""
    if not changes:
        raise UsageError("nothing is changed", where="what_if",
                         hint="name fields with their other values")  # fmt: skip
    path = f"/v1/decisions/{part(claim_id)}/what-if"
    request = Request("POST", path, headers=_JSON, content=encoded(changes))
    found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
    return _read(dict[str, Any], "an answer to what-if")(found.content)


def features(group: str, key: str, patience: Patience, now_s: float) -> Talk[FeatureGroup]:
    """Ask what the features know of an entity now."""
    path = f"/v1/features/{part(group)}/{part(key)}"
    found = yield from get(path, FeatureGroup, "a feature group", patience, now_s)
    return found


def models(patience: Patience, now_s: float) -> Talk[Models]:
    """Ask for the versions of the registry."""
    found = yield from get("/v1/models", Models, "a list of models", patience, now_s)
    return found


def get(
    path: str,
    kind: type[T],
    what: str,
    patience: Patience,
    now_s: float,
    query: tuple[tuple[str, str], ...] = (),
) -> Talk[T]:
    """Get a path, and read its JSON as a type."""
    request = Request("GET", path, query)
    found = yield from exchange(request, patience, now_s + patience.total_s, now_s)
    return _read(kind, what)(found.content)


def _whole(request: Request, found: Response) -> bytes:
    if found.status != 200 or not found.content.startswith(b"{"):
        raise BadAnswer(f"{found.status} without a decision", where=request.label,
                        status=found.status)  # fmt: skip
    return found.content


def _read(kind: type[T], what: str) -> Callable[[bytes], T]:
    def read(content: bytes) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadAnswer(f"the answer isn't {what}: {error}", hint="is this claimtrace serve, "
                            "of this version or a newer one?") from error  # fmt: skip

    return read


reader = _read
