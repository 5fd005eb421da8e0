"""`/v1/decisions/{claim_id}/evidence` and `/what-if`: what lies behind a decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....evidence.evidence import Evidence
from ....openapi import Parameter
from ....problems import ProblemError, problem
from ....roles import Scope
from ...evidence.service import Question
from ..endpoint import Endpoint
from .asking import number_in, the_part

MOST_CHANGES: Final = 32
_AT_PLAN: Final = "at_plan"
_MOST_PLAN: Final = 2**53
_NO_STORE: Final = {"Cache-Control": "no-store"}
_changes = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def evidence(request: Request) -> Response:
    """Return the evidence for a decision."""
    return await _explained(request, {})


async def what_if(request: Request) -> Response:
    """Return what would have been decided with the fields of the query."""
    given = {n: v for n, v in request.query_params.items() if n != _AT_PLAN}
    return await _explained(request, {name: _as_json(value) for name, value in given.items()},
                            is_asked=True)  # fmt: skip


async def sent_what_if(request: Request) -> Response:
    """Return what would have been decided with the fields of the body."""
    the_part(request, "evidence")
    try:
        changes = _changes.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(problem(400, "bad_request", "the body is no object of fields",
                                   'such as {"total_claim_cents": 200000}')) from error  # fmt: skip
    return await _explained(request, changes, is_asked=True)


async def _explained(
    request: Request, changes: Mapping[str, msgspec.Raw], *, is_asked: bool = False
) -> Response:
    service = the_part(request, "evidence")
    if is_asked and not 1 <= len(changes) <= MOST_CHANGES:
        raise ProblemError(problem(400, "bad_request", f"{len(changes)} fields are changed",
                                   f"name 1 to {MOST_CHANGES}"))  # fmt: skip
    claim_id, at_plan = request.path_params["claim_id"], number_in(request, _AT_PLAN, 1, _MOST_PLAN)
    found = await service.explain(Question(claim_id, at_plan, changes))
    if found is None:
        raise ProblemError(problem(404, "no_decision", "there is no decision on this claim",
                                   "check the claim's id"))  # fmt: skip
    return Response(msgspec.json.encode(found), media_type="application/json", headers=_NO_STORE)


def _as_json(text: str) -> msgspec.Raw:
    """Return the value of a query as JSON: itself if it is JSON, else a string.

    >>> bytes(_as_json("200000")), bytes(_as_json("Theft"))
    (b'200000', b'"Theft"')
    """
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(text))
    return msgspec.Raw(text.encode())


_QUERY: Final = (Parameter(_AT_PLAN, int, "As it was known after this plan."),)
_PATH: Final = "/v1/decisions/{claim_id}"

ROUTES: Final = (
    Endpoint("GET", f"{_PATH}/evidence", Scope.EVIDENCE, evidence,
             "All that stands behind a decision: the rows of each feature, rules, model, proof.",
             answers={200: Evidence}, query=_QUERY, needs="evidence"),
    Endpoint("GET", f"{_PATH}/what-if", Scope.EVIDENCE, what_if,
             "The same claim with fields of the query changed.", answers={200: Evidence},
             query=(*_QUERY, Parameter("fields", dict[str, Any], "Fields and their other values, "
                                       "such as total_claim_cents=200000.")), needs="evidence"),
    Endpoint("POST", f"{_PATH}/what-if", Scope.EVIDENCE, sent_what_if,
             "The same claim with the fields of the body changed.", request=dict[str, Any],
             answers={200: Evidence}, query=_QUERY, needs="evidence"),
)  # fmt: skip
