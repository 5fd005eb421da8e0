"""An executor for background work, most of which runs without the interpreter lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class DaemonThreads(Executor):
    """Runs each piece of work in a daemon thread of its own.

    Unlike a `ThreadPoolExecutor` it doesn't make a process that ends wait. Such an end is a crash
    for the work, so only work that survives a crash may be submitted.

    >>> future = DaemonThreads().submit(lambda: 1 + 1)
    >>> future.result(), future.done()
    (2, True)
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn` in a thread; its result or exception becomes that of the future."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="background", daemon=True).start()
        return future
