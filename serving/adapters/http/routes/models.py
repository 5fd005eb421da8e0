"""`GET /v1/models`: the versions of the registry, and which of them can be asked."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....models_shown import Models
from ....roles import Scope
from ..endpoint import Endpoint
from .asking import the_part


async def models(request: Request) -> Response:
    """List the versions of the registry."""
    found = await the_part(request, "models").shown()
    return Response(msgspec.json.encode(found), media_type="application/json")


ROUTES: Final = (
    Endpoint(
        "GET", "/v1/models", Scope.MODELS, models,
        "The versions of the registry, which of them are in charge, and which can be asked.",
        answers={200: Models}, needs="models",
    ),
)  # fmt: skip
