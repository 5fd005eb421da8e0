"""Limits of one request: bytes of headers and body, depth of JSON, time to arrive."""

from __future__ import annotations

import re
from itertools import chain
from typing import Final

from claimtrace.limits import MAX_DEPTH, MAX_HEADER_BYTES, MAX_HEADERS, MAX_VALUE_BYTES

from ..roles import Scope
from .caller import Denied

MOST_HEADERS: Final = MAX_HEADERS
MOST_HEADER_BYTES: Final = MAX_HEADER_BYTES
"""Names and values of a request's headers, and its target, all together."""
MOST_CLAIMS: Final = 256
"""Claims of one request for scores."""
HEADER_TIME_S: Final = 10.0
"""Time in which the headers of a request must have arrived, from its first byte."""
BODY_TIME_S: Final = 30.0
"""Time in which the body must have arrived; an upload has this long for each MiB of its limit.
The first bytes of a body have this long in any case."""
IDLE_TIME_S: Final = 30.0
"""Time after which a connection without a request is closed."""

_MIB: Final = 1 << 20
_SMALL: Final = 64 * 1024
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def body_limit(scope: Scope | None, upload_bytes: int) -> int:
    """Return the most bytes of a body, by the right that the route asks for.

    Args:
        scope: the route's right; None: a route that needs none.
        upload_bytes: the limit of files of claims.

    >>> body_limit(Scope.DECIDE, 0), body_limit(Scope.SCORE, 0), body_limit(Scope.READ, 0)
    (262144, 1048576, 65536)
    """
    if scope is Scope.DECIDE:
        return MAX_VALUE_BYTES
    if scope is Scope.SCORE:
        return _MIB
    return upload_bytes if scope is Scope.BATCH else _SMALL


def body_time_s(limit_bytes: int) -> float:
    """Return the time in which a body must have arrived, in s: more for an upload."""
    return BODY_TIME_S * max(1, -(-limit_bytes // _MIB))


def body_too_large(limit_bytes: int) -> Denied:
    """Return the refusal of a body beyond its limit."""
    return Denied(413, "body_too_large", f"the body has more than {limit_bytes:,} bytes",
                  "send fewer claims in one request; POST /v1/batches takes files",
                  reason="body")  # fmt: skip


def too_slow() -> Denied:
    """Return the refusal of a body that didn't arrive in time."""
    return Denied(408, "body_too_slow", "the body didn't arrive in time", "send it at once",
                  reason="slow body")  # fmt: skip


def check_headers(headers: list[tuple[bytes, bytes]], target_bytes: int) -> Denied | None:
    """Return the refusal of headers that are too many or too large; None when they are not.

    >>> check_headers([(b"a", b"b" * 20_000)], 10).status
    431
    """
    size = target_bytes + sum(map(len, chain.from_iterable(headers)))
    if len(headers) <= MOST_HEADERS and size <= MOST_HEADER_BYTES:
        return None
    return Denied(431, "headers_too_large",
                  f"more than {MOST_HEADERS} headers, or {MOST_HEADER_BYTES:,} bytes of them",
                  "send fewer headers", reason="headers")  # fmt: skip


def is_too_deep(body: bytes) -> bool:
    """Whether JSON is nested deeper than events may be; total: any bytes give an answer.

    Bodies that are claims needn't be asked about: their gate refuses depth, and quicker.

    >>> is_too_deep(b"[" * 33), is_too_deep(b'["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]')
    (True, False)
    """
    depth = 0
    for token in _TOKENS.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def too_deep() -> Denied:
    """Return the refusal of JSON that is nested too deep."""
    return Denied(400, "json_too_deep", f"the JSON is nested deeper than {MAX_DEPTH} levels",
                  "send it as the OpenAPI document says", reason="depth")  # fmt: skip
