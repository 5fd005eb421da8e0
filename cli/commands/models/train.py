"""`claimtrace train`: choose, judge and publish a model on the vectors that were served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from claimtrace.errors import UsageError
from claimtrace.settings.schema import Settings

from ...console import out, print_json, progress, safe, table
from ...mistakes import check_writable
from ...times import time_of
from ...wiring.train_options import asked, check_facets, check_new, limits_of, search_of
from ...wiring.workspace import Workspace
from .mirror import mirror_after_training
from .report import REPORT_FILE

if TYPE_CHECKING:
    from training.run import TrainingRun


Directions = Annotated[
    Literal["auto", "on", "off"] | None,
    typer.Option(help='Keep to what definitions say of a feature, such as more="worse".'),
]
Contract = Annotated[
    Literal["stop", "warn"] | None,
    typer.Option(help="Where the data breaks its contract: end, or go on and say so."),
]


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
    sample: Annotated[
        float | None,
        typer.Option(help="Read all known frauds and this share of the others, such as 0.05."),
    ] = None,
    directions: Directions = None,
    tune: Annotated[
        int | None, typer.Option(help="Try this many settings beyond the built-in choice.")
    ] = None,
    tune_for: Annotated[
        Literal["average_precision", "money"] | None,
        typer.Option(help="What --tune looks for; money: that of frauds found at capacity."),
    ] = None,
    tune_jobs: Annotated[
        int | None, typer.Option(help="Settings tried at the same time; same result.")
    ] = None,
    contract: Contract = None,
    contract_out: Annotated[
        Path | None, typer.Option(help="Write the limits suggested for the data to this .json.")
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
    learned from; then the same settings are fitted on all claims with a mature verdict, and
    published. The version becomes champion when it beats the one in charge on these claims and
    passes all other gates; else it stays pending: `claimtrace models show` says why.
    """
    workspace: Workspace = ctx.obj
    settings = asked(
        workspace.settings, capacity=capacity, test_from=test_from, test_share=test_share,
        split=split, sample=sample, directions=directions, tune=tune, tune_for=tune_for,
        tune_jobs=tune_jobs, contract=contract,
    )  # fmt: skip
    at_ms = None if as_of is None else past(workspace, as_of)
    report = run_training(
        workspace, settings, at_ms=at_ms, scores=scores, contract_out=contract_out,
        mitigate=mitigate, quiet=as_json,
    )  # fmt: skip
    _tell(
        workspace,
        report,
        {"scores of all claims": scores, "limits for the data": contract_out},
        as_json,
    )


def _tell(
    workspace: Workspace, report: Any, written: dict[str, Path | None], as_json: bool
) -> None:
    """Print the report, and which files were written."""
    if as_json:
        print_json(report)
        return
    show_report(report)
    if report.report_digest:
        page = workspace.registry.attachment_place(report.model.version, REPORT_FILE)
        out.print(f"the whole report as a page: {safe(page)}", soft_wrap=True)
    for what, path in written.items():
        if path is not None:
            out.print(f"{what} in {safe(path)}", soft_wrap=True)


def run_training(
    workspace: Workspace,
    settings: Settings | None = None,
    *,
    at_ms: int | None = None,
    scores: Path | None = None,
    mitigate: bool = False,
    contract_out: Path | None = None,
    quiet: bool = False,
) -> Any:
    """Train and publish; returns the report.

    Args:
        settings: in place of the workspace's own.
        at_ms: only what was known by then is used; None: now.
        scores: file for the scores of all claims.
        mitigate: whether ways to lessen bias are compared.
        contract_out: file for the limits suggested for the data.
    """
    from training.pipeline import steps_of
    from training.pipeline import train as run

    check_new(scores, ".parquet", "scores")
    check_new(contract_out, ".json", "limits")
    settings = settings or workspace.settings
    check_facets(workspace, settings, mitigate=mitigate)
    limits = limits_of(settings.training.contract_file)
    steps = steps_of(mitigate=mitigate)
    if contract_out is not None:
        at = 1 + [name for name, _ in steps].index("collect")
        steps.insert(at, ("limits", lambda run: _write_limits(run, contract_out)))
    if scores is not None:
        steps.append(("scores", lambda run: write_scores(run, scores)))
    if workspace.models_folder is not None:
        check_writable(workspace.models_folder)
    with progress("train", len(steps), quiet=quiet) as advance:
        now_ms = workspace.clock.now_ms()
        at_ms = now_ms if at_ms is None else at_ms
        report = run(
            workspace.offline, workspace.registry, settings, at_ms=at_ms, now_ms=now_ms,
            progress=step_progress(steps, advance), steps=steps, domain=workspace.domain,
            known_definitions={workspace.domain.definitions_digest: workspace.feature_digests},
            search=search_of(workspace, settings, at_ms), limits=limits,
        )  # fmt: skip
    mirror_after_training(workspace)
    return report


def step_progress(steps: Sequence[tuple[str, Any]], advance: Any) -> Any:
    """Return the callback for progress: a bar that counts steps, with a note of the work inside."""
    left = {name for name, _ in steps}

    def told(step: str, at: int, total: int) -> None:
        ended = at == total and step in left
        left.difference_update([step] if ended else [])
        advance(int(ended), f"{step} {at}/{total}" if total > 1 else step)

    return told


def write_scores(run: TrainingRun, path: Path) -> None:
    """Write the scores as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from claimtrace.adapters.files.atomic_files import write_file
    from training.scores import scores_of

    sink = pa.BufferOutputStream()
    pq.write_table(scores_of(run), sink)
    write_file(path, sink.getvalue().to_pybytes())


def _write_limits(run: TrainingRun, path: Path) -> None:
    """Write the limits that the data's past suggests, before the check that may end the run."""
    from claimtrace.adapters.files.atomic_files import write_file
    from training.checks.constraints import encoded
    from training.steps.checks import suggest

    write_file(path, encoded(suggest(run)))


def past(workspace: Workspace, as_of: str) -> int:
    """Read the time of `--as-of`, in ms; refuses one in the future."""
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
