"""The guard of the step time: what counts as slower, and that the driver says what it needs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from claimtrace.decisions import RolloutRef
from stream.engine.effects import Counts
from stream.worker.step_time import MIN_BATCHES, StepTimeGuard
from tests.stream.worker.test_rollout import BATCH, MIDDLE, a_world

FIRST, SECOND = (RolloutRef("auto_claims", number, "f00d") for number in (1, 2))


class Heard:
    def __init__(self, most_ratio: float = 2.0) -> None:
        self.ratios: list[float] = []
        self.lines: list[str] = []
        self.guard = StepTimeGuard(most_ratio, self.ratios.append, self.lines.append)
        self.random = random.Random(7)

    def batches(self, count: int, ref: RolloutRef | None, times: float, sizes: list[int]) -> None:
        """Apply batches that take so many times as long as usual: a fixed part, and each record."""
        for _ in range(count):
            size = self.random.choice(sizes)
            self.guard.rollout(ref)
            usual_s = 0.001 + 25e-6 * size
            self.guard.applied(1, Counts(records=size), times * usual_s * self.random.uniform(1, 2))


def test_a_roll_out_that_doubles_the_time_is_told_once() -> None:
    heard = Heard(1.5)
    heard.batches(500, None, 1.0, [10, 100])
    heard.batches(1000, FIRST, 2.0, [10, 100])
    assert len(heard.ratios) == len(heard.lines) == 1
    assert heard.ratios[0] == pytest.approx(2.0, rel=0.2)
    assert "roll-out 1 slows decisions down" in heard.lines[0]
    assert "2.0 times" in heard.lines[0] or "1.9 times" in heard.lines[0]
    heard.batches(500, SECOND, 2.0, [10, 100])
    assert len(heard.ratios) == 2, "another roll-out is judged anew"


def test_larger_batches_are_not_slower_ones() -> None:
    heard = Heard(1.5)
    heard.batches(500, None, 1.0, [10, 2000])
    heard.batches(500, FIRST, 1.0, [2000])
    assert heard.ratios == []


@pytest.mark.parametrize(("before", "since"), [(MIN_BATCHES - 1, 1000), (1000, MIN_BATCHES - 1)])
def test_too_few_batches_are_not_judged(before: int, since: int) -> None:
    heard = Heard()
    heard.batches(before, None, 1.0, [10])
    heard.batches(since, FIRST, 50.0, [10])
    assert heard.ratios == []


def test_batches_without_records_of_this_worker_are_left_out() -> None:
    heard = Heard()
    heard.batches(500, None, 1.0, [10])
    for _ in range(1000):
        heard.guard.rollout(FIRST)
        heard.guard.applied(1, Counts(), 9.0)
    assert heard.ratios == []


def test_the_driver_says_under_which_roll_out_each_batch_is_decided(tmp_path: Path) -> None:
    world = a_world(tmp_path, MIDDLE)
    driver, log = world.start()
    heard: list[RolloutRef | None] = []
    driver._observer.rollout = heard.append
    while driver.step(BATCH):
        pass
    log.close()
    assert heard == [plan.rollout for plan in world.plans()]
    assert len(set(heard)) == 3
