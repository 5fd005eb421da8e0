"""`/v1/decisions/lookup`: what the gate of this process' worker says, for doors without one."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....doors.lookup import MOST_CLAIMS, Question, Verdicts, read_question, verdict_of
from ....problems import ProblemError, problem
from ....roles import Scope
from ...doors.door import Door
from ..endpoint import Endpoint
from .asking import the_part


async def lookup(request: Request) -> Response:
    """Say of each claim whether it would be refused, or is known; nothing is written."""
    door: Door = the_part(request, "door")
    claims = read_question(await request.body())
    if claims is None:
        raise ProblemError(problem(400, "bad_request", "the body is no question about claims",
                                   f"at most {MOST_CLAIMS} claims, in base64"))  # fmt: skip
    looked = await asyncio.gather(*(door.gate.ask(each, 1) for each in claims))
    body = msgspec.json.encode(Verdicts([verdict_of(each) for each in looked]))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


ROUTES: Final = (
    Endpoint(
        "POST", "/v1/decisions/lookup", Scope.SCORE, lookup,
        "Whether claims would be refused, or are known: asked by doors without a worker.",
        request=Question, answers={200: Verdicts}, needs="door",
    ),
)  # fmt: skip
