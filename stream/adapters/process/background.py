"""An executor for background work, most of which runs without the interpreter lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final

LONGEST_WAIT_S: Final = 10.0
"""How long `shutdown` waits: orchestrators kill a process that hasn't ended after some 30 s."""


class DaemonThreads(Executor):
    """Runs each piece of work in a daemon thread of its own.

    `shutdown` waits for the work, but not for ever, as a `ThreadPoolExecutor` does: a store that
    doesn't answer can't hold back the end of a process. Work that is left then ends as in a crash,
    so only work that survives a crash may be submitted.

    Args:
        longest_wait_s: how long `shutdown` waits at most.

    >>> with DaemonThreads() as threads:
    ...     future = threads.submit(lambda: 1 + 1)
    >>> future.result(), future.done()
    (2, True)
    """

    def __init__(self, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._longest_wait_s = longest_wait_s
        self._threads: list[threading.Thread] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn` in a thread; its result or exception becomes that of the future."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=run, name="background", daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Wait for the work that runs, up to `longest_wait_s`.

        An interpreter that ends while a thread is inside of a native library (Arrow, Delta Lake)
        takes that library's state away under the thread, and the process dies of SIGSEGV.
        """
        until_s = time.monotonic() + self._longest_wait_s
        while wait and self._threads:
            self._threads.pop().join(max(0.0, until_s - time.monotonic()))
