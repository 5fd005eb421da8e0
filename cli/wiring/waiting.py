"""The start of a worker waits for a log or store that doesn't answer, and says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from claimtrace.backoff import Backoff
from claimtrace.errors import ClaimtraceError

if TYPE_CHECKING:
    from claimtrace.clock import Clock
    from stream.worker.observer import WorkerObserver
    from stream.worker.store_names import StoreNames

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_PATIENCE_S: Final = (2.0, 10.0)
"""How long the first question to the log, and a later one at the most, waits for its answer: slow
brokers need several round trips for the first one."""

Opened = TypeVar("Opened")


def wait_until_opened(
    attempt: Callable[[ExitStack, float], Opened],
    observer: WorkerObserver,
    names: StoreNames,
    clock: Clock,
    stopping: Callable[[], bool],
    opened: ExitStack,
) -> Opened | None:
    """Return what an attempt to start has opened; None when a stop was asked for before.

    Args:
        attempt: opens everything anew, on a stack that closes it when it fails or at the end of
            `opened`; its second argument is how long to wait for the log's first answer.
        observer: told what is waited for.
        names: names the store that an error comes from.
        clock: for the pauses.
        stopping: whether somebody asked for a stop.
        opened: closes what the successful attempt opened.

    Raises:
        ClaimtraceError: waiting doesn't help: a setting, a right or a topic is wrong or missing.
    """
    from stream.worker.retry import pause

    backoff, patience = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), Backoff(*_PATIENCE_S)
    while not stopping():
        with ExitStack() as trying:
            try:
                found = attempt(trying, patience.next_s())
            except ClaimtraceError as error:
                if not error.retryable:
                    raise
                _tell(error, observer, names)
            else:
                opened.push(trying.pop_all())
                if not backoff.is_fresh:
                    observer.answered()
                return found
        pause(clock, backoff.next_s(), stopping)
    return None


def _tell(error: ClaimtraceError, observer: WorkerObserver, names: StoreNames) -> None:
    """Say what the worker waits for: to people, to metrics and to `/ready`."""
    observer.notify(f"waiting for: {names.of(error.where)}: {error}; it is asked again")
    observer.ready(False)
    observer.paused(error.where)
