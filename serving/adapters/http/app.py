"""The application: the routes of this process, and one form for everything that goes wrong."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from claimtrace.errors import ClaimtraceError

from ...openapi import openapi
from ...problems import MEDIA, Problem, ProblemError, problem, problem_of
from ..looks.desk import NoAnswer, TooManyWaiting
from ..looks.model_shelf import Misfitting, NoSuchModel
from .endpoint import Endpoint, Handler, Parts
from .rights import App, Guarded
from .routes import batches, decisions, described, evidence, features, models, process, scores

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *decisions.ROUTES, *scores.ROUTES, *evidence.ROUTES, *features.ROUTES, *models.ROUTES,
    *batches.ROUTES, *process.ROUTES, *described.ROUTES,
)  # fmt: skip

_RETRY: Final = {"Retry-After": "1"}


def build_app(parts: Parts, endpoints: Iterable[Endpoint] = ENDPOINTS) -> Starlette:
    """Build the application of this process.

    Args:
        parts: what the process can do; routes whose part is missing answer 501. With `rights`
            each route asks for its own; put the `Shield` around the application then.
        endpoints: the routes.
    """
    served = tuple(endpoints)
    app = Starlette(
        routes=[Route(e.path, _guarded(e, parts), methods=[e.method]) for e in served],
        exception_handlers={
            HTTPException: _refused,
            ProblemError: _problem,
            ClaimtraceError: _ours,
            TooManyWaiting: _later,
            NoAnswer: _later,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
    )
    app.state.parts = parts
    app.state.document = openapi(served, Problem, version("claimtrace"))
    return app


def _guarded(each: Endpoint, parts: Parts) -> App | Handler:
    """Return a route's handler behind its right."""
    if parts.rights is None:
        return each.handler
    return Guarded(request_response(each.handler), each.path, each.scope, parts.rights)


def answer(found: Problem, headers: dict[str, str] | None = None) -> Response:
    """Return the response of a problem."""
    body = msgspec.json.encode(found)
    return Response(body, found.status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA)


async def _problem(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, ProblemError)
    return answer(error.problem, error.headers)


async def _ours(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, ClaimtraceError)
    if isinstance(error, NoSuchModel):
        return answer(problem(404, "no_such_model", error.what, error.hint))
    if isinstance(error, Misfitting):
        return answer(problem(409, "other_definitions", error.what, error.hint))
    found = problem_of(error)
    return answer(found, _RETRY if found.status == 503 else None)


async def _later(request: Request, error: Exception) -> Response:  # noqa: ARG001
    if isinstance(error, TooManyWaiting):
        why = problem(503, "too_many_waiting", "too many wait for an answer", "ask again later")
    else:
        why = problem(503, "unavailable", str(error), "ask again, or ask another process")
    return answer(why, _RETRY)


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    return answer(
        problem(error.status_code, code, error.detail, "GET /v1/docs lists the routes"),
        dict(error.headers or {}),
    )


async def _gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Answer nobody: the caller went while it sent its body."""
    return answer(problem(400, "broken_off", "the body broke off", "send it again"))


async def _fault(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return answer(problem(500, "fault", "a fault of the server", "see the server's log"))
