"""`claimtrace producers`: feed events to the log at a given rate, and say what was acknowledged."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from claimtrace.clock import duration_ms
from claimtrace.errors import ClaimtraceError, UsageError
from claimtrace.events import Outgoing

from ...console import out, print_json, progress, safe
from ...stopped import INTERRUPTED
from ...wiring.workspace import Workspace
from .simulate import midnight_ms, only_auto_claims, simulation_of
from .simulation_options import ClaimsPerDay, Days, Fraud, Policies, Seed, Start
from .tables import open_table, show_report
from .target import Change, Target, framing, is_shared, open_target, send

if TYPE_CHECKING:
    from producers.adapters.files import TableReplay
    from producers.simulation.config import SimulationConfig

_FLUSH_S: Final = 60.0
_HASTY_FLUSH_S: Final = 5.0
_CHUNK_RECORDS: Final = 10_000


class Fed(msgspec.Struct, frozen=True):
    """Counts of a run: only records that the log has acknowledged count as sent.

    `opening` of them went at once, before the clock of `rate` (acknowledged a second) began.
    """

    sent: int
    opening: int
    acknowledged: int
    failed: int
    seconds: float
    rate: float
    interrupted: bool
    error: str = ""


@dataclass(frozen=True)
class _Source:
    """Records in order, and the log time before which they are sent at once."""

    records: Iterable[Outgoing]
    at_once_until_ms: int | None = None


def producers(
    ctx: typer.Context,
    rate: Annotated[
        float, typer.Option(help="Records a second; 0: as fast as they are taken.")
    ] = 100.0,
    for_: Annotated[
        str, typer.Option("--for", help="How long, such as 60s; empty: until the records end.")
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Let the events happen now, not when history had them.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option(help="Feed the rows of a .csv or .parquet file instead.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="TOML file that says which column is which field.")
    ] = None,
    days: Days = 365,
    claims_per_day: ClaimsPerDay = 200.0,
    policies: Policies = 5_000,
    seed: Seed = 7,
    start: Start = "2025-01-01",
    fraud: Fraud = 0.03,
    duplicates: Annotated[float, typer.Option(help="Share of claims that come twice.")] = 0.005,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was sent and acknowledged as JSON.")
    ] = False,
) -> None:
    """Feed simulated or replayed events to the log that `source` names, at a steady rate.

    The portfolio of a simulation goes first and at once; then the rate holds: what is overdue after
    a stall goes at once. Events keep the times of their history, which a log that stamps records
    itself takes for late; with `--live` they happen as they are sent.

    Ctrl-C ends it: what is under way is waited for, for some seconds, and only what the log has
    acknowledged is reported as there. A log that is down is waited for.
    """
    workspace: Workspace = ctx.obj
    _check_rate(rate)
    for_s = _seconds(for_)
    run = f"{workspace.clock.now_ms():x}"
    table: TableReplay | None = None
    if file is not None:
        table = open_table(workspace, file, mapping)
        records = iter(table.records())
        first = list(islice(records, 1))  # a table that is refused at once leaves no log behind
        source = _Source(chain(first, records))
    else:
        from producers.simulation.config import SimulationConfig

        config = SimulationConfig(
            seed=seed, start_ms=midnight_ms(start), days=days, claims_per_day=claims_per_day,
            policies=policies, partitions=workspace.settings.partitions, fraud_ratio=fraud,
            duplicate_ratio=duplicates,
        )  # fmt: skip
        source = _simulated(workspace, config, by_key=is_shared(workspace))
    dead_topic = table is not None and table.may_have_dead_letters
    with open_target(workspace, dead_topic=dead_topic) as target:
        changes = _changes(workspace, run, live=live, simulated=file is None)
        fed, error = _feed(workspace, source, target, changes, rate, for_s, quiet=as_json)
    if as_json:
        print_json(fed)
    else:
        _show(fed, workspace.settings.source)
        for report in table.reports if table is not None else ():
            show_report(report)
    if error is not None and not (fed.interrupted and error.retryable):
        raise error
    if fed.interrupted:
        raise typer.Exit(INTERRUPTED)


def _check_rate(rate: float) -> None:
    if not 0 <= rate < math.inf:
        raise UsageError(f"{rate} records a second can't be sent", where="--rate",
                         hint="write 200, or 0 for as fast as they are taken")  # fmt: skip


def _simulated(workspace: Workspace, config: SimulationConfig, *, by_key: bool) -> _Source:
    from producers.sending.pace import records_of

    only_auto_claims(workspace)
    chunks = simulation_of(config).chunks(chunk_records=_CHUNK_RECORDS)
    records = (record for chunk in chunks for record in records_of(chunk, by_key=by_key))
    return _Source(records, at_once_until_ms=config.start_ms)


def _changes(workspace: Workspace, run: str, *, live: bool, simulated: bool) -> list[Change]:
    """Return the changes that are made to each batch just before it is sent, in order."""
    from producers.sending.headers import Headers
    from producers.sending.live_times import LiveTimes

    changes: list[Change] = []
    if live:
        changes.append(LiveTimes(workspace.clock.now_ms, run if simulated else ""))
    changes.append(Headers(run))
    return changes + framing(workspace)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came; what is under way is sent."""
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


def _feed(
    workspace: Workspace,
    source: _Source,
    target: Target,
    changes: Sequence[Change],
    rate: float,
    for_s: float | None,
    *,
    quiet: bool,
) -> tuple[Fed, ClaimtraceError | None]:
    """Send until the records or the time end, or somebody asks to stop; then wait for the rest."""
    from producers.sending.pace import evenly

    clock, sent, opening = workspace.clock, 0, 0
    error: ClaimtraceError | None = None
    began_s = paced_s = clock.monotonic_s()
    with _stop_signals() as stopping, progress("producers", quiet=quiet) as advance:
        until_ms = source.at_once_until_ms
        batches = evenly(source.records, clock, rate, for_s, at_once_until_ms=until_ms,
                         stopping=stopping)  # fmt: skip
        try:
            for batch in batches:
                outgoing: Sequence[Outgoing] = batch
                for change in changes:
                    outgoing = change(outgoing)
                if not send(target.sink, outgoing, stopping, advance):
                    break
                sent += len(outgoing)
                if until_ms is not None and batch[0].log_time_ms < until_ms:
                    opening, paced_s = sent, clock.monotonic_s()
                advance(len(outgoing), f"{target.acknowledged():,} acknowledged")
            advance(0, "waiting for acknowledgements")
            target.sink.flush(_HASTY_FLUSH_S if stopping() else _FLUSH_S)
        except ClaimtraceError as failure:
            error = failure
        interrupted = stopping()
    ended_s, there = clock.monotonic_s(), target.acknowledged()
    fed = Fed(
        sent=sent,
        opening=opening,
        acknowledged=there,
        failed=target.failed(),
        seconds=round(ended_s - began_s, 3),
        rate=round(max(0, there - opening) / max(ended_s - paced_s, 1e-3), 1),
        interrupted=interrupted,
        error="" if error is None else str(error),
    )
    return fed, error


def _show(fed: Fed, where: str) -> None:
    """Print the counts in a line, with the records that were not acknowledged."""
    out.print(
        f"[bold]{fed.acknowledged:,}[/] of {fed.sent:,} events acknowledged by {safe(where)} in "
        f"{fed.seconds:.1f} s ([cyan]{fed.rate:,.0f}/s[/])"
    )
    if fed.opening:
        out.print(f"[dim]{fed.opening:,} of them opened the portfolio, at once[/]")
    lost = fed.sent - fed.acknowledged
    if lost:
        out.print(f"[red]{lost:,} are not acknowledged[/], {fed.failed:,} of them refused")
    if fed.interrupted:
        out.print("[yellow]stopped[/] before the records or the time ended")


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        return duration_ms(text) / 1000
    except ValueError as error:
        raise UsageError(str(error), where="--for") from None
