"""What the local Kinesis never does: throttle, expire an iterator, refuse some records of a call.

A hook of the client answers in the service's place, with an answer of the service's form.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse

Answer = tuple[int, dict[str, Any]]
Fault = Callable[[Any], Answer | None]
"""Given the request as it would be sent; None lets it pass."""


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._body


def inject(client: Any, operation: str, fault: Fault) -> None:
    """Have a client's calls of an operation answered by a fault, while it answers."""

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        answer = fault(request)
        if answer is None:
            return None
        status, body = answer
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, status, headers, _Raw(json.dumps(body).encode()))

    client.meta.events.register(f"before-send.kinesis.{operation}", before_send)


def error(code: str, status: int = 400) -> Answer:
    """A refusal."""
    return status, {"__type": code, "message": "injected"}


def times(count: int, answer: Answer) -> Fault:
    """The same answer so many times, then the service's own."""
    left = count

    def fault(_: Any) -> Answer | None:
        nonlocal left
        left -= 1
        return answer if left >= 0 else None

    return fault


def document(request: Any) -> dict[str, Any]:
    """The JSON of a request."""
    found: dict[str, Any] = json.loads(request.body)
    return found
