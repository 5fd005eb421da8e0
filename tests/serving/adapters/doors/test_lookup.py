"""The gate of a door without a worker, and what concurrent requests of one claim are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx
import msgspec
import pytest

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC
from claimtrace.errors import StoreUnavailable
from claimtrace.events import Outgoing, Record
from claimtrace.refusals import Refusal
from claimtrace_examples.auto_claims import DOMAIN
from serving.adapters.doors.door import Answer, Door, Log
from serving.adapters.doors.lookup import Lookup
from serving.adapters.looks.desk import NoAnswer
from serving.doors.lookup import Question, Verdicts, read_question, verdict_of
from serving.doors.waiting import Place
from stream.engine.looked import Looked

CLAIM = b'{"claim_id":"c-1","policy_id":"p-1"}'


class FakeLog:
    """Claims that were put, and decisions that are found."""

    def __init__(self) -> None:
        self.put_claims: list[Outgoing] = []
        self.decisions: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.may_put = asyncio.Event()
        self.is_ready = True

    async def put(self, record: Outgoing, placed: Callable[[Place], None]) -> Place:
        await self.may_put.wait()
        if self.error is not None:
            raise self.error
        self.put_claims.append(record)
        placed(Place(0, len(self.put_claims) - 1))
        return Place(0, len(self.put_claims) - 1)

    def find(self, claim_id: str) -> Future[bytes | None]:
        future: Future[bytes | None] = Future()
        future.set_result(self.decisions.get(claim_id))
        return future


class FakeGate:
    """Answers by hand, when it is told to."""

    def __init__(self, looked: Looked) -> None:
        self.looked, self.asked, self.may_answer = looked, 0, asyncio.Event()

    async def ask(self, ask: bytes, claims: int) -> Looked:
        self.asked += 1
        await self.may_answer.wait()
        return self.looked


def a_door(log: FakeLog, gate: FakeGate, *, has_headers: bool = True) -> Door:
    parts: Any = log
    return Door(DOMAIN, Log(parts, parts, 4, has_headers=has_headers), SystemClock(), 10, 5.0, gate)


def decided(claim_id: str, position: int) -> Record:
    value = msgspec.json.encode({"claim_id": claim_id, "partition": 0, "position": position})
    return Record(DECISIONS_TOPIC, 0, 0, None, value, 0)


async def two(door: Door, meanwhile: Callable[[], None], wait_s: float = 10) -> list[Any]:
    """Two requests of the same bytes at once."""
    both = [asyncio.create_task(door.decide(CLAIM, wait_s)) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    meanwhile()
    return await asyncio.gather(*both, return_exceptions=True)


def test_both_of_two_at_once_are_refused() -> None:
    async def story() -> None:
        log, gate = FakeLog(), FakeGate(Looked(refusal=Refusal("bad_value", "phone")))
        found = await two(a_door(log, gate), gate.may_answer.set)
        assert found == [Answer(refusal=Refusal("bad_value", "phone"))] * 2
        assert not log.put_claims

    asyncio.run(story())


def test_both_of_two_at_once_get_the_earlier_decision() -> None:
    async def story() -> None:
        log, gate = FakeLog(), FakeGate(Looked(is_known=True))
        log.decisions["c-1"] = b"sealed"
        found = await two(a_door(log, gate), gate.may_answer.set)
        assert found == [Answer(b"sealed", is_replayed=True)] * 2
        assert not log.put_claims

    asyncio.run(story())


def test_both_of_two_at_once_hear_that_the_log_is_not_writable() -> None:
    async def story() -> None:
        log, gate = FakeLog(), FakeGate(Looked())
        log.error = StoreUnavailable("the disk is full")
        gate.may_answer.set()
        found = await two(a_door(log, gate), log.may_put.set)
        assert [type(each) for each in found] == [StoreUnavailable] * 2

    asyncio.run(story())


def test_two_at_once_are_one_record() -> None:
    async def story() -> None:
        log, gate = FakeLog(), FakeGate(Looked())
        gate.may_answer.set()
        door = a_door(log, gate)

        def meanwhile() -> None:
            log.may_put.set()
            asyncio.get_running_loop().call_later(0.05, door.fell, [decided("c-1", 0)])

        found = await two(door, meanwhile)
        assert [each.sealed for each in found] == [decided("c-1", 0).value] * 2
        assert not any(each.is_replayed for each in found)
        assert len(log.put_claims) == 1

    asyncio.run(story())


def test_a_dead_letter_without_headers_wakes_by_its_bytes() -> None:
    async def story() -> None:
        log, gate = FakeLog(), FakeGate(Looked())
        gate.may_answer.set()
        log.may_put.set()
        door = a_door(log, gate, has_headers=False)
        dead = Record(DEAD_TOPIC, 0, 0, None, CLAIM, 0, (("x-dead-reason", b"id_conflict"),))
        other = dead._replace(value=CLAIM + b" ")
        asyncio.get_running_loop().call_later(0.05, door.fell, [other, dead])
        found = await door.decide(CLAIM, 10)
        assert found.refusal is not None
        assert found.refusal.reason == "id_conflict"

    asyncio.run(story())


def test_a_decision_that_another_worker_made_is_waited_for_until_the_engine_knows_it() -> None:
    async def story() -> None:
        log, gate = FakeLog(), FakeGate(Looked())
        gate.may_answer.set()
        log.may_put.set()
        door = a_door(log, gate)
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, door.fell, [decided("c-1", 7)])  # on a record of somebody else

        def known() -> None:
            log.decisions["c-1"], gate.looked = b"sealed", Looked(is_known=True)

        loop.call_later(0.2, known)
        assert await door.decide(CLAIM, 10) == Answer(b"sealed", is_replayed=True)

    asyncio.run(story())


@pytest.mark.parametrize(
    "looked",
    [Looked(), Looked(is_known=True), Looked(refusal=Refusal("bad_value", "phone", "a number"))],
)
def test_the_lookup_says_what_the_gate_says(looked: Looked) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/decisions/lookup"
        assert request.headers["authorization"] == "Bearer ct_key"
        claims = read_question(request.content)
        assert claims is not None
        return httpx.Response(
            200, content=msgspec.json.encode(Verdicts([verdict_of(looked) for _ in claims]))
        )

    async def story() -> None:
        lookup = Lookup("http://worker/", "ct_key", 10, 5.0, httpx.MockTransport(handler))
        assert await asyncio.gather(*(lookup.ask(CLAIM, 1) for _ in range(3))) == [looked] * 3

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "content"), [(401, b"{}"), (200, b"no json"), (200, b'{"verdicts":[]}')]
)
def test_a_lookup_that_does_not_answer_refuses(status: int, content: bytes) -> None:
    async def story() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
        with pytest.raises(NoAnswer):
            await Lookup("http://worker", "", 10, 5.0, transport).ask(CLAIM, 1)
        with pytest.raises(NoAnswer, match=r"serve\.lookup names none"):
            await Lookup("", "", 10, 5.0).ask(CLAIM, 1)

    asyncio.run(story())


@pytest.mark.parametrize("body", [b"", b"[]", b'{"claims":[1]}', b'{"claims":["%%"]}', b"[" * 9999])
def test_a_body_that_is_no_question(body: bytes) -> None:
    assert read_question(body) is None
    assert read_question(msgspec.json.encode(Question([b"{}"] * 257))) is None
