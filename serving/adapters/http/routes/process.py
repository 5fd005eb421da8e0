"""`/health`, `/ready` and `/metrics`: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....openapi import Media
from ....problems import ProblemError, problem
from ....roles import Scope
from ..endpoint import Endpoint
from .asking import the_part

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class State(msgspec.Struct, frozen=True):
    """The state of the process, in one word."""

    status: str


async def health(request: Request) -> Response:  # noqa: ARG001
    """Answer: the process runs."""
    return Response(msgspec.json.encode(State("alive")), media_type="application/json")


async def ready(request: Request) -> Response:
    """Answer whether requests are answered as they should be."""
    if why := the_part(request, "process").why_not_ready():
        raise ProblemError(problem(503, "not_ready", why, "ask another process, or wait"),
                           {"Retry-After": "1"})  # fmt: skip
    return Response(msgspec.json.encode(State("ready")), media_type="application/json")


async def metrics(request: Request) -> Response:
    """Return the metrics of the process."""
    return Response(the_part(request, "process").metrics(), media_type=_TEXT)


ROUTES: Final = (
    Endpoint("GET", "/health", None, health, "Whether the process runs.", answers={200: State}),
    Endpoint("GET", "/ready", None, ready, "Whether requests are answered as they should be.",
             answers={200: State}, needs="process"),
    Endpoint("GET", "/metrics", Scope.METRICS, metrics, "The metrics of the process, for "
             "Prometheus.", answers={200: Media("text/plain")}, needs="process"),
)  # fmt: skip
