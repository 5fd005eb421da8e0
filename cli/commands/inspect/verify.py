"""`claimtrace verify` and `claimtrace features`: proofs that live, replay and back-fill agree."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe, table
from ...transports.base import planned_records
from ...wiring.workspace import Session

features_app = typer.Typer(help="The features of the domain, and the proof that they agree.")


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


def run_verify(session: Session, into: Path | None = None, *, quiet: bool = False) -> Any:
    """Replay the journal on a fresh engine; returns a `stream.proofs.verify.ReplayResult`."""
    from claimtrace.adapters.embedded_log.log import EmbeddedLog
    from stream.adapters.embedded.log import EmbeddedOutput
    from stream.proofs.verify import replay

    with ExitStack() as opened:
        transport = opened.enter_context(session.transport())
        plans = list(transport.plans())
        emit = None
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
            copy = opened.enter_context(EmbeddedLog(into / "log.db"))
            emit = EmbeddedOutput(copy, transport.partitions(session.domain.claim.topic)).emit
        advance = opened.enter_context(progress("verify", planned_records(plans), quiet=quiet))
        return replay(
            session.engine(),
            plans,
            transport.source(),
            lambda partition: transport.records(DECISIONS_TOPIC, partition),
            lambda records: advance(records),
            emit,
            may_repeat=transport.may_repeat,
        )


def run_chain(session: Session) -> Any:
    """Check every chain; returns a `stream.proofs.verify.ChainCheck`."""
    from stream.proofs.verify import check_chains

    with session.transport() as transport:
        count = transport.partitions(DECISIONS_TOPIC)
        decisions = {p: transport.records(DECISIONS_TOPIC, p) for p in range(count)}
        return check_chains(decisions, may_repeat=transport.may_repeat)


def show_verified(result: Any) -> None:
    """The result of either proof in a line."""
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


@features_app.command()
def show(
    ctx: typer.Context,
    match: Annotated[str, typer.Argument(help="Only names that contain this.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the features in the order of the vector: what each counts, over which window."""
    from featurestore.definitions.catalogue import describe

    rows = [row for row in describe(ctx.obj.domain) if match in row.name]
    if as_json:
        print_json(rows)
        return
    if not rows:
        raise UsageError(f"no feature's name contains {match!r}", hint="list all without a word")
    table(f"{ctx.obj.domain.name}: {len(rows)} features, definitions "
          f"{ctx.obj.domain.definitions_digest[:12]}", ["", "feature", "kind", "how", "in words"],
          [[str(r.place), r.name, r.kind, r.how, r.text] for r in rows])  # fmt: skip


@features_app.command()
def diff(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compute every served vector again from the log (back-fill) and compare the two.

    The back-fill uses other batch borders than the stream did. Exit code 1 when a value differs.
    """
    result = run_diff(ctx.obj, quiet=as_json)
    if as_json:
        print_json(result)
    else:
        show_diff(result)
    if result.differing or result.missing or result.extra:
        raise typer.Exit(1)


def run_diff(session: Session, *, quiet: bool = False) -> Any:
    """Back-fill and compare; returns a `stream.proofs.backfill.FeatureDiff`."""
    from featurestore.offline.tables import DECISIONS
    from stream.proofs.backfill import backfill, compare

    with session.transport() as transport:
        plans = list(transport.plans())
        with progress("back-fill", planned_records(plans), quiet=quiet) as advance:
            vectors = backfill(session.engine(), plans, transport.source(), lambda n: advance(n))
            columns = ["partition", "position", "features", "definitions"]
            served = session.offline.dataset(DECISIONS).to_batches(columns=columns)
            return compare(vectors, served, session.domain)


def show_diff(result: Any) -> None:
    """The result of a back-fill in a line or two."""
    state = "[bold green]0[/]" if not result.differing else f"[bold red]{result.differing:,}[/]"
    out.print(f"{state} of {result.values:,} values differ between live and back-fill "
              f"[dim]({result.vectors:,} vectors; {result.missing:,} missing, {result.extra:,} "
              "extra)[/]")  # fmt: skip
    for name, count in result.worst:
        out.print(f"  [red]{safe(name)}: {count:,}[/]")
