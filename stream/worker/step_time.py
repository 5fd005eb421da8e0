"""The guard of the step time: whether batches take longer since a roll-out began.

A clock is read here, so what is found is the worker's own affair: a log line and a metric, never a
part of what a replay compares.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import Final

from claimtrace.decisions import RolloutRef

from ..engine.effects import Counts
from .observer import WorkerObserver

MIN_BATCHES: Final = 200
"""Batches of before, and of since the roll-out began, without which nothing is judged."""
_MOST_BATCHES: Final = 2_000


class StepTimeGuard(WorkerObserver):
    """Compares the time of batches under a roll-out with the time of those before it.

    A batch's time depends most on how many records it has. So each is divided by the median of the
    earlier batches of like size (up to the next power of two), and the 99th percentiles of these
    ratios are compared.

    Args:
        most_ratio: how many times as long as before the 99th percentile may be.
        raised: called once a roll-out with how many times as long it is.
        notify: see `WorkerObserver`.

    >>> guard = StepTimeGuard(2.0, raised=print)
    >>> for _ in range(300):
    ...     guard.rollout(None)
    ...     guard.applied(1, Counts(records=10), 0.002)
    >>> for _ in range(300):
    ...     guard.rollout(RolloutRef("auto_claims", 1, "f00d"))
    ...     guard.applied(2, Counts(records=10), 0.005)
    2.5
    """

    def __init__(
        self,
        most_ratio: float,
        raised: Callable[[float], None] = lambda _: None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(notify)
        self._most_ratio, self._raised = most_ratio, raised
        self._before: deque[tuple[int, float]] = deque(maxlen=_MOST_BATCHES)
        self._since: deque[tuple[int, float]] = deque(maxlen=_MOST_BATCHES)
        self._ref: RolloutRef | None = None
        self._is_raised = False

    def rollout(self, ref: RolloutRef | None) -> None:
        """Hear which roll-out the next batch is decided under; a new one is judged anew."""
        if ref != self._ref:
            self._ref, self._is_raised = ref, False
            self._since.clear()

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:  # noqa: ARG002
        """Keep the time of a batch, and judge the roll-out now and then."""
        if not counts.records:
            return
        batches = self._before if self._ref is None else self._since
        batches.append((counts.records.bit_length(), seconds))
        if self._ref is None or self._is_raised or len(batches) % MIN_BATCHES:
            return
        ratio = slowness(self._before, self._since)
        if ratio is not None and ratio > self._most_ratio:
            self._is_raised = True
            self._raised(ratio)
            self.notify(
                f"the roll-out {self._ref.label} slows decisions down: the slowest batch of a "
                f"hundred takes {ratio:.1f} times as long as before it; see "
                "`claimtrace rollout status`, and `claimtrace rollout rollback` ends it"
            )


def slowness(
    before: Sequence[tuple[int, float]], since: Sequence[tuple[int, float]]
) -> float | None:
    """Return how many times as long the 99th percentile of batches takes; None: too few batches.

    Args:
        before, since: the bit length of a batch's number of records, and its seconds.
    """
    sizes = defaultdict[int, list[float]](list)
    for size, seconds in before:
        sizes[size].append(seconds)
    typical = {size: median(times) for size, times in sizes.items()}
    old = [seconds / typical[size] for size, seconds in before]
    new = [seconds / typical[size] for size, seconds in since if size in typical]
    if min(len(old), len(new)) < MIN_BATCHES:
        return None
    return quantiles(new, n=100)[-1] / quantiles(old, n=100)[-1]
