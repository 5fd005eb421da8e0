"""`claimtrace stream`: take events from the log, decide, emit, until told to stop."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from ...console import print_json
from ...stream_run import Stopped, run_stream, show_ran
from ...wiring.worker_log import tell_stopped, worker_log
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
    new_journal: Annotated[
        bool, typer.Option("--new-journal", help="Set a journal aside that doesn't belong to the "
                           "log, say what will differ, and decide on every claim again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:  # fmt: skip
    """Take events from the log, decide on every claim, and write decisions, drift and alerts.

    The stream continues where it stopped: the journal holds every plan, and a plan that a crash
    interrupted is run again with the same bytes. Ctrl-C or SIGTERM finishes the current batch,
    writes a snapshot and ends; nothing is lost.

    Without a champion in the registry the rules decide alone, and every decision is flagged
    no_model; a model that `claimtrace train` promotes is used from the next batch on.

    On Kafka, start as many workers as you like, each with a --folder of its own: the group divides
    the partitions among them. Make the topics first: `claimtrace topics create`.

    Without a terminal it writes one line an event of its life to standard error: see the settings
    `log.format` and `log.level`.
    """
    from stream.adapters.process.lean_arrow import keep_pandas_away
    from stream.adapters.process.stop_signals import StopSignals

    keep_pandas_away()
    workspace: Workspace = ctx.obj if source is None else ctx.obj.at_source(source)
    asked = None
    with StopSignals() as stopping, worker_log(workspace, "stream") as logs:
        try:
            ran = run_stream(
                workspace, until_end=until_end, quiet=as_json, new_journal=new_journal, logs=logs,
                stopping=stopping,
            )  # fmt: skip
        except Stopped as stopped:
            ran, asked = stopped.ran, stopped.number
            if logs and asked == signal.SIGINT:
                tell_stopped()
    if as_json:
        print_json(ran)
    else:
        show_ran(ran)
    if asked == signal.SIGINT:
        raise KeyboardInterrupt
