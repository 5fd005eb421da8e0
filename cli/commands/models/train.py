"""`claimtrace train`: fit, evaluate and publish a model on the vectors that were served."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from claimtrace.errors import UsageError
from claimtrace.settings.loading import LEAST_CAPACITY, MOST_CAPACITY

from ...console import out, print_json, progress, safe, table
from ...mistakes import check_writable
from ...wiring.workspace import Workspace


def train(
    ctx: typer.Context,
    capacity: Annotated[
        float | None, typer.Option(help="Claims that can be investigated in a day.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fit a model on the vectors that were served and the outcomes known now, and publish it.

    The split is by time and by policy; thresholds come from the capacity; the new version becomes
    champion when it beats the one in charge on claims that neither has seen.
    """
    report = run_training(ctx.obj, capacity, quiet=as_json)
    if as_json:
        print_json(report)
        return
    show_report(report)


def run_training(
    workspace: Workspace, capacity: float | None = None, *, quiet: bool = False
) -> Any:
    """Train and publish; returns the report."""
    import msgspec

    from training.pipeline import STEPS
    from training.pipeline import train as run

    settings = workspace.settings
    if capacity is not None:
        if not LEAST_CAPACITY <= capacity <= MOST_CAPACITY:
            raise UsageError(f"the capacity {capacity:g} is not within {LEAST_CAPACITY:g} .. "
                             f"{MOST_CAPACITY:,}", where="--capacity",
                             hint="write how many claims can be investigated in a day")  # fmt: skip
        review = settings.decision.review_per_day and max(
            settings.decision.review_per_day, capacity
        )
        decision = msgspec.structs.replace(
            settings.decision, capacity_per_day=capacity, review_per_day=review
        )
        settings = msgspec.structs.replace(settings, decision=decision)
    check_writable(workspace.models_folder)
    with progress("train", len(STEPS), quiet=quiet) as advance:
        done: set[str] = set()

        def told(step: str, at: int, total: int) -> None:
            fresh = step not in done
            done.add(step)
            advance(int(fresh), f"{step} {at}/{total}")

        now_ms = workspace.clock.now_ms()
        return run(workspace.offline, workspace.registry, settings, at_ms=now_ms, progress=told)


def show_report(report: Any) -> None:
    """Print the verdict and the tables of a training run."""
    from training.report import tables_of

    state = "[bold green]promoted[/]" if report.promoted else "[bold yellow]not promoted[/]"
    out.print(f"model [bold]{report.model.label}[/] {state}: "
              f"{safe(report.verdict.words)}")  # fmt: skip
    for each in tables_of(report):
        out.print()
        rows = [[safe(cell) for cell in row] for row in each.rows]
        table(each.title, each.header, rows)
    for note in report.notes:
        out.print(f"[yellow]{safe(note)}[/]")
