"""The desk: every request has its own answer, however many threads and loops take part."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from serving.adapters.looks.desk import RECORDS_BESIDE, LookDesk, NoAnswer, TooManyWaiting


class Engine:
    """A thread that answers whatever waits, as a worker does between two plans."""

    def __init__(self, desk: LookDesk[Any, Any], look: Callable[[list[Any]], list[Any]]) -> None:
        self.batches: list[int] = []
        self._asked = threading.Event()
        self._ended = threading.Event()
        desk.wake = self._asked.set

        def run() -> None:
            while not self._ended.is_set():
                self._asked.wait(5)
                self._asked.clear()
                while desk.is_waited_for:
                    desk.serve(self._counted(look), engine="the engine")

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def _counted(self, look: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
        def counted(batch: list[Any]) -> list[Any]:
            self.batches.append(len(batch))
            return look(batch)

        return counted

    def end(self) -> None:
        self._ended.set()
        self._asked.set()
        self._thread.join(20)


def doubled(batch: list[int]) -> list[Any]:
    return [ValueError(each) if each % 7 == 0 else 2 * each for each in batch]


def test_each_request_has_its_own_answer_and_whoever_waits_shares_a_batch() -> None:
    desk = LookDesk[int, int](most=10_000, timeout_s=60)
    engine = Engine(desk, doubled)

    async def asked(number: int) -> None:
        for each in range(number, number + 2_000, 100):
            if each % 7 == 0:
                with pytest.raises(ValueError, match=str(each)):
                    await desk.ask(each, 1)
            else:
                assert await desk.ask(each, 1) == 2 * each

    async def everybody() -> None:
        await asyncio.gather(*(asked(number) for number in range(100)))
        assert await desk.question(lambda engine: f"asked {engine}") == "asked the engine"
        with pytest.raises(ZeroDivisionError):
            await desk.question(lambda engine: 1 / 0)

    asyncio.run(everybody())
    engine.end()
    assert sum(engine.batches) == 2_000
    assert max(engine.batches) > 10, "nobody shared a batch"


def test_what_the_engine_raises_is_raised_at_all_who_waited() -> None:
    desk = LookDesk[int, int](most=100, timeout_s=60)

    def broken(batch: list[int]) -> list[int]:
        raise RuntimeError(f"{len(batch)} waited")

    engine = Engine(desk, broken)

    async def both() -> None:
        found = await asyncio.gather(desk.ask(1, 1), desk.ask(2, 1), return_exceptions=True)
        assert all(isinstance(each, RuntimeError) for each in found)

    asyncio.run(both())
    engine.end()


def test_too_many_are_refused_at_once_and_late_ones_are_told() -> None:
    desk = LookDesk[int, int](most=10, timeout_s=0.01)

    async def nobody_answers() -> None:
        first = asyncio.ensure_future(desk.ask(1, 10))
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaiting):
            await desk.ask(2, 1)
        with pytest.raises(NoAnswer, match="in time"):
            await first
        # its answer comes later, and must harm nobody
        assert desk.serve(lambda batch: batch) == 1
        await asyncio.sleep(0)

    asyncio.run(nobody_answers())


def test_a_desk_that_closes_answers_everybody() -> None:
    desk = LookDesk[int, int](most=10, timeout_s=60)

    async def closed() -> None:
        waiting = [asyncio.ensure_future(desk.ask(1, 1)),
                   asyncio.ensure_future(desk.question(lambda engine: 1))]  # fmt: skip
        await asyncio.sleep(0)
        desk.close()
        for each in waiting:
            with pytest.raises(NoAnswer, match="ended"):
                await each
        with pytest.raises(NoAnswer, match="ended"):
            await desk.ask(1, 1)

    asyncio.run(closed())


def test_plans_are_small_only_while_somebody_asks() -> None:
    desk = LookDesk[int, int](most=10, timeout_s=60)
    assert desk.limit(2_000) == 2_000

    async def one() -> None:
        waiting = asyncio.ensure_future(desk.ask(1, 1))
        await asyncio.sleep(0)
        assert desk.limit(2_000) == RECORDS_BESIDE
        desk.serve(lambda batch: batch)
        assert desk.limit(2_000) == RECORDS_BESIDE, "more will come: others ask at this moment"
        assert desk.limit(100) == 100
        assert await waiting == 1
        desk.serve(lambda batch: batch)
        assert desk.limit(2_000) == 2_000

    asyncio.run(one())
