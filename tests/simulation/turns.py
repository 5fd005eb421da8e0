"""Threads that run one at a time, in an order that a seed determines, so that a run repeats."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.worlds.stream_folder import Crash


class Runner:
    """Work in a thread of its own that runs from one `pause` to the next when it is resumed."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._is_doomed = False
        self.is_done = False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Run the work to its next pause, or to its end.

        Raises:
            Exception: the error that ended the work, unless that was a crash.

        """
        self._go.release()
        self._back.acquire()
        if self.is_done:
            self._thread.join()
        if self.error is not None:
            raise self.error

    def crash(self) -> None:
        """End the work at its pause: nothing that it had in memory survives."""
        self._is_doomed = True
        while not self.is_done:
            self.resume()

    def pause(self) -> None:
        """End the turn; called by the work itself."""
        if not self._is_doomed:
            self._back.release()
            self._go.acquire()
        if self._is_doomed:
            raise Crash

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._is_doomed:
                self._work()
        except Crash:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.is_done = True
            self._back.release()
