"""The observer that writes the events of a worker's life to its log.

One line an event, never one a claim; a batch is logged at the level `debug` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from typing import Final

from claimtrace.decisions import ModelRef

from ...engine.effects import Counts
from ...journal.plan import JOURNAL, TopicPartition
from ...worker.observer import WorkerObserver
from ...worker.store_names import StoreNames
from .log_lines import LEVELS, LOG, log_event

_MOST_PARTITIONS: Final = 50


class WorkerLog(WorkerObserver):
    """Logs what happens in a worker; lines of the driver itself are warnings.

    Args:
        names: the stores of this worker.
        now_s: a monotonic time in seconds, for how long a pause lasted.
    """

    def __init__(self, names: StoreNames, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(lambda line: log_event("warning", line))
        self._names, self._now_s = names, now_s
        self._began_s = now_s()
        self._is_ready = self._writes_plans = False
        self._paused_s: float | None = None
        self._waits_for = ""
        self._replayed = 0
        self._owned: int | None = None
        self._model: ModelRef | None = None

    def ready(self, is_ready: bool) -> None:
        """Log that the worker is ready for the first time, or goes on after a pause."""
        if not is_ready:
            return
        if self._paused_s is not None:
            self.answered()
            if not self._is_ready:
                return  # it answers again, but the journal may not be applied yet
        if not self._is_ready:
            self._is_ready = True
            seconds = round(self._now_s() - self._began_s, 3)
            log_event("info", "ready", seconds=seconds, replayed_records=self._replayed)

    def answered(self) -> None:
        """Log that the store that was waited for answers again."""
        if self._paused_s is not None:
            seconds = round(self._now_s() - self._paused_s, 3)
            log_event("info", "resumed", store=self._waits_for, seconds=seconds)
            self._paused_s = None

    def paused(self, where: str) -> None:
        """Log the first pause of a row for one store, with the store's name."""
        store = self._names.of(where)
        if self._paused_s is None:
            self._paused_s = self._now_s()
        elif store == self._waits_for:
            return
        self._waits_for = store
        log_event("warning", f"paused, waiting for: {store}", store=store, where=where)

    def applied(self, plan_number: int, counts: Counts, seconds: float) -> None:
        """Log a batch, at the level `debug`."""
        if LOG.isEnabledFor(LEVELS["debug"]):
            log_event("debug", "batch", plan=plan_number, records=counts.records,
                      claims=counts.claims, seconds=round(seconds, 6))  # fmt: skip

    def replayed(self, count: int) -> None:
        """Add to the records that the line `ready` tells."""
        self._replayed += count

    def planned(self, plan_number: int, records: int) -> None:
        """Log the first plan that this worker writes: from now on it sets the batches of all."""
        if not self._writes_plans:
            self._writes_plans = True
            log_event("info", "first plan written", plan=plan_number, records=records)

    def rebalanced(self, kind: str, topic_partitions: Set[TopicPartition] = frozenset()) -> None:
        """Log a take-over, or partitions that went to another worker."""
        if JOURNAL in topic_partitions and kind != "gained":
            self._writes_plans = False
        listed = sorted(f"{topic}/{partition}" for topic, partition in topic_partitions)
        more = len(listed) - _MOST_PARTITIONS
        partitions = ", ".join(listed[:_MOST_PARTITIONS]) + (
            f" and {more} more" if more > 0 else ""
        )
        words = {
            "gained": "took over partitions",
            "revoked": "rebalance: partitions handed over",
            "lost": "rebalance: partitions lost",
        }.get(kind, "rebalance")
        level = "warning" if kind == "lost" else "info"
        log_event(level, words, count=len(listed), partitions=partitions)

    def owned(self, count: int) -> None:
        """Log on how many partitions this worker decides, when it changes."""
        if count != self._owned:
            self._owned = count
            log_event("info", "partitions owned", count=count)

    def committed(self, ok: bool) -> None:
        """Log a commit that was refused."""
        if not ok:
            log_event("warning", "commit refused: another worker owns a partition now")

    def model(self, ref: ModelRef, kernel: str) -> None:
        """Log another model in charge; called with each batch."""
        if ref == self._model:
            return
        before, self._model = self._model, ref
        log_event("info", "model in charge", model=ref.label, digest=ref.digest[:12], kernel=kernel,
                  before=before.label if before is not None else "none")  # fmt: skip

    def snapshot(self, plan: int, seconds: float) -> None:
        """Log that a snapshot of the state was published, with the plan it reaches."""
        log_event("info", "snapshot published", plan=plan, seconds=round(seconds, 3))

    def offline(self, seconds: float) -> None:
        """Log an append to the offline store, at the level `debug`."""
        log_event("debug", "rows appended to the offline store", seconds=round(seconds, 3))

    def notified(self, result: str, count: int) -> None:
        """Log alerts that were sent, at the level `debug`; lost ones have a line of their own."""
        if result != "lost":
            log_event("debug", f"alerts {result}", count=count)

    def lost(self, count: int) -> None:
        """Log records that retention removed before they were read."""
        log_event("error", "records lost: retention took them before they were read", count=count)
