"""`claimtrace stream`: take events from the log, decide, emit, until told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from ...console import print_json
from ...stream_run import run_stream, show_ran
from ...wiring.workspace import Workspace


def stream(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Option(
            help="local, kafka://host:port or kinesis://name; default: the setting `source`."
        ),
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at the end of the log, for jobs and tests.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Take events from the log, decide on every claim, and write decisions, drift and alerts.

    Goes on from where it stopped, whatever happened: the journal says what was planned, and a plan
    that was cut short is run again to the same bytes. Ctrl-C or SIGTERM finishes the batch in work,
    writes a snapshot and leaves; nothing is lost.

    With no champion in the registry the rules decide alone, and every decision says so; a model
    that `claimtrace train` promotes is taken up at the next batch.

    On Kafka, start as many workers as you like, each with a --folder of its own: the group shares
    the partitions out, and who goes is replaced. Make the topics first: `claimtrace topics create`.
    """
    workspace: Workspace = ctx.obj if source is None else ctx.obj.at_source(source)
    ran = run_stream(workspace, until_end=until_end, quiet=as_json)
    if as_json:
        print_json(ran)
        return
    show_ran(ran)
