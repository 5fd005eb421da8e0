"""`claimtrace features`: the features of the domain, and the proof that live equals back-fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe, table
from ...transports.base import planned_records
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from stream.journal.plan import Plan

    from ...transports.base import Transport

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
    """Back-fill and compare; returns a `stream.proofs.backfill.FeatureDiff`.

    Raises:
        UsageError: no vector was served or computed, so that nothing could be proven.
    """
    from featurestore.offline.tables import DECISIONS
    from stream.proofs.backfill import backfill, compare

    with open_transport(workspace) as transport:
        store, columns = workspace.offline, ["partition", "position", "features", "definitions"]
        # first what is served, and up to where it is stored: workers may be at work
        served = store.batches(DECISIONS, columns) if DECISIONS in store.tables() else ()
        stored = _stored_plans(workspace, transport)
        plans = list(transport.plans())
        with progress("back-fill", planned_records(plans), quiet=quiet) as advance:
            vectors = backfill(
                build_engine(workspace, transport.terms()),
                plans,
                transport.source(),
                lambda n: advance(n),
            )
        ends = _stored_ends(workspace, plans, stored)
        result = compare(vectors, served, workspace.domain, ends)
    if not (result.vectors or result.missing or result.extra):
        raise UsageError(
            "no vector has been served yet, so there is nothing to prove",
            where=str(workspace.folder), hint="run claimtrace stream; or is this another folder?",
        )  # fmt: skip
    return result


def _stored_plans(workspace: Workspace, transport: Transport) -> dict[int, int]:
    """Return the plan up to which the decisions of each partition are in the offline store.

    Partitions that nobody has stored as their owner are left out: nothing of them may be missing.
    """
    from featurestore.offline.tables import DECISIONS
    from stream.adapters.snapshots.reached_file import ReachedFile
    from stream.worker.ownership import SOLE, writer_of

    claims, store = workspace.domain.claim.topic, workspace.offline
    partitions = range(transport.partitions(claims))
    sole = store.committed(DECISIONS, SOLE)
    if sole >= 0:
        reached = ReachedFile(workspace.state_folder / "reached").read()
        return dict.fromkeys(partitions, max(sole, reached.plan if reached else 0))
    found = {each: store.committed(DECISIONS, writer_of((claims, each))) for each in partitions}
    return {partition: plan for partition, plan in found.items() if plan >= 0}


def _stored_ends(workspace: Workspace, plans: list[Plan], stored: dict[int, int]) -> dict[int, int]:
    """Return the position behind the last stored claim of each partition."""
    claims = workspace.domain.claim.topic
    ends = dict.fromkeys(stored, 0)
    for plan in plans:
        for span in plan.ranges:
            if span.topic == claims and plan.number <= stored.get(span.partition, -1):
                ends[span.partition] = max(ends[span.partition], span.to_position)
    return ends


def show_diff(result: Any) -> None:
    """Print the result of a back-fill in a line or two."""
    state = "[bold green]0[/]" if not result.differing else f"[bold red]{result.differing:,}[/]"
    out.print(f"{state} of {result.values:,} values differ between live and back-fill "
              f"[dim]({result.vectors:,} vectors; {result.missing:,} missing, {result.extra:,} "
              "extra)[/]")  # fmt: skip
    for name, count in result.worst:
        out.print(f"  [red]{safe(name)}: {count:,}[/]")
    if result.later:
        out.print(f"  [yellow]bounded by what was stored at the start: {result.later:,} vectors "
                  "are of later plans[/]")  # fmt: skip
