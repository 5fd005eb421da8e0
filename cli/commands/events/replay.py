"""`claimtrace replay`: put the rows of a table on the log."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Final

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe
from ...wiring.workspace import Workspace
from .tables import open_table, show_report
from .target import framing, open_target, send

_FLUSH_S: Final = 60.0


def replay(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet file with one event a row.")],
    mapping: Annotated[Path, typer.Option(help="TOML file that says which column is which field.")],
    speed: Annotated[
        float, typer.Option(help="1 is real time, 60 an hour in a minute, 0 as fast as it goes.")
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as JSON.")
    ] = False,
) -> None:
    """Put the rows of a table on the log that `source` names, in order of arrival.

    The mapping names topic, key, time and fields; replay_claims.toml is one to copy:
    `claimtrace doctor` says where it lies. It is checked against the domain before anything is
    written. A row that can't be read ends the replay, or goes to the dead-letter topic with
    `on_bad_row = "dead"`. The end says what was read and what became of it.
    """
    workspace: Workspace = ctx.obj
    table = open_table(workspace, file, mapping)
    sent = 0
    with progress("replay", quiet=as_json) as advance:
        (report,) = table.reports
        batches = table.batches(speed, lambda _: advance(0, f"{report.rows:,} rows read"))
        first = next(batches, [])  # a table that is refused at once leaves no log behind
        changes = framing(workspace)
        with open_target(workspace, dead_topic=table.may_have_dead_letters) as target:
            try:
                for batch in chain([first], batches):
                    outgoing = batch
                    for change in changes:
                        outgoing = list(change(outgoing))
                    send(target.sink, outgoing, lambda: False, advance)
                    sent += len(outgoing)
                    advance(len(outgoing))
                target.sink.flush(_FLUSH_S)
            except UsageError as error:
                _tell_written(error, target.acknowledged())
                raise
    where = str(workspace.log_path) if workspace.settings.source == "local" else (
        workspace.settings.source)  # fmt: skip
    if as_json:
        print_json({"written": sent, "log": where, **report.as_dict()})
        return
    out.print(f"[bold]{sent:,}[/] records on {safe(where)}")
    show_report(report)


def _tell_written(error: UsageError, written: int) -> None:
    """Add to an error's hint how many records are on the log already, and that this is harmless."""
    if written:
        told = (f"{written:,} records were written before it; replay the mended file from its "
                "beginning: repeated events are recognised by their ids")  # fmt: skip
        error.hint = f"{error.hint}; {told}" if error.hint else told
