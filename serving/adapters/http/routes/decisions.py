"""`/v1/decisions`: have a claim decided, read a decision, and hear of decisions as they fall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from claimtrace.decisions import SealedDecision
from claimtrace.events import Record
from claimtrace.limits import MAX_ID_CHARS
from claimtrace.refusals import REASONS, Refusal

from ....doors.cursor import cursor_of, read_cursor
from ....doors.prefer import MOST_WAIT_S, wait_of
from ....openapi import Media, Parameter
from ....problems import ProblemError, problem
from ....roles import Scope
from ...doors.door import Door
from ..endpoint import Endpoint
from .asking import the_part

JSON: Final = "application/json"
NO_STORE: Final = {"Cache-Control": "no-store"}
_CONFLICT: Final = "id_conflict"
_BEAT_S: Final = 15.0
"""A comment is sent after so much silence, so that proxies keep the connection."""
_PAGE: Final = 500


class Accepted(msgspec.Struct, frozen=True):
    """A claim that is on the log, and whose decision hasn't fallen yet."""

    claim_id: str
    status: str
    decision: str


async def decide(request: Request) -> Response:
    """Put the claim of the body on the log, and wait for its decision."""
    door: Door = the_part(request, "door")
    value = await request.body()
    found = await door.decide(value, wait_of(request.headers.get("prefer")))
    if found.refusal is not None:
        raise refused(found.refusal)
    if found.sealed:
        replayed = {"Idempotent-Replayed": "true"} if found.is_replayed else {}
        return Response(found.sealed, media_type=JSON, headers={**NO_STORE, **replayed})
    claim_id = _claim_id(value, request)
    there = f"/v1/decisions/{quote(claim_id, safe='')}"
    body = msgspec.json.encode(Accepted(claim_id, "waiting", there))
    return Response(body, 202, {**NO_STORE, "Location": there, "Retry-After": "1"}, JSON)


def refused(refusal: Refusal) -> ProblemError:
    """Return the answer to a claim that the gate, or the worker, refuses."""
    if refusal.reason == _CONFLICT:
        return ProblemError(
            problem(409, _CONFLICT, "another claim has this id, with other bytes; nothing of yours "
                    "was counted", refusal.hint)
        )  # fmt: skip
    field = f" ({refusal.field})" if refusal.field else ""
    detail = f": {refusal.detail}" if refusal.detail else ""
    hint = REASONS.get(refusal.reason, "")
    return ProblemError(problem(422, refusal.reason, f"the claim is refused{field}{detail}", hint))


async def decision(request: Request) -> Response:
    """Return the sealed decision on a claim."""
    door: Door = the_part(request, "door")
    claim_id = request.path_params["claim_id"]
    found = await door.find(claim_id) if len(claim_id) <= MAX_ID_CHARS else None
    if found is None:
        raise ProblemError(problem(404, "no_such_decision", "there is no decision on this claim",
                                   "it may still wait: ask again in a second"))  # fmt: skip
    return Response(found, media_type=JSON, headers=NO_STORE)


async def stream(request: Request) -> Response:
    """Send decisions as they fall, as server-sent events."""
    door: Door = the_part(request, "door")
    if door.live.is_full:
        raise ProblemError(problem(503, "too_many_listeners", "too many listen already",
                                   "ask again later"), {"Retry-After": "10"})  # fmt: skip
    said = request.headers.get("last-event-id", "")
    cursor = read_cursor(said)
    if said and cursor is None:
        raise ProblemError(problem(400, "bad_request", "Last-Event-ID is none of this stream's",
                                   "leave it out to begin with the next decision"))  # fmt: skip
    headers = {**NO_STORE, "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(door, cursor), media_type="text/event-stream", headers=headers)


async def _events(door: Door, cursor: dict[int, int] | None) -> AsyncIterator[bytes]:
    """Yield the decisions after a cursor, then those that fall; a comment in silence."""
    queue = door.live.join()
    reached = dict(cursor or {})
    try:
        yield b": decisions as they fall\n\n"
        for partition in sorted(reached):
            while page := await door.page(partition, reached[partition], _PAGE):
                for record in page:
                    yield _event(record, reached)
        while True:
            try:
                record_or_none = await asyncio.wait_for(queue.get(), _BEAT_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if record_or_none is None:
                return
            if record_or_none.position >= reached.get(record_or_none.partition, 0):
                yield _event(record_or_none, reached)
    finally:
        door.live.leave(queue)


def _event(record: Record, reached: dict[int, int]) -> bytes:
    reached[record.partition] = record.position + 1
    return b"id: %b\nevent: decision\ndata: %b\n\n" % (
        cursor_of(reached).encode(), record.value or b"",
    )  # fmt: skip


def _claim_id(value: bytes, request: Request) -> str:
    """Return the id of a claim that the gate has accepted."""
    id_field = request.app.state.parts.door.id_field
    claim: Any = msgspec.json.decode(value)
    return str(claim[id_field])


ROUTES: Final = (
    Endpoint(
        "POST", "/v1/decisions", Scope.DECIDE, decide,
        "Have one claim decided: it goes onto the log, and the answer is its sealed decision. "
        "The claim's id makes it idempotent.",
        request=dict[str, Any], answers={200: SealedDecision, 202: Accepted},
        query=(Parameter("Prefer", str, f"wait=S: how many seconds to wait for the decision, at "
                         f"most {MOST_WAIT_S:g}; then the answer is 202.", "header"),),
        needs="door",
    ),
    Endpoint(
        "GET", "/v1/decisions/stream", Scope.READ, stream,
        "Decisions as they fall, as server-sent events; Last-Event-ID goes on after one.",
        answers={200: Media("text/event-stream")}, needs="door",
    ),
    Endpoint(
        "GET", "/v1/decisions/{claim_id}", Scope.READ, decision,
        "The sealed decision on a claim.", answers={200: SealedDecision}, needs="door",
    ),
)  # fmt: skip
