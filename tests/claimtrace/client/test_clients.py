"""Both clients over real connections, against a stand-in with the API's shapes."""

from __future__ import annotations

import asyncio
import inspect
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import Response

from claimtrace import errors
from claimtrace.client import AsyncClient, Client, Job, NotScored
from claimtrace.client.adapters import connection
from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, check_seal
from claimtrace.looks import AsOf, advisory_answer, unsealed
from tests.worlds.api_stand_in import StandIn, problem, read, sealed, stand_in

CLAIM = {"claim_id": "C-1", "total_claim_cents": 120_000}
ADVISORY = advisory_answer(unsealed(sealed("C-1")), AsOf(7, "ab", 5, 1))


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with stand_in() as world:
        yield world


@pytest.fixture
def world(server: StandIn) -> StandIn:
    server.__dict__.update(StandIn(url=server.url).__dict__)
    return server


def blocking(world: StandIn, **more: Any) -> Callable[..., Any]:
    def call(name: str, *arguments: Any, **named: Any) -> Any:
        with Client(world.url, **more) as client:
            found = client
            for part in name.split("."):
                found = getattr(found, part)
            return found(*arguments, **named)  # type: ignore[operator]

    return call


def on_a_loop(world: StandIn, **more: Any) -> Callable[..., Any]:
    async def run(name: str, arguments: Any, named: Any) -> Any:
        async with AsyncClient(world.url, **more) as client:
            found = client
            for part in name.split("."):
                found = getattr(found, part)
            return await found(*arguments, **named)  # type: ignore[operator]

    return lambda name, *arguments, **named: asyncio.run(run(name, arguments, named))


BOTH = pytest.mark.parametrize("kind", [blocking, on_a_loop])


@BOTH
def test_a_decision_is_the_sealed_bytes(world: StandIn, kind: Any) -> None:
    call = kind(world, key="ct_1_secret")
    assert call("decide", CLAIM, wait_s=1.5) == read(sealed("C-1"))
    assert check_seal(call("decide_bytes", CLAIM), GENESIS)
    assert call("decision", "C-1").claim_id == "C-1"
    first = world.seen[0]
    assert msgspec.json.decode(first.body) == CLAIM
    assert first.headers["prefer"] == "wait=1.5"
    assert first.headers["authorization"] == "Bearer ct_1_secret"


@BOTH
def test_a_claim_is_decided_once_although_its_answer_was_lost(world: StandIn, kind: Any) -> None:
    world.script = ["drop after", problem(503, "too_many_waiting", "later", retry_after="0"),
                    "drop before"]  # fmt: skip
    assert kind(world)("decide", CLAIM).claim_id == "C-1"
    posts = [each for each in world.seen if each.method == "POST"]
    assert len(posts) == 4
    assert len({each.body for each in posts}) == 1
    assert list(world.decided) == ["C-1"]


@BOTH
def test_202_is_polled_until_the_decision_falls(world: StandIn, kind: Any) -> None:
    world.waits, world.late = False, 2
    assert kind(world)("decide", CLAIM, wait_s=0).claim_id == "C-1"
    assert [each.method for each in world.seen] == ["POST", "GET", "GET", "GET"]


@BOTH
def test_other_bytes_under_an_id_are_a_conflict(world: StandIn, kind: Any) -> None:
    call = kind(world)
    call("decide", CLAIM)
    with pytest.raises(errors.Conflict) as said:
        call("decide", {**CLAIM, "total_claim_cents": 1})
    assert said.value.code == "id_conflict"
    assert isinstance(said.value, errors.ClaimtraceError)


@BOTH
def test_scores_of_one_and_of_many(world: StandIn, kind: Any) -> None:
    call = kind(world)
    place = b'{"not_scored":{"reason":"bad_id","field":"claim_id","hint":"h","decision":""}}'
    many = b'{"advisory":true,"as_of":{"plan":7,"plan_digest":"ab","watermark_ms":5,"behind_ms":1},'
    many += b'"scores":[{"score":%b},%b]}' % (ADVISORY, place)
    world.script = [Response(ADVISORY), Response(many)]
    one = call("score", CLAIM, model="auto_claims:3")
    assert (one.advisory, one.as_of.plan, one.outcome) == (True, 7, "approve")
    assert world.seen[0].query == "model=auto_claims%3A3"
    first, second = call("score", [CLAIM, {}])
    assert first == one
    assert second == NotScored(reason="bad_id", field="claim_id", hint="h")


@BOTH
def test_paths_are_quoted_and_answers_are_typed(world: StandIn, kind: Any) -> None:
    as_of = b'{"plan":7,"plan_digest":"ab","watermark_ms":null,"behind_ms":1}'
    world.script = [
        Response(b'{"group":"shop","kind":"entity","key":"a/b","values":{"n":3.0,"s":null},'
                 b'"changed_ms":null,"as_of":%b,"newer":1}' % as_of),
        Response(b'{"models":[{"name":"m","version":2,"digest":"d","aliases":["champion"],'
                 b'"loaded":true,"misfit":""}],"most_loaded":4}'),
        Response(b'{"same":true}'), Response(b'{"then":1}'),
    ]  # fmt: skip
    call = kind(world)
    assert call("features", "shop", "a/b c").values == {"n": 3.0, "s": None}
    assert call("models").models[0].aliases == ["champion"]
    assert call("evidence", "C/1", at_plan=5) == {"same": True}
    assert call("what_if", "C/1", {"total_claim_cents": 5}) == {"then": 1}
    assert world.seen[0].path == "/v1/features/shop/a/b c"
    assert world.seen[2].query == "at_plan=5"
    assert (world.seen[3].method, world.seen[3].body) == ("POST", b'{"total_claim_cents":5}')


def job(state: str) -> Response:
    body = {"id": "j1", "state": state, "as": "look", "form": "ndjson", "created_ms": 1,
            "changed_ms": 2, "lines": 3, "error": "disk" if state == "failed" else ""}  # fmt: skip
    return Response(msgspec.json.encode(body), 202 if state == "queued" else 200)


@BOTH
def test_a_file_is_sent_awaited_and_saved(world: StandIn, kind: Any, tmp_path: Path) -> None:
    lines = b'{"claim_id":"C-1"}\n' * 40_000  # several parts
    (tmp_path / "claims.ndjson").write_bytes(lines)
    world.script = [problem(503, "unavailable", "later", retry_after="0"), job("queued"),
                    job("running"), job("done"), Response(b"x" * 700_000)]  # fmt: skip
    call = kind(world)
    sent = call("batches.send", tmp_path / "claims.ndjson", fields=["score"])
    assert isinstance(sent, Job)
    assert [each.body for each in world.seen] == [lines, lines], "from its beginning again"
    assert world.seen[1].query == "as=look&fields=score"
    assert call("batches.wait", sent.id).lines == 3
    out = tmp_path / "out.ndjson"
    assert call("batches.output", sent.id, out) == str(out)
    assert out.read_bytes() == b"x" * 700_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["claims.ndjson", "out.ndjson"]


@BOTH
def test_a_file_whose_answer_was_lost_is_not_sent_twice(
    world: StandIn, kind: Any, tmp_path: Path
) -> None:
    (tmp_path / "claims.csv").write_text("claim_id\nC-1\n")
    world.script = ["drop before"]
    with pytest.raises(errors.ServerUnavailable):
        kind(world)("batches.send", tmp_path / "claims.csv")
    assert len(world.seen) == 1


@BOTH
def test_jobs_that_fail_and_outputs_that_are_refused(
    world: StandIn, kind: Any, tmp_path: Path
) -> None:
    world.script = [job("failed"), problem(409, "not_done", "the job is failed")]
    with pytest.raises(errors.ApiError, match="disk") as said:
        kind(world)("batches.wait", "j1")
    assert said.value.code == "job_failed"
    with pytest.raises(errors.Conflict):
        kind(world)("batches.output", "j1", tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_server_that_is_not_there(kind: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(errors.ServerUnavailable) as said:
        kind(StandIn(url=url), total_s=0.3)("models")
    assert said.value.retryable
    assert "claimtrace serve" in said.value.hint


@BOTH
def test_a_server_that_does_not_answer(kind: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(errors.ServerUnavailable, match="took too long"):
            kind(StandIn(url=url), answer_s=0.1, total_s=0.4)("decide", CLAIM, wait_s=0)


@BOTH
def test_an_answer_without_an_end_is_cut(
    world: StandIn, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_ANSWER_BYTES", 1_000)
    world.script = [Response(b" " * 5_000)]
    with pytest.raises(errors.BadAnswer, match="larger"):
        kind(world)("models")


@BOTH
def test_redirects_are_not_followed(world: StandIn, kind: Any) -> None:
    world.script = [Response(b"", 307, {"location": f"{world.url}/v1/elsewhere"})]
    with pytest.raises(errors.BadAnswer):
        kind(world, key="ct_1_secret")("decide", CLAIM)
    assert len(world.seen) == 1


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("claims.test", None, "not the address"),
        ("ftp://claims.test", None, "not the address"),
        ("https://", None, "not the address"),
        ("https://user:word@claims.test", None, "user or password"),
        ("http://claims.test", "ct_1_secret", "unencrypted"),
        ("https://claims.test", "ct_1 secret", "spaces"),
        ("https://claims.test", "ct_1\r\nx: y", "spaces"),
        ("http://[", None, "address"),
    ],
)
def test_addresses_and_keys_are_checked(url: str, key: str | None, said: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(errors.ConfigError, match=said) as error:
            kind(url, key)
        assert "secret" not in str(error.value)


def test_the_key_is_shown_nowhere(world: StandIn) -> None:
    with Client(world.url, "ct_1_secret") as client:
        assert "secret" not in repr(client)
        world.script = [problem(401, "bad_credential", "not accepted")]
        with pytest.raises(errors.NotAllowed) as said:
            client.models()
        assert "secret" not in str(said.value)


def test_threads_may_share_a_client(world: StandIn) -> None:
    found: list[str] = []
    with Client(world.url) as client:

        def run(number: int) -> None:
            found.append(client.decide({"claim_id": f"C-{number}"}).claim_id)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sorted(found) == [f"C-{n}" for n in range(8)]


def test_both_clients_have_the_same_calls() -> None:
    def calls_of(kind: Any) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(call).parameters)
            for name, call in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls_of(Client) == calls_of(AsyncClient)
    from claimtrace.client import AsyncBatches, Batches

    assert calls_of(Batches) == calls_of(AsyncBatches)


def test_importing_the_client_brings_neither_a_server_nor_heavy_libraries() -> None:
    code = (
        "import sys, claimtrace.client\n"
        "heavy = {'starlette', 'uvicorn', 'numba', 'pandas', 'pyarrow', 'numpy', 'cli', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert DECISIONS_TOPIC
