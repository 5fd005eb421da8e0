"""Every route of the API with every role (E1): its exact right, and its exact status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.adapters.http.app import ENDPOINTS, build_app
from serving.adapters.http.endpoint import Parts
from serving.audit.event import pseudonym
from serving.rights.headers import is_safe_policy
from serving.roles import ROLES
from tests.worlds.guarded import SECRET, Server, guarded_server

OPEN = "-"
RIGHTS = {
    "POST /v1/decisions": "decide",
    "GET /v1/decisions/stream": "read",
    "GET /v1/decisions/{claim_id}": "read",
    "POST /v1/scores": "score",
    "GET /v1/decisions/{claim_id}/evidence": "evidence",
    "GET /v1/decisions/{claim_id}/what-if": "evidence",
    "POST /v1/decisions/{claim_id}/what-if": "evidence",
    "GET /v1/features/{group}/{key:path}": "evidence",
    "GET /v1/models": "models",
    "POST /v1/batches": "batch",
    "GET /v1/batches": "batch",
    "GET /v1/batches/{job_id}": "batch",
    "GET /v1/batches/{job_id}/output": "batch",
    "DELETE /v1/batches/{job_id}": "batch",
    "GET /health": OPEN,
    "GET /ready": OPEN,
    "GET /metrics": "metrics",
    "GET /v1/openapi.json": OPEN,
    "GET /v1/docs": OPEN,
    "GET /v1/docs.css": OPEN,
}
"""The right of each route, written out by hand. A new route belongs here, with its right: whoever
may call it sees what it answers."""
CALLED = 501
"""Status of a handler that was reached: the application here has no part at all."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = guarded_server(tmp_path, lambda rights: build_app(Parts(rights=rights)))
    yield made
    made.rights.recorder.stop()


def url(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", path)


def test_each_route_asks_for_the_right_that_is_written_here() -> None:
    found = {f"{e.method} {e.path}": e.scope.value if e.scope else OPEN for e in ENDPOINTS}
    assert found == RIGHTS


def test_each_route_and_role_has_its_exact_status(server: Server) -> None:
    keys = {role: server.key(role) for role in ROLES}
    wanted, found = {}, {}
    for route, right in RIGHTS.items():
        method, _, path = route.partition(" ")
        reached = 200 if right == OPEN and route != "GET /ready" else CALLED
        for role, headers in [*keys.items(), ("", {})]:
            has = right == OPEN or (bool(role) and right in ROLES[role])
            wanted[route, role] = reached if has else 403 if role else 401
            found[route, role] = server.ask(method, url(path), headers).status_code
    assert found == wanted


def test_each_answer_of_each_route_has_the_headers(server: Server) -> None:
    headers = server.key("service")
    for route in [*RIGHTS, "GET /nowhere", "PUT /v1/models", "OPTIONS /v1/scores"]:
        method, _, path = route.partition(" ")
        for sent in (headers, {}):
            answer = server.ask(method, url(path), sent)
            assert answer.headers["x-content-type-options"] == "nosniff", route
            assert answer.headers["strict-transport-security"], route
            policy = answer.headers["content-security-policy"]
            assert is_safe_policy(policy), route
            assert ("style-src 'self'" in policy) == (path == "/v1/docs")


def test_a_file_of_claims_for_the_log_needs_the_right_to_decide(server: Server) -> None:
    """The route's own right allows looks alone."""
    as_looks, as_claims = (
        server.ask("POST", f"/v1/batches?as={way}", server.key("ml")) for way in ("look", "claims")
    )
    assert (as_looks.status_code, as_claims.status_code) == (CALLED, 403)
    assert server.ask("POST", "/v1/batches?as=claims", server.key("service")).status_code == CALLED
    (refused,) = server.recorded()
    assert (refused.body["route"], refused.body["reason"]) == ("/v1/batches", "lacks decide")


def test_the_description_says_which_right_and_no_secret(server: Server) -> None:
    key = server.key("service")["authorization"].rpartition("_")[2]
    for path in ("/v1/openapi.json", "/v1/docs"):
        text = server.ask("GET", path).text
        assert key not in text
        assert not re.search(r"ct_[0-9a-f]{12}_", text)
        assert SECRET not in text


def test_a_key_of_features_is_recorded_as_a_pseudonym(server: Server) -> None:
    """The part is missing here, so nothing was read; the refusal of another role is recorded."""
    server.ask("GET", "/v1/features/phone/+4930123", server.key("scorer"))
    (event,) = server.recorded()
    assert event.body["route"] == "/v1/features/{group}/{key:path}"
    assert b"4930123" not in server.audit.read_bytes()
    assert event.subject == pseudonym("address", "127.0.0.1", SECRET)
