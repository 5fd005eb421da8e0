"""`claimtrace faust`: the stream under a Faust worker."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from ...transports.faust import CONFIG_VARIABLE, check


def faust(
    ctx: typer.Context,
    arguments: list[str] = typer.Argument(None, help="More for `faust worker`, after `--`."),  # noqa: B008
) -> None:
    """Run the stream under Faust, for teams that run Faust; see docs/faust.md for when.

    It is `faust -A cli.transports.faust:app worker -l warn --without-web` with these settings.
    One worker runs on a journal; what it leaves a plain worker takes up, and the other way round.
    """
    check(ctx.obj)
    chosen: dict[str, Any] = ctx.parent.params if ctx.parent is not None else {}
    environment = dict(os.environ)
    if chosen.get("folder") is not None:
        environment["CLAIMTRACE_FOLDER"] = str(chosen["folder"])
    if chosen.get("source") is not None:
        environment["CLAIMTRACE_SOURCE"] = chosen["source"]
    if chosen.get("config") is not None:
        environment[CONFIG_VARIABLE] = str(chosen["config"])
    # -P: the current folder isn't searched first, where a module of the user's could shadow ours
    command = [sys.executable, "-P", "-m", "faust", "-A", "cli.transports.faust:app", "worker",
               "-l", "warn", "--without-web", *(arguments or [])]  # fmt: skip
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter, no shell
