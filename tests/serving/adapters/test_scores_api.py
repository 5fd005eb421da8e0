"""`/v1/scores`, `/v1/features` and `/v1/models` over an engine in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from claimtrace.events import Record
from claimtrace.looks import AdvisoryDecision, advisory_answer
from serving.adapters.http.app import build_app
from serving.adapters.http.endpoint import Parts
from serving.looks.answering import Scores
from serving.problems import Problem
from tests.worlds.looking import OTHER_DEFINITIONS, Looking, an_engine, looking, refs
from tests.worlds.rollouts import a_scorer


@pytest.fixture(scope="module")
def history() -> tuple[Any, list[Record]]:
    return an_engine()


@pytest.fixture
def world(history: tuple[Any, list[Record]]) -> Iterator[Looking]:
    engine, claims = history
    with looking(engine, claims[-1].log_time_ms) as found:
        yield found


@pytest.fixture
def client(world: Looking) -> TestClient:
    app = build_app(Parts(looks=world.looks, models=world.models))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def claims(history: tuple[Any, list[Record]]) -> list[Record]:
    return history[1]


def problem(answer: Any) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json"
    return msgspec.json.decode(answer.content, type=Problem)


def expected(world: Looking, record: Record, version: int | None = None) -> bytes:
    """The look of the engine itself, at the log time of the request."""
    now = world.clock.now_ms()
    moved = Record(record.topic, 0, 0, None, record.value, now)
    model = None if version is None else a_scorer(version).ref
    if version is not None:
        world.looks.shelf.pin(a_scorer(version))
    found = world.engine.look([moved], model)[0]
    world.looks.shelf.pin(None)
    return advisory_answer(found.decision, world.engine.as_of(now))


def test_one_claim_has_the_bytes_of_the_look(
    client: TestClient, world: Looking, claims: list[Record]
) -> None:
    for record in claims[:5]:
        answer = client.post("/v1/scores", content=record.value)
        assert answer.status_code == 200, answer.text
        assert answer.content == expected(world, record)
        assert answer.content.startswith(b'{"advisory":true,')
        assert answer.headers["cache-control"] == "no-store"
        read = msgspec.json.decode(answer.content, type=AdvisoryDecision)
        assert read.model == a_scorer(1).ref
        assert read.as_of.plan == world.engine.plan
        assert not {"decision_id", "chain", "position"} & json.loads(answer.content).keys()


def test_a_list_has_a_place_for_each_claim(
    client: TestClient, world: Looking, claims: list[Record]
) -> None:
    good, other = claims[0].value or b"", claims[1].value or b""
    body = b"[%b, {}, %b, 7]" % (good, other)
    answer = client.post("/v1/scores", content=body)
    assert answer.status_code == 200
    read = msgspec.json.decode(answer.content, type=Scores)
    assert read.advisory
    assert b'{"score":%b}' % expected(world, claims[0]) in answer.content
    assert b'{"score":%b}' % expected(world, claims[1]) in answer.content
    refused = [each.not_scored for each in (read.scores[1], read.scores[3])]
    assert [getattr(each, "reason", "") for each in refused] == ["bad_id", "bad_json"]


def test_another_model_decides_alone_and_few_stay_loaded(
    client: TestClient, world: Looking, claims: list[Record]
) -> None:
    value = claims[0].value
    for version in (2, 3, 2, 4, 2, 3):
        answer = client.post(f"/v1/scores?model=claims:{version}", content=value)
        assert answer.status_code == 200, answer.text
        assert answer.content == expected(world, claims[0], version)
        assert json.loads(answer.content)["model"]["version"] == version
    # two stay: 3 has left for 4, as 2 was used in between
    assert [ref.version for ref in world.loaded] == [2, 3, 4, 3]
    shown = client.get("/v1/models").json()
    assert [row["version"] for row in shown["models"]] == [9, 4, 3, 2, 1]
    assert [row["version"] for row in shown["models"] if row["loaded"]] == [3, 2]
    assert shown["models"][-1]["aliases"] == ["champion"]
    assert shown["most_loaded"] == 2


def test_models_that_cannot_be_asked(client: TestClient, claims: list[Record]) -> None:
    value = claims[0].value
    answer = client.post(f"/v1/scores?model=claims:{OTHER_DEFINITIONS}", content=value)
    said = problem(answer)
    assert (said.status, said.code) == (409, "other_definitions")
    assert "e" * 64 in said.detail
    assert client.app.state.parts.looks is not None  # type: ignore[attr-defined]
    assert problem(client.post("/v1/scores?model=claims:7", content=value)).code == "no_such_model"
    assert problem(client.post("/v1/scores?model=nobody:1", content=value)).code == "no_such_model"
    assert problem(client.post("/v1/scores?model=claims", content=value)).status == 400


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"7", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b"[1", 400, "bad_request"),
        (b"[" + b"{}," * 256 + b"{}]", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b"{", 422, "bad_json"),
        (b"{}", 422, "bad_id"),
        (b'{"claim_id": "\xff"}', 422, "bad_utf8"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 422, "too_deep"),
        (b'{"a":"' + b"x" * 300_000 + b'"}', 422, "too_large"),
    ],
)
def test_bodies_that_are_no_claims(client: TestClient, body: bytes, status: int, code: str) -> None:
    said = problem(client.post("/v1/scores", content=body))
    assert (said.status, said.code) == (status, code)
    assert said.hint


def test_a_claim_that_is_decided_already(client: TestClient, history: Any) -> None:
    engine, claims = history
    known = next(iter(engine.decider.chains), None)
    assert known is not None
    from tests.worlds.random_events import a_stream, as_records

    first = next(r for r in as_records(a_stream(4, 180)) if r.topic == claims[0].topic)
    answer = client.post("/v1/scores", content=first.value)
    said = problem(answer)
    assert (said.status, said.code) == (409, "decided_already")
    assert (
        answer.headers["location"] == f"/v1/decisions/{json.loads(first.value or b'')['claim_id']}"
    )
    listed = client.post("/v1/scores", content=b"[%b]" % (first.value or b"")).json()
    assert listed["scores"][0]["not_scored"]["reason"] == "decided_already"


def test_a_state_that_is_too_old_answers_nothing(
    client: TestClient, world: Looking, claims: list[Record]
) -> None:
    world.clock.sleep(2.0)
    assert client.post("/v1/scores", content=claims[0].value).status_code == 200
    world.clock.sleep(0.1)
    answer = client.post("/v1/scores", content=claims[0].value)
    assert (problem(answer).status, answer.headers["retry-after"]) == (503, "1")
    assert "2,100 ms" in problem(answer).detail
    assert problem(client.get("/v1/features/policy/P1")).status == 503
    world.looks.freshness.complete(world.clock.now_ms())
    assert client.post("/v1/scores", content=claims[0].value).status_code == 200


def test_too_many_who_wait_are_told_to_come_again(history: Any) -> None:
    engine, claims = history
    with looking(engine, claims[-1].log_time_ms, most_waiting=3) as world:

        async def crowd() -> list[Any]:
            ten = [claims[0].value or b""] * 2
            return await asyncio.gather(
                *(world.looks.look(ten) for _ in range(40)), return_exceptions=True
            )

        found = asyncio.run(crowd())
    refused = [each for each in found if type(each).__name__ == "TooManyWaiting"]
    assert refused
    assert len(refused) < 40


def test_features_of_an_entity(client: TestClient, world: Looking) -> None:
    found = client.get("/v1/features/policy/p1")
    assert found.status_code == 200, found.text
    said = found.json()
    want = world.engine.intake.features.look.entity("policy", "P1", world.engine.intake.watermark)
    assert want is not None
    assert said["values"] == want.values
    assert (said["kind"], said["key"], said["group"]) == ("entity", "p1", "policy")
    assert said["as_of"]["plan"] == world.engine.plan
    profile = world.engine.domain.groups[0].name
    assert client.get(f"/v1/features/{profile}/P1").json()["kind"] == "profile"
    for path, code in (
        ("galaxy/a", "no_such_group"), ("policy/never-seen", "unknown_entity"),
        ("policy/a%00b", "bad_key"), (f"policy/{'a' * 129}", "bad_key"),
    ):  # fmt: skip
        assert problem(client.get(f"/v1/features/{path}")).code == code


def test_what_this_process_has_not_is_said(claims: list[Record]) -> None:
    client = TestClient(build_app(Parts()))
    for answer in (
        client.post("/v1/scores", content=claims[0].value), client.get("/v1/models"),
        client.get("/v1/batches"), client.get("/v1/features/policy/a"),
    ):  # fmt: skip
        assert problem(answer).code == "not_here"
    assert problem(client.get("/v2")).code == "not_found"
    assert problem(client.get("/v1/scores")).code == "method_not_allowed"


def test_a_fault_shows_nothing_of_itself(world: Looking, claims: list[Record]) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a secret path")

    world.looks.look = broken  # type: ignore[method-assign]
    client = TestClient(build_app(Parts(looks=world.looks)), raise_server_exceptions=False)
    answer = client.post("/v1/scores", content=claims[0].value)
    assert problem(answer).status == 500
    assert "secret" not in answer.text


def test_the_registry_lists_what_the_world_has() -> None:
    assert len(refs()) == 5
