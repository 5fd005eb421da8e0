"""The answer to a refused request: problem details of RFC 9457."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import msgspec

from ...problems import MEDIA, problem
from ...rights.caller import Denied


async def send_denied(
    denied: Denied, send: Callable[[MutableMapping[str, Any]], Awaitable[None]], *, close: bool
) -> None:
    """Send the answer to a refused request.

    Args:
        denied: the refusal.
        send: of ASGI.
        close: close the connection: there is a body that nobody will read.
    """
    body = msgspec.json.encode(problem(denied.status, denied.code, denied.detail, denied.hint))
    headers = [
        (b"content-type", MEDIA.encode()), (b"content-length", b"%d" % len(body)),
    ]  # fmt: skip
    if denied.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="claimtrace"'))
    if denied.retry_after_s:
        headers.append((b"retry-after", b"%d" % denied.retry_after_s))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": denied.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
