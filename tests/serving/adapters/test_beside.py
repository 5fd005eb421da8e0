"""Looks beside a worker and a follower: the same answers, small plans, and how fresh they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claimtrace_examples.auto_claims import DOMAIN
from serving.adapters.looks.beside import LooksBeside
from serving.adapters.looks.desk import RECORDS_BESIDE
from serving.adapters.looks.model_shelf import ModelShelf, Registered
from serving.adapters.looks.service import LookService, TooFarBehind
from stream.worker.driver import Driver
from tests.stream.worker.test_following import follower
from tests.worlds.random_events import a_stream, as_records
from tests.worlds.rollouts import a_scorer, scorer_of
from tests.worlds.stream_folder import World

from claimtrace.clock import ManualClock  # isort: skip


def a_world(folder: Path, records: list[Any]) -> World:
    world = World(folder, scorer_of=scorer_of, champion=a_scorer(1).ref)
    world.put(records)
    return world


def a_service(at_ms: int) -> tuple[LookService, LooksBeside, ManualClock]:
    clock = ManualClock(at_ms)
    shelf = ModelShelf(Registered(list, lambda ref: "", a_scorer), 2, scorer_of)  # type: ignore[arg-type]
    looks = LookService(4096, 2_000, 60.0, shelf, clock, DOMAIN)
    return looks, LooksBeside(looks, clock), clock


def while_looping(
    start: Callable[[], tuple[Driver, Any]],
    looks: LookService,
    beside: LooksBeside,
    ask: Callable[[], Any],
) -> Any:
    """Run `ask` in an event loop while a thread starts a driver and runs a worker's loop."""
    ended = threading.Event()

    def loop() -> None:
        driver, log = start()  # by the thread that uses the log
        try:
            while not ended.is_set():
                records = driver.step(beside.before_step(2_000))
                beside.after_step(driver, records)
                if not records:
                    beside.idle(0.05)
        finally:
            looks.close()
            log.close()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        return asyncio.run(asyncio.wait_for(ask(), 60))
    finally:
        ended.set()
        beside.woken.set()
        thread.join(20)


def test_a_follower_answers_what_the_worker_answers(tmp_path: Path) -> None:
    records = as_records(a_stream(8, 260))
    world = a_world(tmp_path / "worker", records[:200])
    world.run()
    claims = [each.value or b"" for each in records[200:] if each.topic == DOMAIN.claim.topic]
    at_ms = records[-1].log_time_ms
    found = []
    starts: list[Callable[[], tuple[Driver, Any]]] = [
        world.start, lambda: follower(world, tmp_path / "own")
    ]  # fmt: skip
    for start in starts:
        looks, beside, _ = a_service(at_ms)

        async def ask(looks: LookService = looks) -> Any:
            while not looks.is_fresh:  # the loop finds the log's end in its first steps
                await asyncio.sleep(0.01)
            return await looks.look(claims)

        found.append(while_looping(start, looks, beside, ask))
    assert found[0] == found[1]
    assert sum(bool(each.decision) for each in found[0].looked) > 10
    assert found[0].as_of.plan > 0


def test_a_state_from_a_snapshot_knows_its_plan_again(tmp_path: Path) -> None:
    world = a_world(tmp_path / "worker", as_records(a_stream(8, 120)))
    world.run()
    driver, log = world.start()
    assert driver.counts.records == 0, "nothing was replayed: the journal was asked"
    assert driver.engine.newest_plan is not None
    assert driver.engine.newest_plan.number == driver.engine.plan
    assert driver.engine.charge.model == a_scorer(1).ref
    log.close()


class Steps:
    """A driver that takes the steps it is told."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.at_end = False
        self.everything = True
        self.questions = 0

    def has_everything(self) -> bool:
        self.questions += 1
        return self.everything


def test_freshness_is_the_time_of_the_last_step_that_found_the_end() -> None:
    looks, beside, clock = a_service(1_000)
    driver = Steps()

    def step(records: int, *, at_end: bool) -> int | None:
        driver.at_end = at_end
        beside.before_step(100)
        clock.sleep(0.5)
        beside.after_step(driver, records)
        return looks.behind_ms

    assert step(100, at_end=False) is None, "nobody has seen the end yet"
    with pytest.raises(TooFarBehind):
        looks.check_fresh()
    assert step(40, at_end=True) == 500, "what came while it worked may be missing"
    assert step(100, at_end=False) == 1_000
    # a follower can't tell from its steps: it asks the log, now and then
    assert step(0, at_end=False) == 500
    driver.everything = False
    assert step(0, at_end=False) == 1_000
    assert driver.questions == 2
    clock.sleep(3.0)
    assert not looks.is_fresh


def test_plans_have_few_records_while_looks_wait(tmp_path: Path) -> None:
    looks, beside, _ = a_service(0)
    looks.freshness.complete(0)
    assert beside.before_step(2_000) == 2_000

    async def wait() -> None:
        waiting = asyncio.ensure_future(looks.read(lambda engine: 1))
        await asyncio.sleep(0)
        assert beside.before_step(2_000) == RECORDS_BESIDE
        looks.serve(None)  # type: ignore[arg-type]
        assert await waiting == 1

    asyncio.run(wait())
