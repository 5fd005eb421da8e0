"""Measure CPU time by stage, with timed methods in the place of the original ones."""

from __future__ import annotations

from time import process_time
from typing import Any


class Stopwatch:
    """CPU seconds by stage, of all threads; a stage doesn't include the stages nested in it.

    >>> watch = Stopwatch()
    >>> words = ["b", "a"]
    >>> class Work:
    ...     def sort(self): return sorted(words)
    >>> work = Work()
    >>> watch.time(work, "sort", "sorting")
    >>> work.sort(), list(watch.seconds)
    (['a', 'b'], ['sorting'])
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def reset(self) -> None:
        """Set all stages to zero."""
        self.seconds.update(dict.fromkeys(self.seconds, 0.0))

    def time(self, owner: Any, name: str, stage: str) -> None:
        """Replace `owner.name`, a method or a module's function, by a timed one."""
        work = getattr(owner, name)
        seconds, inner = self.seconds, self._inner
        seconds.setdefault(stage, 0.0)

        def timed(*arguments: Any, **named: Any) -> Any:
            inner.append(0.0)
            began = process_time()
            try:
                return work(*arguments, **named)
            finally:
                took = process_time() - began
                seconds[stage] += took - inner.pop()
                inner[-1] += took

        setattr(owner, name, timed)
