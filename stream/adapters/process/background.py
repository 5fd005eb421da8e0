"""One thread for work beside the batches; most of that work runs outside the interpreter."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A piece of work in a thread of its own.

    It doesn't hold up a process that ends: an end in the middle of it is a crash, and it must be
    work that a crash can't harm.

    >>> done = []
    >>> begun = Background(lambda: done.append(1))
    >>> begun.wait()
    >>> begun.is_done(), done
    (True, [1])
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name="beside", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Whether it has come to its end."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Return when it has."""
        self._thread.join()
