"""Retry: work against a store or broker is repeated until it succeeds; nothing is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from claimtrace.backoff import Backoff
from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError

from .observer import WorkerObserver

FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_STOP_PATIENCE_S: Final = 15.0
"""A worker that was asked to stop retries for this long; then it ends without a commit."""

Result = TypeVar("Result")


class Retry:
    """Runs work, and repeats it with growing pauses while its error is retryable.

    Args:
        clock: for the pauses.
        stopping: whether somebody asked this worker to end.
        observer: told of each pause.
    """

    def __init__(
        self, clock: Clock, stopping: Callable[[], bool], observer: WorkerObserver
    ) -> None:
        self._clock, self._stopping, self._observer = clock, stopping, observer
        self._stop_asked_s: float | None = None
        self.heartbeat: Callable[[], None] = lambda: None
        """Called after each pause, so that the group doesn't take a waiting worker for dead."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Return the result of `work`.

        Raises:
            ClaimtraceError: that of `work`, when a retry can't help or a stop was asked for.
        """
        backoff = Backoff(FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            try:
                result = work()
            except ClaimtraceError as error:
                if not error.retryable or self._has_waited_to_stop():
                    raise
                pause_s = backoff.next_s()
                self._observer.notify(f"{error}; trying again in {pause_s:g} s")
                self._observer.ready(False)
                self._observer.paused(error.where)
                self._clock.sleep(pause_s)
                self.heartbeat()
            else:
                if not backoff.is_fresh:
                    self._observer.ready(True)
                return result

    def _has_waited_to_stop(self) -> bool:
        """Whether a stop was asked for, and retries have gone on for long enough since."""
        if not self._stopping():
            return False
        now_s = self._clock.monotonic_s()
        if self._stop_asked_s is None:
            self._stop_asked_s = now_s
        return now_s - self._stop_asked_s > _STOP_PATIENCE_S
