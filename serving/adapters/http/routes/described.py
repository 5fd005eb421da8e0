"""The API's own description: OpenAPI, and a page of it for people, both made in this process."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....api_page import STYLE, api_page
from ....openapi import Media
from ....rights.headers import PAGE_CSP
from ..endpoint import Endpoint

_DOCUMENT, _STYLE = "/v1/openapi.json", "/v1/docs.css"


async def document(request: Request) -> Response:
    """Return the OpenAPI document."""
    body = msgspec.json.encode(request.app.state.document)
    return Response(body, media_type="application/json")


async def page(request: Request) -> Response:
    """Return the page of the API."""
    content = api_page(request.app.state.document, _STYLE, _DOCUMENT)
    policy = {"Content-Security-Policy": PAGE_CSP}
    return Response(content, media_type="text/html", headers=policy)


async def style(request: Request) -> Response:  # noqa: ARG001
    """Return the page's style sheet."""
    return Response(STYLE, media_type="text/css")


ROUTES: Final = (
    Endpoint("GET", _DOCUMENT, None, document, "This description.", answers={200: dict[str, Any]}),
    Endpoint("GET", "/v1/docs", None, page, "This description as a page for people.",
             answers={200: Media("text/html; charset=utf-8")}),
    Endpoint("GET", _STYLE, None, style, "The page's style sheet.",
             answers={200: Media("text/css; charset=utf-8")}),
)  # fmt: skip
