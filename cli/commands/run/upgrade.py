"""`claimtrace upgrade`: begin the newest edition on the journal."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from claimtrace.editions import EDITIONS

from ...console import out, print_json
from ...transports.choice import open_transport
from ...wiring.workspace import Workspace


def upgrade(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Begin the newest edition: how ids are read and labels are counted from now on.

    Everything that was counted before stays as it was counted, and still replays to the same
    bytes. Replace all workers by this version first; a worker of an older version ends when it
    reads the new edition. There is no way back. See docs/upgrading.md.
    """
    begun = run_upgrade(ctx.obj)
    if as_json:
        print_json({"from": begun.before, "to": begun.now, "plan": begun.plan or None})
        return
    if not begun.plan:
        out.print(f"the journal has edition {begun.now} already, the newest one")
        return
    out.print(
        f"edition [bold]{begun.now}[/] begins with plan {begun.plan:,}; it had {begun.before}"
    )
    for edition in EDITIONS:
        if begun.before < edition.number <= begun.now:
            for change in edition.changes:
                out.print(f"  {change}")


def run_upgrade(workspace: Workspace) -> Any:
    """Append the plan; returns a `stream.journal.upgrade.Begun`."""
    from stream.journal.upgrade import begin_edition

    with ExitStack() as opened:
        transport = opened.enter_context(open_transport(workspace))
        terms = transport.terms()
        if not transport.shares_journal:
            opened.enter_context(transport.lock())
        now_ms, texts = workspace.clock.now_ms(), {} if terms.texts else workspace.texts()
        return begin_edition(transport.journal(), terms, now_ms, texts=texts)
