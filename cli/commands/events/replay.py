"""`claimtrace replay`: put the rows of a table on the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress
from ...wiring.workspace import Workspace


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
    """Put the rows of a table on the log, in order of arrival.

    The mapping names topic, key, time and fields; replay_claims.toml is one to copy:
    `claimtrace doctor` says where it lies.
    """
    from producers.adapters.embedded import EmbeddedSink
    from producers.adapters.files import read_mapping, replay_files

    workspace: Workspace = ctx.obj
    read = read_mapping(mapping)
    log = workspace.log(create=True)
    try:
        if read.topic not in log.topics():
            raise UsageError(
                f"the domain has no topic {read.topic}",
                where=str(mapping),
                hint="one of " + ", ".join(workspace.domain.topics),
            )
        with progress("replay", quiet=as_json) as advance:
            sent = replay_files(
                [(file, read)], EmbeddedSink(log), workspace.settings.partitions, workspace.clock,
                speed, lambda n: advance(n),
            )  # fmt: skip
    finally:
        log.close()
    if as_json:
        print_json({"written": sent, "log": str(workspace.log_path)})
        return
    out.print(f"[bold]{sent:,}[/] events on {workspace.log_path}")
