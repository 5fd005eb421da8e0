"""`GET /v1/features/{group}/{key}`: what the features know of one entity now."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....looks.entity import BadKey, FeatureGroup, NoSuchGroup
from ....problems import ProblemError, problem
from ....roles import Scope
from ..endpoint import Endpoint
from .asking import the_part

_NO_STORE: Final = {"Cache-Control": "no-store"}


async def features(request: Request) -> Response:
    """Show the windows of an entity, or its profile."""
    looks = the_part(request, "looks")
    group, key = request.path_params["group"], request.path_params["key"]
    try:
        found = await looks.entity(group, key)
    except NoSuchGroup as error:
        raise ProblemError(problem(404, "no_such_group", error.what, error.hint)) from error
    except BadKey as error:
        raise ProblemError(problem(400, "bad_key", error.what, error.hint)) from error
    if found is None:
        raise ProblemError(problem(404, "unknown_entity", "no event has named this entity yet",
                                   "write the key as a claim would"))  # fmt: skip
    return Response(msgspec.json.encode(found), media_type="application/json", headers=_NO_STORE)


ROUTES: Final = (
    Endpoint(
        "GET", "/v1/features/{group}/{key:path}", Scope.EVIDENCE, features,
        "The windows of an entity as the features count them now, or its newest profile.",
        answers={200: FeatureGroup}, needs="looks",
    ),
)  # fmt: skip
