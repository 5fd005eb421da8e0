"""A small server with the API's shapes: answers are scripted, or come from a tiny claim system."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from claimtrace.decisions import GENESIS, Decision, SealedDecision, seal

PROBLEM = "application/problem+json"


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class StandIn:
    """A server whose next answers can be set; without any it decides on claims as the API does.

    `script` holds answers to come: a response, or "drop": the connection is closed without one.
    `late` is how many GETs of a decision are answered with 404 first.
    """

    url: str = ""
    script: list[Any] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    decided: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    waits: bool = True
    late: int = 0

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append(Seen(request.method, request.url.path, request.url.query,
                              dict(request.headers), body))  # fmt: skip
        if self.script:
            step = self.script.pop(0)
            if step == "drop after":  # it was carried out, and the answer is lost
                await self.carried_out(request, body)
            if isinstance(step, str):
                raise ConnectionAbortedError
            return step() if callable(step) and not isinstance(step, Response) else step
        return await self.carried_out(request, body)

    async def carried_out(self, request: Request, body: bytes) -> Response:
        if request.method == "POST":
            return self.take(body)
        claim_id = request.url.path.removeprefix("/v1/decisions/")
        self.late -= 1
        if claim_id not in self.decided or self.late >= 0:
            return problem(404, "no_such_claim", f"there is no decision on {claim_id}")
        return Response(self.decided[claim_id][1], 200, media_type="application/json")

    def take(self, body: bytes) -> Response:
        claim_id = str(msgspec.json.decode(body)["claim_id"])
        before = self.decided.setdefault(claim_id, (body, sealed(claim_id)))
        if before[0] != body:
            return problem(409, "id_conflict", "the id was used by other bytes")
        if not self.waits:
            return Response(None, 202, {"location": f"/v1/decisions/{claim_id}"})
        return Response(before[1], 200, media_type="application/json")


def problem(status: int, code: str, detail: str, **headers: str) -> Response:
    body = {"type": "about:blank", "title": "t", "status": status, "detail": detail, "code": code,
            "hint": "h"}  # fmt: skip
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(msgspec.json.encode(body), status, named, PROBLEM)


def a_decision(claim_id: str) -> Decision:
    return Decision(
        decision_id=f"d-{claim_id}", claim_id=claim_id, policy="P-1", topic="claims.filed",
        partition=0, position=4, event_time_ms=1, log_time_ms=2, known_time_ms=2, score=0.25,
        margin=-1.0, band="low", outcome="approve", threshold=0.5, rules=[], base_margin=-1.0,
        rest_margin=0.0, reasons=[], features=[1.0, None], feature_hash="ab", model=None,
        definitions="d", rules_digest="r", shadow=[], flags=[],
    )  # fmt: skip


def sealed(claim_id: str) -> bytes:
    return seal(a_decision(claim_id), GENESIS)[0]


def read(content: bytes) -> SealedDecision:
    return msgspec.json.decode(content, type=SealedDecision)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Run an ASGI application by uvicorn in a thread; yields its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(server.serve())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until_s = time.monotonic() + 60
    while not server.started:
        assert not failed, failed
        assert time.monotonic() < until_s, "the server doesn't start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def app_of(world: StandIn) -> Callable[..., Any]:
    """Return the application; a dropped connection is one that is closed before its answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            response = await world.answer(request)
        except ConnectionAbortedError:  # uvicorn closes a connection whose body stays short
            await send({"type": "http.response.start", "status": 200,
                        "headers": [(b"content-length", b"10")]})  # fmt: skip
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
        else:
            await response(scope, receive, send)

    return app


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Run a stand-in of the server."""
    world = StandIn()
    with serving(app_of(world)) as url:
        world.url = url
        yield world
