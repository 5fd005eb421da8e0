"""An executor for work beside the batches, most of which runs outside the interpreter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class DaemonThreads(Executor):
    """Runs each piece of work in a daemon thread of its own.

    Unlike a `ThreadPoolExecutor` it doesn't hold up a process that ends: an end in the middle of
    the work is a crash, and it must be work that a crash can't harm.

    >>> future = DaemonThreads().submit(lambda: 1 + 1)
    >>> future.result(), future.done()
    (2, True)
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start `fn` in a thread; its result or exception is that of the future."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="background", daemon=True).start()
        return future
