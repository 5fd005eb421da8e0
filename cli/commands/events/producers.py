"""`claimtrace producers`: feed events to the log at a given rate, and say what was acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from claimtrace.clock import duration_ms
from claimtrace.errors import ClaimtraceError, StoreUnavailable, UsageError
from claimtrace.events import Outgoing
from claimtrace.settings.schema import KAFKA, KINESIS

from ...console import err, out, print_json, progress, safe
from ...stream_run import stop_signals
from ...wiring.workspace import Workspace
from .simulate import midnight_ms, only_auto_claims, simulation_of
from .simulation_options import ClaimsPerDay, Days, Fraud, Policies, Seed, Start

if TYPE_CHECKING:
    from producers.sending.sink import Sink
    from producers.simulation.config import SimulationConfig

_INTERRUPTED: Final = 130
_ROOM_S: Final = 1.0
"""How long `send` waits for room in the client's queue before it looks for Ctrl-C."""

_FLUSH_S: Final = 60.0
_HASTY_FLUSH_S: Final = 5.0
_CHUNK_RECORDS: Final = 10_000

Change = Callable[[Sequence[Outgoing]], Sequence[Outgoing]]


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


@dataclass(frozen=True)
class _Target:
    """The log to send to, and functions that count acknowledged and failed records."""

    sink: Sink
    acknowledged: Callable[[], int]
    failed: Callable[[], int]


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
    for_s = _seconds(for_)
    run = f"{workspace.clock.now_ms():x}"
    by_key = workspace.settings.source != "local"  # the log's own way: other clients agree
    if file is not None:
        source = _replayed(workspace, file, mapping, by_key=by_key)
    else:
        from producers.simulation.config import SimulationConfig

        config = SimulationConfig(
            seed=seed, start_ms=midnight_ms(start), days=days, claims_per_day=claims_per_day,
            policies=policies, partitions=workspace.settings.partitions, fraud_ratio=fraud,
            duplicate_ratio=duplicates,
        )  # fmt: skip
        source = _simulated(workspace, config, by_key=by_key)
    with _target(workspace) as target:
        changes = _changes(workspace, run, live=live, simulated=file is None)
        fed, error = _feed(workspace, source, target, changes, rate, for_s, quiet=as_json)
    if as_json:
        print_json(fed)
    else:
        _show(fed, workspace.settings.source)
    if error is not None and not (fed.interrupted and error.retryable):
        raise error
    if fed.interrupted:
        raise typer.Exit(_INTERRUPTED)


def _simulated(workspace: Workspace, config: SimulationConfig, *, by_key: bool) -> _Source:
    from producers.sending.pace import records_of

    only_auto_claims(workspace)
    chunks = simulation_of(config).chunks(chunk_records=_CHUNK_RECORDS)
    records = (record for chunk in chunks for record in records_of(chunk, by_key=by_key))
    return _Source(records, at_once_until_ms=config.start_ms)


def _replayed(workspace: Workspace, file: Path, mapping: Path | None, *, by_key: bool) -> _Source:
    from producers.adapters.files import read_mapping, row_batches
    from producers.replay.replay import Replay

    if mapping is None:
        raise UsageError(
            "a file needs a mapping",
            where="--mapping",
            hint="replay_claims.toml is one to copy; claimtrace doctor says where it lies",
        )
    read = read_mapping(mapping)
    if read.topic not in workspace.domain.topics:
        raise UsageError(f"the domain has no topic {read.topic}", where=str(mapping),
                         hint="one of " + ", ".join(workspace.domain.topics))  # fmt: skip
    replay = Replay(read, workspace.settings.partitions, str(file))
    records = replay.records(row_batches(file, read.columns()))
    return _Source(r._replace(partition=-1) for r in records) if by_key else _Source(records)


def _changes(workspace: Workspace, run: str, *, live: bool, simulated: bool) -> list[Change]:
    """Return the changes that are made to each batch just before it is sent, in order."""
    from producers.sending.headers import Headers
    from producers.sending.live_times import LiveTimes

    changes: list[Change] = []
    if live:
        changes.append(LiveTimes(workspace.clock.now_ms, run if simulated else ""))
    changes.append(Headers(run))
    settings = workspace.settings
    if settings.schemas.registry and settings.source.startswith(KAFKA):
        changes.append(_framed(workspace))
    return changes


def _framed(workspace: Workspace) -> Change:
    """Return a change that frames values with the id of their schema in the registry."""
    from claimtrace.schemas.adapters.registry import Encoder

    encoder = Encoder(workspace.settings.schemas, list(workspace.domain.events))

    def frame(record: Outgoing) -> Outgoing:
        if record.value is None:
            return record
        try:
            return record._replace(value=encoder.encode(record.topic, record.value))
        except UsageError:  # a malformed event has no Avro form: it goes as the bytes it is
            return record

    return lambda records: [frame(record) for record in records]


@contextmanager
def _target(workspace: Workspace) -> Iterator[_Target]:
    """Open the log that `source` names, and close it at the end."""
    if workspace.settings.source.startswith(KAFKA):
        from producers.adapters.kafka import KafkaSink

        sink = KafkaSink(workspace.settings.kafka_connection, send_deadline_s=_ROOM_S)
        try:
            yield _Target(sink, lambda: sink.acknowledged, lambda: sink.failed)
        finally:
            sink.close()
        return
    if workspace.settings.source.startswith(KINESIS):
        from producers.adapters.kinesis import KinesisSink

        to_streams = KinesisSink(workspace.settings.kinesis_connection, workspace.clock)
        try:
            yield _Target(to_streams, lambda: to_streams.acknowledged, lambda: 0)
        finally:
            to_streams.close()
        return
    from producers.adapters.embedded import EmbeddedSink

    arrived: list[int] = []
    log = workspace.log(create=True)
    try:
        yield _Target(EmbeddedSink(log, arrived.append), lambda: sum(arrived), lambda: 0)
    finally:
        log.close()


def _feed(
    workspace: Workspace,
    source: _Source,
    target: _Target,
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
    with stop_signals() as stopping, progress("producers", quiet=quiet) as advance:
        until_ms = source.at_once_until_ms
        batches = evenly(source.records, clock, rate, for_s, at_once_until_ms=until_ms,
                         stopping=stopping)  # fmt: skip
        try:
            for batch in batches:
                outgoing: Sequence[Outgoing] = batch
                for change in changes:
                    outgoing = change(outgoing)
                if not _send(target.sink, outgoing, stopping, advance):
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


def _send(
    sink: Sink, outgoing: Sequence[Outgoing], stopping: Callable[[], bool], advance: Any
) -> bool:
    """Send a batch, however long the log is down; False when a stop was asked for first."""
    told = False
    while True:
        try:
            sink.send(outgoing)
            return True
        except StoreUnavailable as error:
            advance(0, f"waiting: {safe(error.what)}")
            if not told and not err.is_terminal:
                err.print(f"[yellow]waiting:[/] {safe(error)}")
                told = True
        if stopping():
            return False


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
