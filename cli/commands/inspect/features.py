"""`claimtrace features`: the features of the domain, and the proof that live equals back-fill."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe, table
from ...transports.base import planned_records
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.workspace import Workspace

features_app = typer.Typer(help="The features of the domain, and the proof that they agree.")


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
          [[str(r.place), safe(r.name), r.kind, safe(r.how), safe(r.text)] for r in rows],
          under=2)  # fmt: skip


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


def run_diff(workspace: Workspace, *, quiet: bool = False) -> Any:
    """Back-fill and compare; returns a `stream.proofs.backfill.FeatureDiff`."""
    from featurestore.offline.tables import DECISIONS
    from stream.proofs.backfill import backfill, compare

    with open_transport(workspace) as transport:
        plans = list(transport.plans())
        with progress("back-fill", planned_records(plans), quiet=quiet) as advance:
            vectors = backfill(
                build_engine(workspace), plans, transport.source(), lambda n: advance(n)
            )
            columns = ["partition", "position", "features", "definitions"]
            served = workspace.offline.dataset(DECISIONS).to_batches(columns=columns)
            return compare(vectors, served, workspace.domain)


def show_diff(result: Any) -> None:
    """Print the result of a back-fill in a line or two."""
    state = "[bold green]0[/]" if not result.differing else f"[bold red]{result.differing:,}[/]"
    out.print(f"{state} of {result.values:,} values differ between live and back-fill "
              f"[dim]({result.vectors:,} vectors; {result.missing:,} missing, {result.extra:,} "
              "extra)[/]")  # fmt: skip
    for name, count in result.worst:
        out.print(f"  [red]{safe(name)}: {count:,}[/]")
