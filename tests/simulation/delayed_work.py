"""An executor whose work runs at a random moment between its submission and its last chance."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np


class _Delayed(Future[None]):
    """Work that runs when `done` was asked a number of times, or when its result is waited for."""

    def __init__(self, work: Callable[[], None], asks: int) -> None:
        super().__init__()
        self._work, self._asks = work, asks
        self._has_begun = False

    def done(self) -> bool:
        self._asks -= 1
        if self._asks < 0:
            self.result()
        return self._has_begun

    def result(self, timeout: float | None = None) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._work()


class DelayedWork(Executor):
    """Delays each piece of work by draws of its own generator, so that other draws don't change."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 11])

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return _Delayed(fn, int(self._rng.integers(0, 8)))
