"""Retry: work against a store or broker is repeated until it succeeds; nothing is skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from claimtrace.backoff import Backoff
from claimtrace.clock import Clock
from claimtrace.errors import ClaimtraceError

from .observer import WorkerObserver
from .store_names import StoreNames

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0
_STOP_PATIENCE_S: Final = 1.0
"""A worker that was asked to stop retries for this long; then it ends without a commit."""
_SLICE_S: Final = 0.5
"""In a longer pause it is looked this often whether somebody asked the worker to stop."""

_LEAST_SLICE_S: Final = 0.005
"""What is left of a pause and is shorter than this isn't waited for."""

Result = TypeVar("Result")


def pause(clock: Clock, seconds: float, stopping: Callable[[], bool]) -> None:
    """Wait before a retry, or until somebody asks for a stop."""
    until_s = clock.monotonic_s() + seconds
    clock.sleep(min(seconds, FIRST_PAUSE_S if stopping() else _SLICE_S))
    while not stopping() and (left_s := until_s - clock.monotonic_s()) > _LEAST_SLICE_S:
        clock.sleep(min(left_s, _SLICE_S))


class Call(NamedTuple):
    """A call to a store that the worker is in, with its retries."""

    since_s: float
    """When it began, or failed for the first time, by the monotonic clock."""
    has_failed: bool
    """Whether it has failed already: the store is known not to answer."""


class Retry:
    """Runs work, and repeats it with growing pauses while its error is retryable.

    Args:
        clock: for the pauses.
        stopping: whether somebody asked this worker to end.
        observer: told of each pause.
        names: names the store that an error comes from.

    Attributes:
        call: the call that is under way; None between calls. Other threads look at it too.
    """

    def __init__(
        self,
        clock: Clock,
        stopping: Callable[[], bool],
        observer: WorkerObserver,
        names: StoreNames | None = None,
    ) -> None:
        self._clock, self._stopping, self._observer = clock, stopping, observer
        self._names = names or StoreNames()
        self.call: Call | None = None
        self._stop_asked_s: float | None = None
        self.heartbeat: Callable[[], None] = lambda: None
        """Called after each pause, so that the group doesn't take a waiting worker for dead."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Return the result of `work`.

        Raises:
            ClaimtraceError: that of `work`, when a retry can't help or a stop was asked for.
        """
        outer, self.call = self.call, Call(self._clock.monotonic_s(), False)
        try:
            return self._repeated(work)
        finally:
            self.call = outer

    def _repeated(self, work: Callable[[], Result]) -> Result:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                result = work()
            except ClaimtraceError as error:
                if not error.retryable or self._has_waited_to_stop():
                    raise
                self._wait(error, backoff)
            else:
                if not backoff.is_fresh:
                    self._observer.ready(True)
                return result

    def _wait(self, error: ClaimtraceError, backoff: Backoff) -> None:
        observer = self._observer
        if backoff.is_fresh:
            self.call = Call(self._clock.monotonic_s(), True)
        pause_s, store = backoff.next_s(), self._names.of(error.where)
        observer.notify(f"waiting for: {store}: {error}; trying again in {pause_s:g} s")
        observer.ready(False)
        observer.paused(error.where)
        pause(self._clock, pause_s, self._stopping)
        self.heartbeat()

    def _has_waited_to_stop(self) -> bool:
        """Whether a stop was asked for, and retries have gone on for long enough since."""
        if not self._stopping():
            return False
        now_s = self._clock.monotonic_s()
        if self._stop_asked_s is None:
            self._stop_asked_s = now_s
        return now_s - self._stop_asked_s > _STOP_PATIENCE_S
