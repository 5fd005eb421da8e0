"""`claimtrace pipeline`: run the steps of a training, and look at its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from claimtrace.errors import UsageError
from claimtrace.settings.loading import with_values
from claimtrace.settings.schema import Settings

from ...console import out, print_json, safe
from ...wiring.train_options import asked as asked_settings
from ...wiring.train_options import check_facets, check_new
from ...wiring.workspace import Workspace
from ..models.train import past, show_report

app = typer.Typer(
    no_args_is_help=True,
    help="""The training as a pipeline: runs that go on after a crash, and triggers.

    A run is a record of its steps in the folder. Steps whose code, parameters and inputs are as in
    an earlier run are not run again.""",
)


@app.command()
def run(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Option("--run", help="Its id: a run that goes on, or one that begins.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Run one step of it, for Airflow or Step Functions.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a run, whatever was left.")] = False,
    param: Annotated[
        list[str] | None,
        typer.Option(help="A setting for this run, such as training.seed=9; may be repeated."),
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print record and report.")] = False,
) -> None:
    """Run the training pipeline, or let an interrupted run go on.

    The steps and options are those of `claimtrace train`. A run that was killed, at whatever point,
    goes on with the step that it was in, and gives the same bytes; its options and its `--as-of`
    are those that it began with.
    """
    from .running import Asked, run_pipeline
    from .shown import show_record

    workspace: Workspace = ctx.obj
    settings = with_parameters(workspace.settings, param or [])
    settings = asked_settings(
        settings, capacity=capacity, test_from=test_from, test_share=test_share, split=split
    )
    if scores is not None:
        _check_scores(scores, only)
    check_facets(workspace, settings, mitigate=mitigate)
    asked = Asked(
        settings=settings, at_ms=None if as_of is None else past(workspace, as_of), run=name,
        is_new=new, only=only, scores=scores, mitigate=mitigate,
        options=settings != workspace.settings,
    )  # fmt: skip
    ran = run_pipeline(workspace, asked, quiet=as_json)
    if as_json:
        print_json({"run": ran.record, "report": ran.report})
        return
    show_record(ran.record, is_running=False)
    if ran.report is not None:
        out.print()
        show_report(ran.report)
    if scores is not None:
        out.print(f"scores of all claims in {safe(scores)}", soft_wrap=True)


@app.command()
def status(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The id of a run; the newest one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show a run: its steps, what each waits for, where it failed and what to do."""
    from .shown import show_status

    show_status(ctx.obj, name, as_json=as_json)


@app.command("list")
def list_runs(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """List the runs, the newest first."""
    from .shown import show_list

    show_list(ctx.obj, as_json=as_json)


@app.command()
def watch(
    ctx: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, run what is due, and end; for cron.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each look as a line of JSON.")
    ] = False,
) -> None:
    """Run the pipeline when its time has come, labels or an alert ask for it, or code has changed.

    What asks for a run stands in the settings' section pipeline. A look prints a line if something
    speaks for a run. All that is remembered stands in the records of the runs, so a watch can be
    stopped and begun again at any time; Ctrl-C and SIGTERM end it, and a run goes on later.
    """
    from .watching import watch_runs

    raise typer.Exit(watch_runs(ctx.obj, once=once, as_json=as_json))


def _check_scores(scores: Path, only: str | None) -> None:
    if only is not None:
        raise UsageError("a single step writes no scores", where="--only, --scores",
                         hint="leave one of them out")  # fmt: skip
    check_new(scores, ".parquet", "scores")


def with_parameters(settings: Settings, given: list[str]) -> Settings:
    """Return the settings with the values of `--param`, which are typed as in a file.

    Raises:
        UsageError: one has no value, or is of no section that a run depends on.
    """
    values: dict[str, str] = {}
    for text in given:
        path, is_set, value = text.partition("=")
        if not is_set or path.partition(".")[0] not in ("training", "decision", "pipeline"):
            raise UsageError(
                f"{text} is no parameter of a run",
                where="--param",
                hint="write a setting of training, decision or pipeline: training.seed=9",
            )
        values[path.strip()] = value.strip()
    return with_values(settings, values, "--param") if values else settings
