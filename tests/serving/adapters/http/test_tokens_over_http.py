"""Tokens over HTTP (E7): accepted beside keys, refused with one answer, keys read again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from claimtrace.clock import ManualClock
from claimtrace.errors import ConfigError
from serving.adapters.http.app import build_app
from serving.adapters.http.credentials import TokenKeys, Tokens
from serving.adapters.http.endpoint import Parts
from serving.rights.rate import Rate
from serving.rights.tokens import TokenRules
from tests.worlds.guarded import Server, guarded_server

NOW_S = 1_800_000_000
ONE, TWO = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RULES = TokenRules(("ES256",), "https://issuer.example", "claimtrace", Rate(1, 2))


def write_keys(path: Path, **keys: Any) -> None:
    found = [
        {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": name}
        for name, key in keys.items()
    ]
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({"keys": found}))
    os.replace(aside, path)


def bearer(kid: str, key: Any, **changed: Any) -> dict[str, str]:
    claims = {"iss": RULES.issuer, "aud": RULES.audience, "sub": "ann", "exp": NOW_S + 600,
              "nbf": NOW_S, "roles": ["scorer"], **changed}  # fmt: skip
    return {"authorization": f"Bearer {jwt.encode(claims, key, 'ES256', headers={'kid': kid})}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_keys(tmp_path / "jwks.json", one=ONE)
    return tmp_path / "jwks.json"


@pytest.fixture
def server(tmp_path: Path, path: Path) -> Iterator[Server]:
    clock = ManualClock(NOW_S * 1000)
    tokens = Tokens(RULES, TokenKeys(path, clock))
    made = guarded_server(
        tmp_path, lambda rights: build_app(Parts(rights=rights)), tokens=tokens, clock=clock,
        may_be_open=True,
    )  # fmt: skip
    yield made
    made.rights.recorder.stop()


def status(server: Server, headers: dict[str, str], path: str = "/v1/scores") -> int:
    return server.ask("POST", path, headers).status_code


def test_tokens_and_keys_are_taken_side_by_side(server: Server) -> None:
    assert status(server, bearer("one", ONE)) == 501
    assert status(server, bearer("one", ONE), "/v1/batches") == 403
    assert status(server, server.key("scorer")) == 501
    assert status(server, {}) == 401


@pytest.mark.parametrize("headers", [
    bearer("one", TWO), bearer("two", ONE), bearer("one", ONE, aud="another"),
    bearer("one", ONE, nbf=NOW_S + 60), bearer("one", ONE, iss="another"),
    {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
])  # fmt: skip
def test_wrong_tokens_get_one_answer_and_the_reason_is_recorded(
    server: Server, headers: dict[str, str]
) -> None:
    answer = server.ask("POST", "/v1/scores", headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_credential")
    (event,) = server.recorded()
    assert str(event.body["reason"]).startswith("token")
    token = headers["authorization"].encode()
    assert token.rpartition(b".")[2] not in server.audit.read_bytes() or token.endswith(b".")
    assert token not in server.audit.read_bytes()


def test_an_expired_token_says_so(server: Server) -> None:
    answer = server.ask("POST", "/v1/scores", bearer("one", ONE, exp=NOW_S - 60))
    assert answer.json()["code"] == "expired_credential"


def test_the_rate_is_that_of_the_subject(server: Server) -> None:
    assert [status(server, bearer("one", ONE)) for _ in range(3)] == [501, 501, 429]
    assert status(server, bearer("one", ONE, sub="bob")) == 501


def test_changed_keys_are_read_again_and_half_written_ones_let_be(
    server: Server, path: Path
) -> None:
    clock = server.clock
    write_keys(path, two=TWO)
    clock.sleep(2)
    assert [status(server, bearer("one", ONE)), status(server, bearer("two", TWO))] == [401, 501]
    path.write_text("{")
    clock.sleep(2)
    assert status(server, bearer("two", TWO)) == 501
    path.unlink()
    clock.sleep(2)
    assert status(server, bearer("two", TWO, sub="bob")) == 501


def test_a_missing_file_of_keys_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        TokenKeys(tmp_path / "none.json", ManualClock())
