"""`claimtrace stream`: take events from the log, decide, emit, until told to stop."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.padding import Padding

from .console import err, out, print_json, progress, safe
from .session import Session

if TYPE_CHECKING:
    from stream.driver import Driver
    from stream.effects import Counts

_IDLE_S = 0.05
_KEPT_BATCHES = 20_000


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
    from stream.adapters.collector import rare_collections

    from ..adapters.file_lock import FolderLock

    with FolderLock(session.state_folder), stop_signals() as stopping, rare_collections():
        log = session.log(create=True)
        try:
            driver = session.driver(log, lambda words: err.print(f"[yellow]{safe(words)}[/]"))
            session.warm_up()
            total = _waiting(session, log) if until_end else None
            with progress(title, total, quiet=quiet) as advance:
                replayed = driver.recover(lambda _: advance(0, "recovering"))
                return _loop(session, driver, stopping, advance, replayed, until_end=until_end)
        finally:
            log.close()


def _waiting(session: Session, log: Any) -> int:
    """Records on the log in all, as far as the journal hasn't planned them yet."""
    topics = log.topics()
    there = sum(sum(log.ends(topic)) for topic in session.domain.topics if topic in topics)
    return max(0, there - session.planned_records())


def _loop(
    session: Session,
    driver: Driver,
    stopping: Callable[[], bool],
    advance: Any,
    replayed: int,
    *,
    until_end: bool,
) -> Ran:
    import numpy as np

    clock = session.clock
    began_s = clock.monotonic_s()
    batches: deque[float] = deque(maxlen=_KEPT_BATCHES)
    while not stopping():
        from_s = clock.monotonic_s()
        records = driver.step(session.settings.stream.batch_records)
        if records:
            batches.append((clock.monotonic_s() - from_s) * 1000)
            counts = driver.counts
            advance(records, f"{counts.claims:,} decided, {counts.referred:,} referred")
        elif until_end:
            break
        else:
            clock.sleep(_IDLE_S)
    driver.finish()
    seconds = clock.monotonic_s() - began_s
    p50, p99 = np.percentile(list(batches) or [0.0], [50, 99]).tolist()
    return Ran(driver.counts, replayed, seconds, p50, p99)


def stream(
    ctx: typer.Context,
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
    """
    ran = run_stream(ctx.obj, until_end=until_end, quiet=as_json)
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
