"""A thread that writes the audit: whoever waits while a batch is written is the next batch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError, StoreUnavailable

from ..audit.event import Draft
from ..audit.refusals import RefusalCounts, Refused
from .audit_log import AuditLog, NotAcknowledged

MOST_AT_ONCE: Final = 500
"""Events of one commit."""
MOST_PENDING: Final = 5_000
"""Refusals that are kept while the log doesn't answer; beyond it they are counted as lost."""
_TICK_S: Final = 1.0
_JOIN_S: Final = 15.0

Waiting = tuple[Draft, "Future[None] | None"]


class Recorder:
    """Writes the audit in a thread of its own; the log is opened, used and closed in it.

    Args:
        open_log: opens the place of the audit.
        clock: for the windows of refusals.
        tell: called with a line when the audit can't be written, and when it can again.
        each_tick: called about once a second in the thread, such as to store uses of keys.
    """

    def __init__(
        self,
        open_log: Callable[[], AuditLog],
        clock: Clock,
        tell: Callable[[str], None],
        each_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_log, self._clock, self._tell = open_log, clock, tell
        self._each_tick = each_tick
        self._arrivals: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._counts, self._lock = RefusalCounts(), threading.Lock()
        self._pending: list[Draft] = []
        self._lost = 0
        self._told = False
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Open the log.

        Raises:
            ClaimtraceError: it can't be opened.
        """
        self._thread.start()
        self._opened.result()

    def stop(self) -> None:
        """Write what is left, and close the log."""
        if self._thread.is_alive():
            self._arrivals.put(None)
            self._thread.join(_JOIN_S)

    def record(self, draft: Draft) -> Future[None]:
        """Record an event; the result is there when it is durable.

        The future raises `StoreUnavailable` when the log doesn't answer.
        """
        done: Future[None] = Future()
        self._arrivals.put((draft, done))
        return done

    def refused(self, refused: Refused, request_id: str) -> None:
        """Count a refusal and record it; returns at once."""
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        with self._lock:
            drafts = self._counts.add(refused, request_id, now_ms, now_s)
        for draft in drafts:
            self._arrivals.put((draft, None))

    def _run(self) -> None:
        try:
            log = self._open_log()
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            going = True
            while going:
                batch, going = self._next_batch()
                self._write(log, [*batch, *((draft, None) for draft in self._due(not going))])
                self._tick()
        finally:
            log.close()

    def _next_batch(self) -> tuple[list[Waiting], bool]:
        """Wait for an event or a tick; return all that wait, and False to stop."""
        batch: list[Waiting] = []
        try:
            arrived = self._arrivals.get(timeout=_TICK_S)
            while arrived is not None:
                batch.append(arrived)
                if len(batch) == MOST_AT_ONCE:
                    return batch, True
                arrived = self._arrivals.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _due(self, stopping: bool) -> Sequence[Draft]:
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        with self._lock:
            return self._counts.due(now_ms, now_s, all_windows=stopping)

    def _write(self, log: AuditLog, batch: list[Waiting]) -> None:
        drafts = [*self._pending, *(draft for draft, _ in batch)]
        if not drafts:
            return
        try:
            log.append(drafts)
        except Exception as error:
            kept = [] if isinstance(error, NotAcknowledged) else [
                *self._pending, *(draft for draft, done in batch if done is None)
            ]  # fmt: skip
            self._lost += max(0, len(kept) - MOST_PENDING)
            self._pending = kept[:MOST_PENDING]
            self._say(f"the audit isn't written: {error}")
            for _, done in batch:
                if done is not None:
                    done.set_exception(_unavailable(error))
            return
        self._pending = []
        if self._told:
            self._told = False
            self._tell(f"the audit is written again; refusals that were lost: {self._lost}")
        for _, done in batch:
            if done is not None:
                done.set_result(None)

    def _tick(self) -> None:
        try:
            self._each_tick()
        except ClaimtraceError as error:
            self._say(f"uses of keys aren't stored: {error}")

    def _say(self, line: str) -> None:
        if not self._told:
            self._told = True
            self._tell(line)


def _unavailable(error: Exception) -> StoreUnavailable:
    if isinstance(error, StoreUnavailable):
        return error
    return StoreUnavailable("the audit can't be written", hint=str(error))
