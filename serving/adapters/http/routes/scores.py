"""`POST /v1/scores`: what would be decided on claims now; nothing is written."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from claimtrace.looks import AdvisoryDecision, advisory_answer

from ....looks.answering import DECIDED_ALREADY, NotScored, Scores, claims_in, list_of, not_scored
from ....looks.loaded_models import wanted_model
from ....openapi import Parameter
from ....problems import ProblemError, problem
from ....roles import Scope
from ..endpoint import Endpoint
from .asking import claim_body, the_part

JSON: Final = "application/json"
NO_STORE: Final = {"Cache-Control": "no-store"}


async def scores(request: Request) -> Response:
    """Look at the claims of the body."""
    looks = the_part(request, "looks")
    asked = claims_in(await request.body())
    named = request.query_params.get("model")
    answered = await looks.look(asked.values, wanted_model(named) if named else None)
    if asked.is_list:
        body = list_of(answered, asked.values, looks.id_field)
        return Response(body, media_type=JSON, headers=NO_STORE)
    why = not_scored(answered.looked[0], asked.values[0], looks.id_field)
    if why is not None:
        raise _refused(why)
    body = advisory_answer(answered.looked[0].decision, answered.as_of)
    return Response(body, media_type=JSON, headers=NO_STORE)


def _refused(why: NotScored) -> ProblemError:
    """Return the answer to a single claim that has no score."""
    if why.reason == DECIDED_ALREADY:
        there = {"Location": why.decision}
        return ProblemError(problem(409, why.reason, "the claim is decided already",
                                    f"GET {why.decision}"), there)  # fmt: skip
    field = f" ({why.field})" if why.field else ""
    return ProblemError(problem(422, why.reason, f"the claim would be refused{field}", why.hint))


ROUTES: Final = (
    Endpoint(
        "POST", "/v1/scores", Scope.SCORE, scores,
        "What would be decided on one claim, or on each of a list of 1 to 256; nothing is written.",
        request=claim_body(), answers={200: (AdvisoryDecision, Scores)},
        query=(Parameter("model", str, "NAME:VERSION of another model that is to decide alone."),),
        needs="looks",
    ),
)  # fmt: skip
