"""SIGTERM and Ctrl-C ask a worker to stop; it ends in time although a store doesn't answer.

A worker that is asked to stop finishes its work in an orderly way. It can't while it is inside a
call to a store or broker that doesn't answer, and Python doesn't even run a signal's handler before
such a call returns, which may take a minute. So a thread, which the signal reaches through a pipe,
looks at what the worker is in, and ends the process when that has lasted for too long. To the log
and the stores this is a crash, which changes nothing: what is unfinished is repeated, with the same
bytes, at the next start.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

from ...worker.retry import Call

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_STDERR: Final = 2
_CALL_S: Final = 8.0
"""A call to a store that answered so far may last this long after a stop was asked for."""
WAITING_S: Final = 1.2
"""The same while a store is waited for, or the worker hasn't begun: nothing is being finished."""
UNFINISHED: Final = 70
_INTERRUPTED: Final = 130
"""The exit code after Ctrl-C instead of 0, as shells give it."""
_LOOK_EVERY_S: Final = 0.05


class _Limit(NamedTuple):
    since_s: float
    seconds: float
    exit_code: int


def what_remains(exit_code: int) -> str:
    """Return in words what a process leaves that ends at once with an exit code."""
    if exit_code in (0, _INTERRUPTED):
        return "nothing was begun yet; run the same command again"
    return "a store doesn't answer, what is unfinished is repeated at the next start"


def end_process(exit_code: int) -> None:
    """End the process at once, with a line on standard error that says what remains."""
    os.write(_STDERR, f"stopped: {what_remains(exit_code)}\n".encode())
    os._exit(exit_code)


class StopSignals:
    """Whether a stop was asked for; in `with`, the handler of the signals that ask for one.

    Attributes:
        end: ends the process with an exit code; called in the thread.
        call_of: returns the call to a store that the worker is in.
        number: the first signal that asked; None while none has.
    """

    def __init__(self, end: Callable[[int], None] = end_process) -> None:
        self.call_of: Callable[[], Call | None] = lambda: None
        self.number: int | None = None
        self.end = end
        self._limit: _Limit | None = None
        self._asked_s: float | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether somebody asked for a stop."""
        return self._asked_s is not None

    def within(self, seconds: float | None, exit_code: int = 0) -> None:
        """Give the process so many seconds from now, or from a stop on; None: all it needs."""
        since_s = time.monotonic()
        self._limit = _Limit(since_s, seconds, exit_code) if seconds is not None else None

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._writing)  # the thread reads the end of the pipe
        self._thread.join()
        os.close(self._reading)

    def _ask(self, number: int, _: object = None) -> None:
        if self._asked_s is None:
            self.number = number
            self._asked_s = time.monotonic()

    def _watch(self) -> None:
        while True:
            timeout_s = None if self._asked_s is None else _LOOK_EVERY_S
            if select.select([self._reading], [], [], timeout_s)[0]:
                sent = os.read(self._reading, 64)
                if not sent:
                    return
                for number in sent:
                    if number in _SIGNALS:
                        self._ask(number)
            if self._asked_s is not None:
                self._check(self._asked_s)

    def _check(self, asked_s: float) -> None:
        """End the process if it is in something for longer than is allowed after a stop."""
        limits = [self._limit] if self._limit is not None else []
        call = self.call_of()
        if call is not None:
            seconds = WAITING_S if call.has_failed else _CALL_S
            limits.append(_Limit(call.since_s, seconds, UNFINISHED))
        now_s = time.monotonic()
        for limit in limits:
            if now_s - max(asked_s, limit.since_s) > limit.seconds:
                interrupted = _INTERRUPTED if self.number == signal.SIGINT else 0
                self.end(limit.exit_code or interrupted)
                return
