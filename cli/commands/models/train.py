"""`claimtrace train`: choose, judge and publish a model on the vectors that were served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from claimtrace.errors import UsageError
from claimtrace.settings.loading import LEAST_CAPACITY, MOST_CAPACITY
from claimtrace.settings.schema import DecisionSettings, Settings

from ...console import out, print_json, progress, safe, table
from ...mistakes import check_writable
from ...times import time_of
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from training.run import TrainingRun


def train(
    ctx: typer.Context,
    capacity: Annotated[
        float | None, typer.Option(help="Claims that can be investigated in a day.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Use only what was known by then; a date or a time.")
    ] = None,
    test_from: Annotated[
        str | None, typer.Option(help="Judge by claims filed from here on; a date or a time.")
    ] = None,
    test_share: Annotated[
        float | None, typer.Option(help="Judge by this newest share of the claims, 0.05 .. 0.9.")
    ] = None,
    split: Annotated[
        Literal["time", "group"] | None,
        typer.Option(help="Judge by the newest claims, or by a share of the policies."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Write the scores of all claims to this .parquet file.")
    ] = None,
    mitigate: Annotated[
        bool,
        typer.Option("--mitigate", help="Compare ways to lessen bias; none of them is published."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fit a model on the vectors that were served and the outcomes known now, and publish it.

    Settings are chosen on the past. A model is judged by claims filed after everything that it
    learned from; then the same settings are fitted on all claims with a mature verdict, and that
    model is published. Thresholds come from the capacity. The new version becomes champion when it
    beats the one in charge on the claims that it was judged by and passes all other gates; else it
    stays pending: `claimtrace models show` says why, `models approve` lets it pass.
    """
    workspace: Workspace = ctx.obj
    settings = _asked(workspace.settings, capacity, test_from, test_share, split)
    at_ms = None if as_of is None else _past(workspace, as_of)
    if scores is not None:
        _check_new(scores)
    if mitigate and not workspace.domain.facets:
        raise UsageError("the domain marks no facets to compare", where="--mitigate",
                         hint="add facets=(Facet(...),) to it: see docs/bias.md")  # fmt: skip
    report = run_training(
        workspace, settings, at_ms=at_ms, scores=scores, mitigate=mitigate, quiet=as_json
    )
    if as_json:
        print_json(report)
        return
    show_report(report)
    if scores is not None:
        out.print(f"scores of all claims in {safe(scores)}", soft_wrap=True)


def run_training(
    workspace: Workspace,
    settings: Settings | None = None,
    *,
    at_ms: int | None = None,
    scores: Path | None = None,
    mitigate: bool = False,
    quiet: bool = False,
) -> Any:
    """Train and publish; returns the report.

    Args:
        settings: in place of the workspace's own.
        at_ms: only what was known by then is used; None: now.
        scores: file for the scores of all claims.
        mitigate: whether ways to lessen bias are compared.
    """
    from training.pipeline import MITIGATE, STEPS
    from training.pipeline import train as run

    steps = list(STEPS)
    if mitigate:
        steps.insert([name for name, _ in steps].index("bias") + 1, MITIGATE)
    if scores is not None:
        steps.append(("scores", lambda run: _write_scores(run, scores)))
    if workspace.models_folder is not None:
        check_writable(workspace.models_folder)
    with progress("train", len(steps), quiet=quiet) as advance:
        left = {name for name, _ in steps}

        def told(step: str, at: int, total: int) -> None:
            ended = at == total and step in left
            left.difference_update([step] if ended else [])
            advance(int(ended), f"{step} {at}/{total}" if total > 1 else step)

        now_ms = workspace.clock.now_ms()
        return run(
            workspace.offline, workspace.registry, settings or workspace.settings,
            at_ms=now_ms if at_ms is None else at_ms, now_ms=now_ms, progress=told, steps=steps,
            domain=workspace.domain,
        )  # fmt: skip


def _check_new(scores: Path) -> None:
    """Refuse a file that can't be written, before the long work."""
    if scores.suffix != ".parquet" or scores.exists():
        raise UsageError("scores go to a new .parquet file", where=str(scores),
                         hint="name one that doesn't exist, such as scores.parquet")  # fmt: skip
    if not scores.parent.is_dir():
        raise UsageError("there is no such folder", where=str(scores.parent),
                         hint="make it first, or name another place for the scores")  # fmt: skip
    check_writable(scores.parent)


def _write_scores(run: TrainingRun, path: Path) -> None:
    """Write the scores as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from claimtrace.adapters.files.atomic_files import write_file
    from training.scores import scores_of

    sink = pa.BufferOutputStream()
    pq.write_table(scores_of(run), sink)
    write_file(path, sink.getvalue().to_pybytes())


def _asked(
    settings: Settings,
    capacity: float | None,
    test_from: str | None,
    test_share: float | None,
    split: Literal["time", "group"] | None,
) -> Settings:
    """Return the settings with what the options say in their place."""
    chosen = settings.training
    if test_from is not None and test_share is not None:
        raise UsageError("both say where the test starts", where="--test-from, --test-share",
                         hint="give one of them")  # fmt: skip
    if test_from is not None:
        time_of(test_from, "--test-from")
        chosen = msgspec.structs.replace(chosen, test_from=test_from)
    if test_share is not None:
        if not 0.05 <= test_share <= 0.9:
            raise UsageError(f"the share {test_share:g} is not within 0.05 .. 0.9",
                             where="--test-share", hint="write 0.25 for a quarter")  # fmt: skip
        chosen = msgspec.structs.replace(chosen, test_share=test_share, test_from="")
    if split is not None:
        chosen = msgspec.structs.replace(chosen, split=split)
    if chosen.split == "group" and chosen.test_from:
        raise UsageError("a split by policy has no time at which the test begins",
                         where="--test-from", hint="give --test-share")  # fmt: skip
    decision = settings.decision if capacity is None else _with_room(settings.decision, capacity)
    return msgspec.structs.replace(settings, training=chosen, decision=decision)


def _with_room(decision: DecisionSettings, capacity: float) -> DecisionSettings:
    if not LEAST_CAPACITY <= capacity <= MOST_CAPACITY:
        raise UsageError(f"the capacity {capacity:g} is not within {LEAST_CAPACITY:g} .. "
                         f"{MOST_CAPACITY:,}", where="--capacity",
                         hint="write how many claims can be investigated in a day")  # fmt: skip
    review = decision.review_per_day and max(decision.review_per_day, capacity)
    return msgspec.structs.replace(decision, capacity_per_day=capacity, review_per_day=review)


def _past(workspace: Workspace, as_of: str) -> int:
    at_ms = time_of(as_of, "--as-of")
    if at_ms > workspace.clock.now_ms():
        raise UsageError(f"{as_of} is in the future", where="--as-of",
                         hint="leave the option out for what is known now")  # fmt: skip
    return at_ms


def show_report(report: Any) -> None:
    """Print the verdict and the tables of a training run."""
    from training.report import tables_of

    state = "[bold green]promoted[/]" if report.promoted else "[bold yellow]not promoted[/]"
    out.print(f"model [bold]{report.model.label}[/] {state}: "
              f"{safe(report.decision)}")  # fmt: skip
    if not report.promoted:
        out.print(f"[dim]next: claimtrace models show {report.model.version}, then approve or "
                  "reject it[/]", soft_wrap=True)  # fmt: skip
    for each in tables_of(report):
        out.print()
        rows = [[safe(cell) for cell in row] for row in each.rows]
        table(each.title, each.header, rows)
    for note in report.notes:
        out.print(f"[yellow]{safe(note)}[/]")
