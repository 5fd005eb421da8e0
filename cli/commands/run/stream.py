"""`claimtrace stream`: take events from the log, decide, emit, until told to stop."""

from __future__ import annotations

import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding

from claimtrace.clock import duration_ms

from ...console import err, out, print_json, progress, safe
from ...wiring.workspace import Session

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from stream.adapters.reporting.cloudwatch import CloudWatch
    from stream.engine.effects import Counts
    from stream.worker.driver import Driver
    from stream.worker.observer import WorkerObserver

    from ...transports.base import Transport

_KEPT_BATCHES = 20_000
_REPORT_EVERY_S = 1.0
_SMALLEST_BATCH = 64


@dataclass(frozen=True)
class Ran:
    """One run of the stream: what became of the records, and how long a batch took."""

    counts: Counts
    replayed: int
    seconds: float
    batch_ms_p50: float
    batch_ms_p99: float


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yields a question "should I stop?"; SIGINT and SIGTERM let the batch in work finish."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_stream(
    session: Session, *, until_end: bool, title: str = "stream", quiet: bool = False
) -> Ran:
    """Recover and run; returns when told to stop, or at the end of the log if asked to."""
    from stream.adapters.process.garbage import rare_collections

    with ExitStack() as opened:
        transport = opened.enter_context(session.transport(create=True))
        opened.enter_context(transport.alone())
        stopping = opened.enter_context(stop_signals())
        opened.enter_context(rare_collections())
        watching = watch(session, opened)
        driver = transport.driver(_said, watching, stopping)
        session.warm_up()
        total = transport.waiting_records() if until_end else None
        with progress(title, total, quiet=quiet) as advance:
            replayed = driver.recover(lambda _: advance(0, "recovering"))
            run = _Run(session, transport, driver, watching, stopping, advance, until_end)
            return run.to_the_end(replayed)


def watch(session: Session, opened: ExitStack) -> WorkerObserver:
    """Metrics over HTTP and to CloudWatch as the settings ask for them; else nobody listens.

    What runs beside the driver ends with `opened`: the notices first, so that the last metrics know
    what became of them.
    """
    from stream.worker.observer import WorkerObserver

    watching = WorkerObserver()
    if session.settings.metrics.listen or session.settings.aws.metrics_namespace:
        from prometheus_client import CollectorRegistry

        from stream.adapters.reporting.prometheus import WorkerMetrics

        registry = CollectorRegistry()
        watching = metrics = WorkerMetrics(registry, session.domain.topics)
        if session.settings.metrics.listen:
            from claimtrace.adapters.process.metrics_server import start

            server = start(session.settings.metrics.listen, registry, metrics.reason)
            opened.callback(server.close)
        if session.settings.aws.metrics_namespace:
            opened.callback(_to_cloudwatch(session, registry).close)
    opened.callback(session.close)
    return watching


def _to_cloudwatch(session: Session, registry: CollectorRegistry) -> CloudWatch:
    """Sends the metrics from now on; a worker's name is that of its folder, at its host."""
    from claimtrace.adapters.aws.client import aws_client
    from stream.adapters.reporting.cloudwatch import CloudWatch

    made = CloudWatch(
        aws_client(session.settings.kinesis, "cloudwatch"),
        session.settings.aws.metrics_namespace,
        registry,
        f"{session.folder.resolve().name}@{socket.gethostname()}",
        session.clock,
        duration_ms(session.settings.aws.metrics_every) / 1000,
        _said,
    )
    made.start()
    return made


def _said(words: str) -> None:
    err.print(f"[yellow]{safe(words)}[/]")


@dataclass
class _Run:
    """One run of the loop."""

    session: Session
    transport: Transport
    driver: Driver
    watching: WorkerObserver
    stopping: Callable[[], bool]
    advance: Any
    until_end: bool

    def to_the_end(self, replayed: int) -> Ran:
        """Step until told to stop, or until the inputs' end as of now if asked to."""
        import numpy as np

        clock, driver = self.session.clock, self.driver
        is_through = self.transport.end_of_inputs() if self.until_end else lambda _: False
        began_s = reported_s = clock.monotonic_s()
        batches: deque[float] = deque(maxlen=_KEPT_BATCHES)
        size = BatchSize(self.session.settings.stream.batch_records)
        while not self.stopping():
            from_s = clock.monotonic_s()
            records = driver.step(size.records)
            size.took(records)
            if records:
                batches.append((clock.monotonic_s() - from_s) * 1000)
                counts = driver.counts
                note = f"{counts.claims:,} decided, {counts.referred:,} referred"
                self.advance(records, note)
            elif is_through(driver.engine.positions):
                break
            else:
                clock.sleep(self.transport.idle_s)
            if from_s - reported_s > _REPORT_EVERY_S:
                self.transport.report(driver.engine.positions, self.watching)
                reported_s = from_s
        driver.finish()
        seconds = clock.monotonic_s() - began_s
        p50, p99 = np.percentile(list(batches) or [0.0], [50, 99]).tolist()
        return Ran(driver.counts, replayed, seconds, p50, p99)


class BatchSize:
    """How many records a batch may have: few while the worker keeps up, many while it doesn't.

    >>> size = BatchSize(2000)
    >>> for taken in (64, 128, 256, 10):
    ...     size.took(taken)
    >>> size.records
    256
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = min(_SMALLEST_BATCH, most)

    def took(self, records: int) -> None:
        """A batch had so many."""
        if records >= self.records:
            self.records = min(self.records * 2, self._most)
        elif 0 < records < self.records // 4:
            self.records = max(self.records // 2, min(_SMALLEST_BATCH, self._most))


def stream(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Option(
            help="local, kafka://host:port or kinesis://name; default: the setting `source`."
        ),
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at the end of the log, for jobs and tests.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Take events from the log, decide on every claim, and write decisions, drift and alerts.

    Goes on from where it stopped, whatever happened: the journal says what was planned, and a plan
    that was cut short is run again to the same bytes. Ctrl-C or SIGTERM finishes the batch in work,
    writes a snapshot and leaves; nothing is lost.

    With no champion in the registry the rules decide alone, and every decision says so; a model
    that `claimtrace train` promotes is taken up at the next batch.

    On Kafka, start as many workers as you like, each with a --folder of its own: the group shares
    the partitions out, and who goes is replaced. Make the topics first: `claimtrace topics create`.
    """
    session: Session = ctx.obj if source is None else ctx.obj.at_source(source)
    ran = run_stream(session, until_end=until_end, quiet=as_json)
    if as_json:
        print_json(ran)
        return
    show_ran(ran)


def show_ran(ran: Ran) -> None:
    """The counts of a run in a few lines."""
    c = ran.counts
    rate = c.records / ran.seconds if ran.seconds else 0.0
    if ran.replayed:
        out.print(f"[dim]ran {ran.replayed:,} records again after the last snapshot[/]")
    if not c.records:
        out.print("nothing new on the log")
        return
    out.print(
        f"[bold]{c.claims:,}[/] claims decided of {c.records:,} records in {ran.seconds:.1f} s "
        f"([cyan]{rate:,.0f} records/s[/]); a batch took {ran.batch_ms_p50:.1f} ms p50, "
        f"{ran.batch_ms_p99:.1f} ms p99"
    )
    told = (
        f"referred {c.referred:,}, for review {c.reviewed:,}, scored by a model {c.scored:,}; "
        f"profile changes {c.changes:,}, outcomes {c.labels:,}",
        f"[dim]duplicates {c.duplicates:,}, late {c.late:,}, dead letters {c.dead:,}, tombstones "
        f"{c.tombstones:,}, outcomes without a claim {c.unmatched_labels:,}, claims with an unseen "
        f"category {c.unseen_categories:,}[/]",
    )
    for line in told:
        out.print(Padding(line, (0, 0, 0, 2)))
