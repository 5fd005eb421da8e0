"""`claimtrace verify`: replay all decisions and compare them, byte for byte."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from claimtrace.decisions import DECISIONS_TOPIC

from ...console import out, print_json, progress, safe
from ...transports.base import planned_records
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.workspace import Workspace


def verify(
    ctx: typer.Context,
    chain: Annotated[
        bool, typer.Option("--chain", help="Only check that no decision was edited or dropped.")
    ] = False,
    into: Annotated[
        Path | None, typer.Option(help="Also write the replayed decisions to a log in this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Replay the whole log on a fresh state and compare every decision, byte for byte.

    Works on a copy of the folder on any machine: a decision depends on the log, the journal, the
    definitions and the models, and on nothing else. Exit code 1 when anything differs.
    """
    result = run_chain(ctx.obj) if chain else run_verify(ctx.obj, into, quiet=as_json)
    if as_json:
        print_json(result)
    else:
        show_verified(result)
    if getattr(result, "differ", 0) or getattr(result, "broken", ()):
        raise typer.Exit(1)


def run_verify(workspace: Workspace, into: Path | None = None, *, quiet: bool = False) -> Any:
    """Replay the journal on a fresh engine; returns a `stream.proofs.verify.ReplayResult`."""
    from claimtrace.adapters.embedded_log.log import EmbeddedLog
    from stream.adapters.embedded.log import EmbeddedOutput
    from stream.proofs.verify import replay

    with ExitStack() as opened:
        transport = opened.enter_context(open_transport(workspace))
        plans = list(transport.plans())
        emit = None
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
            copy = opened.enter_context(EmbeddedLog(into / "log.db"))
            emit = EmbeddedOutput(copy, transport.partitions(workspace.domain.claim.topic)).emit
        advance = opened.enter_context(progress("verify", planned_records(plans), quiet=quiet))
        return replay(
            build_engine(workspace, transport.terms()),
            plans,
            transport.source(),
            lambda partition: transport.records(DECISIONS_TOPIC, partition),
            lambda records: advance(records),
            emit,
            may_repeat=transport.may_repeat,
        )


def run_chain(workspace: Workspace) -> Any:
    """Check every chain; returns a `stream.proofs.verify.ChainCheck`."""
    from stream.proofs.verify import check_chains

    with open_transport(workspace) as transport:
        count = transport.partitions(DECISIONS_TOPIC)
        decisions = {p: transport.records(DECISIONS_TOPIC, p) for p in range(count)}
        return check_chains(decisions, may_repeat=transport.may_repeat)


def show_verified(result: Any) -> None:
    """Print the result of either proof in a line."""
    broken = getattr(result, "broken", None)
    if broken is None:
        state = "[bold green]0[/]" if not result.differ else f"[bold red]{result.differ:,}[/]"
        replayed = f"{result.records:,} records, {result.plans:,} plans replayed"
        out.print(f"{state} of {result.decisions:,} decisions differ [dim]({replayed})[/]")
        if result.first:
            out.print(f"  [red]first: {safe(result.first)}[/]")
        return
    if broken:
        out.print(f"[bold red]{len(broken):,}[/] of {result.decisions:,} links are broken")
        for place in broken[:10]:
            out.print(f"  [red]{safe(place)}[/]")
        return
    count = f"{result.decisions:,} decisions"
    out.print(f"[bold green]the chain holds[/]: {count}, none edited, dropped or inserted")
