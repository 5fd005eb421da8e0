"""Work beside the batches, at any moment between its begin and the last that is possible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Later:
    """Work that happens when it was asked for so many times, or waited for."""

    def __init__(self, work: Callable[[], None], asks: int) -> None:
        self._work, self._asks = work, asks
        self._has_begun = False

    def is_done(self) -> bool:
        """As `stream.worker.offline_writer.Beside`."""
        self._asks -= 1
        if self._asks < 0:
            self.wait()
        return self._has_begun

    def wait(self) -> None:
        """As `stream.worker.offline_writer.Beside`."""
        if not self._has_begun:
            self._has_begun = True
            self._work()


def later(seed: int) -> Callable[[Callable[[], None]], Later]:
    """Begins work that waits for a while; without touching another generator's draws."""
    rng = np.random.default_rng([seed, 11])
    return lambda work: Later(work, int(rng.integers(0, 8)))
