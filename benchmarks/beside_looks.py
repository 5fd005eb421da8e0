"""Measure lone looks beside lone decisions, and a full stream beside looks, in this process.

The stream and the looks share one thread, as in a worker. Looks come at their rate of that
thread's CPU time: on a quiet machine both are the same, and on a busy one the figure stays.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.canonical import events
from benchmarks.champion import load_champion, open_line
from benchmarks.line import NOW_MS
from benchmarks.lone import run as lone
from claimtrace.errors import StateError
from claimtrace.events import Outgoing
from claimtrace.ids import partition_of
from claimtrace_examples.auto_claims import ClaimFiled
from serving.adapters.looks.desk import RECORDS_BESIDE
from serving.looks.answering import Ask, answers
from serving.looks.queue import LookQueue, Waiting
from stream.adapters.process.garbage import rare_collections
from stream.worker.driver import Driver

BATCH = 2_000


def lone_looks(models: Path, *, policies: int, warm: int, claims: int) -> dict[str, float]:
    """Measure the median CPU of a lone look, of a lone decision, and their ratio."""
    found = lone(models, policies=policies, warm=warm, claims=claims)
    look_ms, step_ms = found["looked_cpu_ms"], found["decided_cpu_ms"]
    return {"look_ms": look_ms, "step_ms": step_ms, "ratio": look_ms / step_ms}


def stream_beside_looks(
    models: Path, *, policies: int, warm: int, rate: int, measured: int = 100_000
) -> dict[str, float]:
    """Measure a full stream on the embedded log, alone and beside looks at a rate.

    Returns CPU an event in microseconds of the worker's thread, looks counted in, and the ratio of
    the rates.
    """
    alone_us = _cpu_us(models, policies, warm, measured, 0)
    beside_us = _cpu_us(models, policies, warm, measured, rate)
    return {"alone_us": alone_us, "beside_us": beside_us, "rate": rate,
            "ratio": alone_us / beside_us}  # fmt: skip


def _cpu_us(models: Path, policies: int, warm: int, measured: int, rate: int) -> float:
    with TemporaryDirectory() as folder, rare_collections():
        line = open_line(Path(folder), policies, load_champion(models))
        count = warm + measured
        sent = list(islice(events(policies, count + count // 4), count + count // 4))
        looked = deque(e.value for e in sent[count:] if e.topic == ClaimFiled.topic)
        line.log.append([
            Outgoing(e.topic, partition_of(e.key, line.terms.partitions), e.key.encode(), e.value,
                     e.log_time_ms) for e in sent[:count]
        ])  # fmt: skip
        driver = line.driver()
        done = 0
        while done < warm:
            done += driver.step(min(BATCH, warm - done))
        began_s, done = time.thread_time(), 0
        asked = _Looks(rate, looked)
        while done < measured:
            most = RECORDS_BESIDE if asked.queue else BATCH
            done += driver.step(min(most, measured - done))
            asked.answer(driver, time.thread_time() - began_s)
        used_s = time.thread_time() - began_s
        if rate and asked.answered < rate * used_s * 0.9:
            raise StateError(f"{asked.answered} looks in {used_s:.1f} s, at {rate} a second")
        line.close()
    return 1e6 * used_s / done


class _Looks:
    """Claims that are looked at as they fall due, by the batches of `LookQueue`."""

    def __init__(self, rate: int, values: deque[bytes]) -> None:
        self.queue = LookQueue[bytes](1 << 20)
        self._rate, self._values = rate, values
        self.answered = self._put = 0

    def answer(self, driver: Driver, passed_s: float) -> None:
        """Answer one batch of what is due."""
        while self._put < self._rate * passed_s:
            self.queue.put(Waiting(self._values[0], 1))
            self._values.rotate(-1)
            self._put += 1
        batch = self.queue.take()
        if not batch:
            return
        for each in answers(driver.engine, [Ask([value]) for value in batch], NOW_MS):
            assert each.looked[0].decision, "a look at a new claim has a decision"
        self.answered += len(batch)
