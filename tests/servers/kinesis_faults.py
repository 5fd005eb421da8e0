"""Faults that the local Kinesis never has: throttling, expired iterators, some records refused.

A hook of the client returns an answer in the service's format, in place of the service.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse

Answer = tuple[int, dict[str, Any]]
Fault = Callable[[Any], Answer | None]
"""A function of the request to be sent; returns an answer, or None to send the request."""


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._body


def inject(client: Any, operation: str, fault: Fault) -> None:
    """Answer a client's calls of an operation with a fault, as long as it returns an answer."""

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        answer = fault(request)
        if answer is None:
            return None
        status, body = answer
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, status, headers, _Raw(json.dumps(body).encode()))

    client.meta.events.register(f"before-send.kinesis.{operation}", before_send)


def error(code: str, status: int = 400) -> Answer:
    """Return an error response."""
    return status, {"__type": code, "message": "injected"}


def times(count: int, answer: Answer) -> Fault:
    """Return a fault that gives an answer `count` times; then the service answers."""
    left = count

    def fault(_: Any) -> Answer | None:
        nonlocal left
        left -= 1
        return answer if left >= 0 else None

    return fault


def document(request: Any) -> dict[str, Any]:
    """Return the JSON of a request."""
    found: dict[str, Any] = json.loads(request.body)
    return found
