"""Looks beside a worker's loop: what happens between two plans."""

from __future__ import annotations

import threading
from typing import Protocol

from claimtrace.clock import Clock
from stream.engine.engine import Engine

from .service import LookService


class Worker(Protocol):
    """The driver as far as looks go."""

    at_end: bool

    @property
    def engine(self) -> Engine:
        """Return the engine."""

    def has_everything(self) -> bool:
        """Whether the log has no record that isn't applied yet."""


class LooksBeside:
    """Answers looks between the plans of a worker or follower, and notes how fresh its state is.

    All methods are called by the thread of the worker's loop:

        most = beside.before_step(size)      # few records, while people ask
        records = driver.step(most)
        beside.after_step(driver, records)
        beside.idle(seconds)                 # in place of a sleep

    Args:
        looks: who waits.
        clock: for the age of the state.
        check_s: time between two questions to the log whether it has more; each may be a request.
    """

    def __init__(self, looks: LookService, clock: Clock, check_s: float = 0.2) -> None:
        self._looks, self._clock, self._check_s = looks, clock, check_s
        self.woken = threading.Event()
        """Set by whoever has something for the worker: a look, or a record on the log."""
        looks.desk.wake = self.woken.set
        self._began_ms = 0
        self._checked_s = -1e9

    def before_step(self, records: int) -> int:
        """Return how many records the next plan may have; the step that takes them begins now."""
        self._began_ms = self._clock.now_ms()
        return self._looks.desk.limit(records)

    def after_step(self, driver: Worker, records: int) -> None:
        """Note whether the step reached the log's end, and answer one batch of looks.

        Args:
            driver: took the step.
            records: how many records it applied.
        """
        if driver.at_end or (not records and self._is_time() and driver.has_everything()):
            # what was there when the step began is applied; what came later may not be
            self._looks.freshness.complete(self._began_ms)
        self._looks.serve(driver.engine)

    def idle(self, seconds: float) -> None:
        """Sleep until somebody asks, at most for some seconds."""
        self.woken.wait(seconds)
        self.woken.clear()

    def _is_time(self) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s - self._checked_s < self._check_s:
            return False
        self._checked_s = now_s
        return True
