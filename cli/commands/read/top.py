"""`claimtrace top`: workers, rates, lag, latencies, outcomes and alerts as they are now."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from claimtrace.clock import duration_ms
from claimtrace.errors import UsageError

from ...console import UNLIMITED, out
from ...wiring.workspace import Workspace
from .top_screen import lines_of, plain
from .top_sources import Sample, Sources, check_address

_BETWEEN_S = 1.0
"""Time between the two looks of a single view: rates need two."""


def top(
    ctx: typer.Context,
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", "-w", help="host:port of a worker's metrics; may be repeated."),
    ] = None,
    every: Annotated[str, typer.Option("--every", help="Time between two looks.")] = "2s",
    once: Annotated[bool, typer.Option("--once", help="Show one view and end.")] = False,
) -> None:
    """Watch the stream: topics, outcomes, latencies, workers and alerts; Ctrl-C ends it.

    Counts, lag, outcomes and alerts come from the log, which is only read. What a worker says of
    itself, such as p50 and p99 of its batches, comes from its metrics: those of `metrics.listen`,
    or of each `--worker`. In a pipe, or with `--once`, one view is printed as plain text.

        claimtrace top --worker 127.0.0.1:9464
    """
    workspace: Workspace = ctx.obj
    pause_s = _pause_s(every)
    listen = workspace.settings.metrics.listen
    named = worker if worker else [listen] if listen and not listen.endswith(":0") else []
    sources = Sources(workspace, tuple(dict.fromkeys(map(check_address, named))))
    source = workspace.settings.source
    place = str(workspace.folder) if source == "local" else source
    title = f"{workspace.domain.name} on {place}"
    before = sources.look()
    if once or not out.is_terminal:
        workspace.clock.sleep(min(pause_s, _BETWEEN_S))
        width, height = (out.width, out.height) if out.is_terminal else (UNLIMITED, UNLIMITED)
        sys.stdout.write(plain(lines_of(title, before, sources.look(), width, height)))
        return
    _live(sources, title, before, pause_s)


def _live(sources: Sources, title: str, before: Sample, pause_s: float) -> None:
    """Draw the view again and again, in the terminal's second screen, until Ctrl-C."""
    clock = sources.workspace.clock
    with suppress(KeyboardInterrupt), Live(console=out, screen=True, auto_refresh=False) as live:
        now = before
        while True:
            lines = lines_of(title, before, now, out.width, out.height)
            live.update(Group(*lines), refresh=True)
            clock.sleep(pause_s)
            before, now = now, sources.look()


def _pause_s(text: str) -> float:
    """Return the time between two looks in seconds.

    Raises:
        UsageError: it can't be read, or is outside of 0.2 s to an hour.
    """
    try:
        found_ms = duration_ms(text)
    except ValueError as error:
        raise UsageError(str(error), where="--every") from None
    if not 200 <= found_ms <= 3_600_000:
        raise UsageError(f"{text} between two looks", where="--every",
                         hint="from 200ms to 1h")  # fmt: skip
    return found_ms / 1000
