"""Rights in front of every route: headers, origin, credential, scope, rate, body, and the audit.

`Shield` stands around the whole application and gives every answer its security headers.
`Guarded` stands around one route, whose right it knows: a handler is reached through it alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError

from ...audit.event import Actor, Draft, pseudonym, shortened
from ...audit.refusals import Refused
from ...rights.caller import OPEN, Caller, Denied, lacks, too_many
from ...rights.headers import secured
from ...rights.limits import (
    body_limit,
    body_time_s,
    body_too_large,
    check_headers,
    is_too_deep,
    too_deep,
    too_slow,
)
from ...rights.origins import check_origin
from ...rights.rate import TokenBuckets
from ...roles import PERSONAL, Scope
from ..recorder import Recorder
from .credentials import Credentials
from .denial import send_denied

ASGIScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

RECORD_S: Final = 5.0
"""How long an answer about a person waits for its record; then it isn't given."""
_JSON_SCOPES: Final = frozenset({Scope.DECIDE, Scope.SCORE, Scope.BATCH})
"""Scopes whose bodies are claims: their gate refuses depth."""
_UNAVAILABLE: Final = Denied(
    503, "rights_unavailable", "the keys or the audit can't be reached", "try again",
    reason="store", retry_after_s=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rights:
    """The parts that decide about requests, and where refusals are recorded.

    Attributes:
        credentials: who calls.
        recorder: the audit.
        clock: the time, for rates.
        buckets: the rates so far.
        over_tls: whether callers come over TLS, to the server or to the proxy before it.
        behind_proxy: whether `X-Forwarded-For` is a proxy's.
        upload_bytes: most bytes of a file of claims.
        secret: of pseudonyms.
    """

    credentials: Credentials
    recorder: Recorder
    clock: Clock
    buckets: TokenBuckets
    over_tls: bool
    behind_proxy: bool
    upload_bytes: int
    secret: str

    def refuse(self, asked: Asked, denied: Denied, caller: Caller | None) -> None:
        """Record a refusal; returns at once."""
        actor = Actor(caller.id, caller.role) if caller is not None else Actor("nobody")
        address = pseudonym("address", asked.address, self.secret)
        refused = Refused(actor, denied.status, denied.code, denied.reason, asked.route, address)
        self.recorder.refused(refused, asked.request_id)


@dataclass(slots=True)
class Asked:
    """One request: the headers by name (the last of each), and facts for the audit.

    `route` is the template of the route, never the path that was sent; empty: not known yet.
    """

    headers: dict[bytes, bytes]
    request_id: str
    address: str
    is_open: bool
    route: str = ""


class Shield:
    """Stands around the application: limits of headers, origin, and headers of every answer."""

    def __init__(self, app: App, rights: Rights, new_id: Callable[[], str]) -> None:
        self._app, self._rights, self._new_id = app, rights, new_id

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        rights, request_id = self._rights, self._new_id()

        async def secure(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                headers.append((b"x-request-id", request_id.encode()))
                message["headers"] = secured(headers, over_tls=rights.over_tls)
            await send(message)

        headers = dict(scope["headers"])
        asked = Asked(headers, request_id, self._address(scope, headers), is_open=False)
        target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        denied = check_headers(scope["headers"], target)
        if denied is None:
            try:
                asked.is_open = await rights.credentials.is_open()
            except ClaimtraceError:
                denied = _UNAVAILABLE
        denied = denied or check_origin(headers, is_open=asked.is_open)
        if denied is not None:
            rights.refuse(asked, denied, None)
            await send_denied(denied, secure, close=True)
            return
        scope.setdefault("state", {})["asked"] = asked
        await self._app(scope, receive, secure)

    def _address(self, scope: ASGIScope, headers: dict[bytes, bytes]) -> str:
        forwarded = headers.get(b"x-forwarded-for")
        if self._rights.behind_proxy and forwarded:
            return shortened(forwarded.decode("latin-1").rpartition(",")[2].strip())
        client = scope.get("client")
        return str(client[0]) if client else ""


class Guarded:
    """Stands around one route.

    Args:
        app: the handler as an ASGI application.
        route: the template of its path.
        scope: the right that it asks for; None: it is open to everybody, such as `/health`.
        rights: what decides.
    """

    def __init__(self, app: App, route: str, scope: Scope | None, rights: Rights) -> None:
        self._app, self._route, self._scope, self._rights = app, route, scope, rights
        self._limit = body_limit(scope, rights.upload_bytes)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        asked: Asked = scope["state"]["asked"]
        asked.route = self._route
        caller, denied = await self._admitted(asked)
        if denied is None and _length(asked.headers) > self._limit:
            denied = body_too_large(self._limit)
        if denied is not None:
            self._rights.refuse(asked, denied, caller)
            await send_denied(denied, send, close=_has_body(asked.headers))
            return
        scope["state"]["caller"] = caller
        sending = _Sending(send)
        answer: Send = sending
        if self._scope in PERSONAL and caller is not None:
            answer = _Recorded(sending, self._rights, self._draft(scope, asked, caller))
        try:
            await self._app(scope, _Limited(receive, self._limit, self._is_checked).receive, answer)
        except RequestDenied as refused:
            self._rights.refuse(asked, refused.denied, caller)
            if not sending.started:
                await send_denied(refused.denied, send, close=True)

    @property
    def _is_checked(self) -> bool:
        return self._scope not in _JSON_SCOPES

    async def _admitted(self, asked: Asked) -> tuple[Caller | None, Denied | None]:
        """Return who calls (None: nobody that is known), and the refusal if it may not."""
        if self._scope is None:
            return None, None
        rights = self._rights
        try:
            found = await rights.credentials.caller(
                asked.headers.get(b"authorization"), is_open=asked.is_open
            )
        except ClaimtraceError:
            return None, _UNAVAILABLE
        if isinstance(found, Denied):
            return None, found
        if found is not OPEN:
            wait_s = rights.buckets.take(found.id, found.rate, 1, rights.clock.monotonic_s())
            if wait_s:
                return found, too_many(wait_s)
        return found, lacks(found, self._scope)

    def _draft(self, scope: ASGIScope, asked: Asked, caller: Caller) -> Draft:
        """Return the record of an answer about a person: whose, by ids alone."""
        given = {name: str(value) for name, value in scope.get("path_params", {}).items()}
        claim_id, key = given.get("claim_id", ""), given.get("key", "")
        kind = given.get("group", "key")
        return Draft(
            kind="personal.read", at_ms=self._rights.clock.now_ms(),
            actor=Actor(caller.id, caller.role), request_id=asked.request_id,
            claim_id=shortened(claim_id),
            subject=pseudonym(kind, key, self._rights.secret) if key else "",
            body={"route": self._route},
        )  # fmt: skip


class RequestDenied(Exception):
    """A request that is refused while its handler runs: `Guarded` answers and records it."""

    def __init__(self, denied: Denied) -> None:
        self.denied = denied
        super().__init__(denied.code)


class _Sending:
    """Remembers whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self.started = send, False

    async def __call__(self, message: Message) -> None:
        self.started = True
        await self._send(message)


class _Recorded:
    """Holds a good answer back until its record is durable; without one, 503 is the answer."""

    def __init__(self, send: _Sending, rights: Rights, draft: Draft) -> None:
        self._send, self._rights, self._draft = send, rights, draft
        self._failed = False

    async def __call__(self, message: Message) -> None:
        if self._failed:
            return
        if message["type"] == "http.response.start" and message["status"] < 300:
            future = asyncio.wrap_future(self._rights.recorder.record(self._draft))
            try:
                await asyncio.wait_for(future, RECORD_S)
            except (ClaimtraceError, TimeoutError):
                self._failed = True
                await send_denied(_UNAVAILABLE, self._send, close=True)
                return
        await self._send(message)


class _Limited:
    """A body as it arrives, within its limits of bytes, time and depth."""

    def __init__(self, receive: Receive, limit_bytes: int, is_checked: bool) -> None:
        self._receive, self._limit, self._is_checked = receive, limit_bytes, is_checked
        self._size, self._ended = 0, False
        self._parts: list[bytes] = []
        self._until_s = 0.0

    async def receive(self) -> Message:
        """Return the next message; raises `RequestDenied` beyond a limit."""
        if self._ended:
            return await self._receive()  # waits for the caller to go
        if not self._size:  # the first bytes, which LimitedProtocol waits for; most bodies whole
            message = await self._receive()
            self._until_s = asyncio.get_running_loop().time() + body_time_s(self._limit)
        else:
            try:
                async with asyncio.timeout_at(self._until_s):
                    message = await self._receive()
            except TimeoutError:
                raise RequestDenied(too_slow()) from None
        if message["type"] != "http.request":
            self._ended = True
            return message
        part = message.get("body", b"")
        self._size += len(part)
        if self._size > self._limit:
            raise RequestDenied(body_too_large(self._limit))
        self._ended = not message.get("more_body", False)
        if self._is_checked:
            self._parts.append(part)
            if self._ended and is_too_deep(b"".join(self._parts)):
                raise RequestDenied(too_deep())
        return message


def require(request: Request, scope: Scope) -> None:
    """Refuse a request that by what it asks needs a further right than its route's.

    Raises:
        RequestDenied: the caller hasn't it. Nothing is refused where there are no rights at all:
            an application that was built without them.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    denied = lacks(caller, scope) if caller is not None else None
    if denied is not None:
        raise RequestDenied(denied)


def _length(headers: dict[bytes, bytes]) -> int:
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() and len(text) < 19 else 0


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or _length(headers) > 0
