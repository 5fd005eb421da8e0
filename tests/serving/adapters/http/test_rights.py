"""Rights in front of routes: every route and role, every refusal, headers of every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, request_response

from claimtrace.adapters.tables.sqlite import SqliteTable
from claimtrace.errors import StoreUnavailable
from serving.adapters.audit_log import EmbeddedAudit
from serving.adapters.http.rights import Guarded, Rights
from serving.audit.event import pseudonym
from serving.rights.headers import is_safe_policy
from serving.rights.rate import Rate
from serving.roles import ROLES, Scope
from tests.worlds.guarded import SECRET, Server, guarded_server


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"bytes": len(body), "caller": request.state.caller.id})


async def fail(request: Request) -> Response:
    raise ValueError("a fault with ct_000000000000_" + "a" * 52)


async def missing(request: Request) -> Response:
    return JSONResponse({}, 404)


async def events(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def health(request: Request) -> Response:
    return Response("ok")


ROUTES: list[tuple[str, str, Scope | None, Any]] = [
    ("GET", "/health", None, health),
    *((("POST", f"/{scope.value}", scope, echo)) for scope in Scope),
    ("GET", "/decisions/{claim_id}", Scope.READ, echo),
    ("GET", "/missing/{claim_id}", Scope.READ, missing),
    ("GET", "/features/{group}/{key}", Scope.EVIDENCE, echo),
    ("GET", "/events", Scope.READ, events),
    ("GET", "/fail", Scope.METRICS, fail),
]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def app_of(rights: Rights) -> Starlette:
        routes = [
            Route(path, Guarded(request_response(handler), path, scope, rights), methods=[method])
            for method, path, scope, handler in ROUTES
        ]
        return Starlette(routes=routes)

    def server(**more: Any) -> Server:
        servers.append(guarded_server(tmp_path, app_of, **more))
        return servers[-1]

    yield server
    for each in servers:
        each.rights.recorder.stop()


def test_every_route_and_role_has_exactly_its_status(make: Callable[..., Server]) -> None:
    server = make()
    headers = {role: server.key(role) for role in ROLES}
    wanted, found = {}, {}
    for (method, path, scope, handler), role in product(ROUTES, ROLES):
        good = {missing: 404, fail: 500}.get(handler, 200)
        wanted[path, role] = good if scope is None or scope in ROLES[role] else 403
        url = path.format(claim_id="C-1", group="phone", key="1")
        found[path, role] = server.ask(method, url, headers[role]).status_code
    assert found == wanted
    assert set(wanted.values()) == {200, 403, 404, 500}
    for method, path, scope, _ in ROUTES:
        status = server.ask(method, path).status_code
        assert status == (200 if scope is None else 401), path


HEADERS = {
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cache-control": "no-store", "strict-transport-security": "max-age=31536000",
    "cross-origin-resource-policy": "same-origin", "x-request-id": "r-1",
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/health", 200), ("POST", "/score", 403), ("GET", "/nowhere", 404),
    ("DELETE", "/health", 405), ("GET", "/fail", 500), ("GET", "/events", 401),
])  # fmt: skip
def test_every_answer_has_the_headers(
    make: Callable[..., Server], method: str, path: str, status: int
) -> None:
    server = make()
    headers = server.key("monitor") if status in (403, 500) else {}
    answer = server.ask(method, path, headers)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert is_safe_policy(answer.headers["content-security-policy"])


def test_a_stream_has_the_headers_and_is_recorded(make: Callable[..., Server]) -> None:
    server = make()
    answer = server.ask("GET", "/events", server.key("reader"))
    assert (answer.status_code, answer.text) == (200, "data: 1\n\n")
    assert answer.headers["x-content-type-options"] == "nosniff"
    (event,) = server.recorded()
    assert (event.kind, event.body) == ("personal.read", {"route": "/events"})


def test_a_failure_says_nothing_of_its_cause(make: Callable[..., Server]) -> None:
    server = make()
    answer = server.ask("GET", "/fail", server.key("monitor"))
    assert answer.text == "Internal Server Error"


def test_refusals_are_problem_details_with_a_fix(make: Callable[..., Server]) -> None:
    server = make()
    answer = server.ask("POST", "/decide", server.key("reader"), content=b"{}")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "hint"}
    assert (problem["status"], problem["code"]) == (403, "no_right")
    assert "decide" in problem["detail"]
    none = server.ask("POST", "/decide")
    assert none.headers["www-authenticate"].startswith("Bearer")
    assert "claimtrace keys add" in none.json()["hint"]


@pytest.mark.parametrize("value", [
    "", "Bearer", "Bearer ", "Basic YTpi", "Bearer ct_", "Bearer " + "a" * 9_500, "ct_1_2",
    "Bearer ct_ffffffffffff_" + "a" * 52, "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer \xff",
])  # fmt: skip
def test_what_is_no_credential_is_refused(make: Callable[..., Server], value: str) -> None:
    server = make()
    server.key("service")
    headers = {"authorization": value.encode("latin-1")}
    answer = server.ask("POST", "/decide", headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "bad_credential"


def test_a_key_is_refused_when_it_is_revoked_expired_or_wrong(make: Callable[..., Server]) -> None:
    server = make()
    good = server.key("scorer")
    ending = server.key("scorer", expires_ms=server.clock.now_ms() + 60_000)
    wrong = {"authorization": good["authorization"][:-2] + "qq"}
    assert [server.ask("POST", "/score", h).status_code for h in (good, ending, wrong)] == [
        200, 200, 401,
    ]  # fmt: skip
    server.keys.revoke("000000000001", 1)
    server.clock.sleep(60)
    answers = [server.ask("POST", "/score", h).json().get("code") for h in (good, ending)]
    assert answers == ["bad_credential", "expired_credential"]
    reasons = [event.body["reason"] for event in server.recorded()]
    assert reasons == ["wrong secret", "revoked key", "expired key"]


def test_a_change_of_the_role_table_holds_at_the_next_request(
    make: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    headers = server.key("scorer")
    assert server.ask("POST", "/score", headers).status_code == 200
    monkeypatch.setitem(ROLES, "scorer", frozenset())
    assert server.ask("POST", "/score", headers).status_code == 403


def test_a_caller_beyond_its_rate_waits_and_others_do_not(make: Callable[..., Server]) -> None:
    server = make()
    slow, other = server.key("scorer", Rate(0.5, 2)), server.key("scorer", Rate(0.5, 2))
    statuses = [server.ask("POST", "/score", slow).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = server.ask("POST", "/score", slow)
    assert answer.headers["retry-after"] == "2"
    assert server.ask("POST", "/score", other).status_code == 200
    server.clock.sleep(2)
    assert server.ask("POST", "/score", slow).status_code == 200


@pytest.mark.parametrize("sized", [True, False])
def test_a_body_beyond_its_limit_is_refused(make: Callable[..., Server], sized: bool) -> None:
    server = make()
    headers = server.key("submitter")
    limit, over = b"x" * (256 * 1024), b"x" * (256 * 1024 + 1)

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    def send(body: bytes) -> httpx.Response:
        content = body if sized else pieces(body)
        return server.ask("POST", "/decide", headers, content=content)

    assert send(limit).json()["bytes"] == len(limit)
    answer = send(over)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


def test_a_body_that_stops_on_its_way_is_refused(
    make: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.adapters.http.rights.body_time_s", lambda _: 0.05)
    server = make()
    headers = server.key("submitter")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    answer = server.ask("POST", "/decide", headers, content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
    assert [event.body["reason"] for event in server.recorded()] == ["slow body"]


def test_json_beyond_the_depth_is_refused_where_no_gate_does_it(
    make: Callable[..., Server],
) -> None:
    server = make()
    headers = server.key("investigator")
    assert server.ask("POST", "/evidence", headers, content=b"[" * 32).status_code == 200
    answer = server.ask("POST", "/evidence", headers, content=b"[" * 33)
    assert (answer.status_code, answer.json()["code"]) == (400, "json_too_deep")


def test_headers_beyond_their_limit_are_refused(make: Callable[..., Server]) -> None:
    server = make()
    answer = server.ask("GET", "/health", {"x-a": "b" * 20_000})
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")


def test_open_until_the_first_key_and_never_again(make: Callable[..., Server]) -> None:
    server = make(may_be_open=True)
    assert server.ask("POST", "/decide").json()["caller"] == "open"
    headers = server.key("submitter")
    assert server.ask("POST", "/decide").status_code == 401
    assert server.ask("POST", "/decide", headers).status_code == 200
    server.keys.revoke("000000000001", 1)
    server.clock.sleep(1)
    assert server.ask("POST", "/decide").status_code == 401


def test_no_page_of_another_site_can_use_an_open_server(make: Callable[..., Server]) -> None:
    server = make(may_be_open=True)
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"},
                    {"sec-fetch-site": "cross-site"}):  # fmt: skip
        assert server.ask("POST", "/decide", headers).status_code == 403
    assert {event.body["code"] for event in server.recorded()} == {"foreign_host", "cross_site"}


def test_personal_reads_are_recorded_by_ids_alone(make: Callable[..., Server]) -> None:
    server = make()
    headers = server.key("investigator")
    for path in ("/decisions/C-1", "/features/phone/+4930123", "/missing/C-2"):
        server.ask("GET", path, headers)
    server.ask("POST", "/score", server.key("scorer"))
    one, two = server.recorded()
    assert (one.claim_id, one.actor.id, one.actor.role) == (
        "C-1", "key:000000000001", "investigator",
    )  # fmt: skip
    assert two.subject == pseudonym("phone", "+4930123", SECRET)
    assert two.body == {"route": "/features/{group}/{key}"}
    assert b"4930123" not in server.audit.read_bytes()


def test_without_its_record_a_personal_answer_is_not_given(
    make: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    headers = server.key("reader")

    def down(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(EmbeddedAudit, "append", down)
    answer = server.ask("GET", "/decisions/C-1", headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "rights_unavailable")
    assert "C-1" not in answer.text
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert server.ask("GET", "/decisions/C-1", headers).status_code == 200


def test_every_refusal_is_recorded_once_with_who_and_why(make: Callable[..., Server]) -> None:
    server = make()
    reader = server.key("reader")
    for _ in range(7):
        server.ask("POST", "/decide", reader)
    server.ask("POST", "/decide")
    server.ask("GET", "/decisions/C-9%20" + "x" * 20)
    found = [(e.actor.id, e.body["status"], e.body["route"], e.body["reason"], e.body["count"])
             for e in server.recorded()]  # fmt: skip
    assert sorted(found) == [
        ("key:000000000001", 403, "/decide", "lacks decide", 1),
        ("key:000000000001", 403, "/decide", "lacks decide", 6),
        ("nobody", 401, "/decide", "no_credential", 1),
        ("nobody", 401, "/decisions/{claim_id}", "no_credential", 1),
    ]


def test_a_table_of_keys_that_is_down_lets_nobody_in(
    make: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    headers = server.key("reader")

    def down(*_: object) -> None:
        raise StoreUnavailable("locked")

    monkeypatch.setattr(SqliteTable, "get", down)
    answer = server.ask("GET", "/decisions/C-1", headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "rights_unavailable")


@pytest.mark.parametrize(("behind_proxy", "address"), [(True, "10.9.8.7"), (False, "127.0.0.1")])
def test_the_address_is_the_proxys_word_only_behind_a_proxy(
    make: Callable[..., Server], behind_proxy: bool, address: str
) -> None:
    server = make(behind_proxy=behind_proxy)
    server.ask("POST", "/decide", {"x-forwarded-for": "1.2.3.4, 10.9.8.7"})
    (event,) = server.recorded()
    assert event.subject == pseudonym("address", address, SECRET)


def test_no_secret_is_in_any_artefact(make: Callable[..., Server], tmp_path: Path) -> None:
    """Answers, headers, the audit and the table of keys: neither whole nor the secret alone."""
    server = make()
    headers = [server.key(role) for role in ROLES]
    texts = []
    for role, (method, path, _, _) in product(headers, ROUTES):
        answer = server.ask(method, path, role)
        texts.append(answer.text + json.dumps(dict(answer.headers)))
    server.recorded()
    artefacts = b"".join(p.read_bytes() for p in tmp_path.iterdir()) + "".join(texts).encode()
    assert b"key:000000000001" in artefacts
    for each in headers:
        secret = each["authorization"].rpartition("_")[2].encode()
        assert secret not in artefacts
