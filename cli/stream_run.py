"""One run of the stream: open the log, recover, step until told to stop."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.errors import ClaimtraceError

from .console import hanging, notify, out, progress
from .wiring.worker_log import end_of_process, log_end

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from claimtrace.clock import Clock
    from stream.adapters.process.stop_signals import StopSignals
    from stream.engine.effects import Counts
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from .transports.base import Transport
    from .wiring.workspace import Workspace

_KEPT_BATCHES = 20_000
_CLOSE_S = 8.0
"""How long clients may take to close, once everything is done."""
_REPORT_EVERY_S = 1.0


@dataclass(frozen=True)
class Ran:
    """The result of a run: counts of records, and how long batches took."""

    counts: Counts
    replayed: int
    seconds: float
    batch_ms_p50: float
    batch_ms_p99: float


class Stopped(KeyboardInterrupt):
    """A run that SIGINT or SIGTERM ended after its current batch, with everything kept.

    Whatever was to follow the run doesn't follow.
    """

    def __init__(self, ran: Ran, number: int) -> None:
        super().__init__()
        self.ran, self.number = ran, number


class Beside(Protocol):
    """What a process does between the plans of its worker's loop, in the loop's thread.

    `claimtrace serve` answers requests there.
    """

    follows: bool
    """Whether the loop is a follower's: it applies every plan, and writes nothing."""

    def built(self, driver: Driver) -> None:
        """Hear of the driver, before it recovers."""

    def before_step(self, records: int) -> int:
        """Return how many records the next plan may have, of at most so many."""

    def after_step(self, driver: Driver, records: int) -> None:
        """Hear that a step was taken, and how many records it had."""

    def idle(self, clock: Clock, seconds: float) -> None:
        """Wait for new records."""


class Alone:
    """A worker that does nothing beside its work."""

    follows = False

    def built(self, driver: Driver) -> None:
        """Do nothing."""

    def before_step(self, records: int) -> int:
        """Return as many records."""
        return records

    def after_step(self, driver: Driver, records: int) -> None:
        """Do nothing."""

    def idle(self, clock: Clock, seconds: float) -> None:
        """Sleep."""
        clock.sleep(seconds)


def run_stream(
    workspace: Workspace,
    *,
    until_end: bool,
    title: str = "stream",
    quiet: bool = False,
    new_journal: bool = False,
    logs: bool = False,
    stopping: StopSignals | None = None,
    beside: Beside | None = None,
    registry: CollectorRegistry | None = None,
) -> Ran:
    """Recover and run; returns at the end of the log if asked to.

    Args:
        workspace: as the command opened it.
        until_end: whether to stop at the end of the log.
        title: of the progress bar.
        quiet: whether no progress bar is drawn.
        new_journal: whether a journal that doesn't belong to the log is set aside first.
        logs: whether events go to the worker's log, which the caller has opened.
        stopping: the handler of signals that the caller has entered; None: one for this run.
        beside: does something between plans; None: nothing.
        registry: gets the metrics, too; None: only the settings say who does.

    Raises:
        Stopped: SIGINT or SIGTERM came; the run has ended as it should.
    """
    from stream.adapters.process.stop_signals import WAITING_S, StopSignals

    with ExitStack() as entered:
        stopping = stopping or entered.enter_context(StopSignals())
        stopping.end = end_of_process(logs=logs)
        stopping.within(WAITING_S)
        _ = workspace.domain  # first: one that can't be had leaves no folder behind
        ran = _run_until_stopped(
            workspace,
            stopping,
            until_end,
            title,
            quiet,
            new_journal,
            logs,
            beside or Alone(),
            registry,
        )
        if stopping.number is not None:
            raise Stopped(ran, stopping.number)
    return ran


def _run_until_stopped(
    workspace: Workspace, stopping: StopSignals, until_end: bool, title: str, quiet: bool,
    new_journal: bool, logs: bool, beside: Beside, registry: CollectorRegistry | None,
) -> Ran:  # fmt: skip
    """Recover and run; returns what was done."""
    from stream.adapters.process.garbage import rare_collections
    from stream.adapters.process.stop_signals import WAITING_S

    from .transports.choice import open_transport
    from .wiring.assembly import build_driver
    from .wiring.following import build_follower, follower_folder
    from .wiring.observing import observe, store_names
    from .wiring.waiting import wait_until_opened

    with ExitStack() as opened:
        folder = follower_folder(workspace) if beside.follows else workspace.state_folder
        opened.enter_context(FolderLock(folder))
        opened.enter_context(rare_collections())
        observer = observe(workspace, opened, logs=logs, registry=registry)
        names = store_names(workspace)

        def attempt(trying: ExitStack, patience_s: float) -> tuple[Transport, Driver]:
            nonlocal new_journal
            transport = trying.enter_context(open_transport(workspace, create=not beside.follows))
            transport.check_reachable(patience_s)
            if beside.follows:
                driver = build_follower(workspace, transport.open_to_follow(), observer, stopping)
                beside.built(driver)
                return transport, driver
            for line in transport.set_aside_journal() if new_journal else ():
                notify(line)
            new_journal = False  # a second attempt finds log and journal in agreement
            log = transport.open_log(observer)
            driver = build_driver(workspace, log, observer, stopping, trying)
            beside.built(driver)
            workspace.warm_up()
            return transport, driver

        started = wait_until_opened(attempt, observer, names, workspace.clock, stopping, opened)
        if started is None:
            return _nothing_begun(stopping.number)
        transport, driver = started
        stopping.call_of = lambda: driver.call
        total = transport.waiting_records() if until_end else None
        try:
            with progress(title, total, quiet=quiet) as advance:
                replayed = driver.recover(lambda _: advance(0, "recovering"))
                if stopping():
                    return _nothing_begun(stopping.number)
                stopping.within(None)
                run = _Run(workspace, transport, driver, observer, stopping, advance, until_end,
                           beside)  # fmt: skip
                ran = run.loop(replayed)
                stopping.within(_CLOSE_S)
                if logs:
                    log_end("asked to stop" if stopping() else "the end of the log", ran)
                return ran
        except ClaimtraceError as error:
            stopping.within(WAITING_S, error.exit_code)
            raise


def _nothing_begun(asked: int | None) -> Ran:
    """Return the result of a run that was stopped while it started."""
    from stream.engine.effects import Counts

    if asked != signal.SIGINT:  # Ctrl-C is answered by the command
        notify("stopped while it started: nothing was begun yet")
    return Ran(Counts(), 0, 0.0, 0.0, 0.0)


@dataclass
class _Run:
    """The loop of one run."""

    workspace: Workspace
    transport: Transport
    driver: Driver
    observer: WorkerObserver
    stopping: Callable[[], bool]
    advance: Any
    until_end: bool
    beside: Beside

    def loop(self, replayed: int) -> Ran:
        """Step until told to stop, or until the inputs' end as of now if asked to."""
        import numpy as np

        from stream.worker.batch_size import BatchSize
        from stream.worker.end_of_work import EndOfWork

        clock, driver = self.workspace.clock, self.driver
        is_through = self.transport.end_of_inputs() if self.until_end else lambda _: False
        end = EndOfWork(driver, is_through, clock)
        began_s = reported_s = clock.monotonic_s()
        batches: deque[float] = deque(maxlen=_KEPT_BATCHES)
        size = BatchSize(self.workspace.settings.stream.batch_records)
        while not self.stopping():
            from_s = clock.monotonic_s()
            records = driver.step(self.beside.before_step(size.records))
            size.took(records)
            self.beside.after_step(driver, records)
            if records:
                batches.append((clock.monotonic_s() - from_s) * 1000)
                counts = driver.counts
                note = f"{counts.claims:,} decided, {counts.referred:,} referred"
                self.advance(records, note)
            elif end.is_reached():
                break
            else:
                self.beside.idle(clock, self.transport.idle_s)
            if from_s - reported_s > _REPORT_EVERY_S:
                self.transport.report(driver.engine.positions, self.observer)
                reported_s = from_s
        driver.finish()
        seconds = clock.monotonic_s() - began_s
        p50, p99 = np.percentile(list(batches) or [0.0], [50, 99]).tolist()
        return Ran(driver.counts, replayed, seconds, p50, p99)


def show_ran(ran: Ran) -> None:
    """Print the counts of a run in a few lines."""
    c = ran.counts
    rate = c.records / ran.seconds if ran.seconds else 0.0
    if ran.replayed:
        out.print(f"[dim]ran {ran.replayed:,} records again after the last snapshot[/]")
    if not c.records:
        if ran.seconds:  # else it was stopped before it looked
            out.print("nothing new on the log")
        return
    out.print(
        f"[bold]{c.claims:,}[/] claims decided of {c.records:,} records in {ran.seconds:.1f} s "
        f"([cyan]{rate:,.0f} records/s[/]); a batch took {ran.batch_ms_p50:.1f} ms p50, "
        f"{ran.batch_ms_p99:.1f} ms p99",
        soft_wrap=not out.is_terminal,
    )
    told = (
        f"referred {c.referred:,}, for review {c.reviewed:,}, scored by a model {c.scored:,}; "
        f"profile changes {c.changes:,}, outcomes {c.labels:,}",
        f"[dim]duplicates {c.duplicates:,}, late {c.late:,}, dead letters {c.dead:,}, tombstones "
        f"{c.tombstones:,}, outcomes without a claim {c.unmatched_labels:,}, claims with an unseen "
        f"category {c.unseen_categories:,}[/]",
    )
    for line in told:
        hanging("  ", line, 2)
