"""`claimtrace seal`: all heads in one line, for a notary outside of the folder."""

from __future__ import annotations

from typing import Annotated

import typer

from claimtrace.errors import StateError

from ...console import print_json
from ...wiring.workspace import Workspace
from .sealing import seal_now
from .verify import prove_chain


def seal(
    ctx: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the line in a JSON object.")
    ] = False,
) -> None:
    """Print the heads of journal, decisions, approvals and offline store as one line.

    Keep the line where nobody who can write to the folder can write: in a mail, a ticket, a
    time-stamping service. `claimtrace verify --against LINE` checks later that the folder continues
    it, so that nothing that was there has been dropped or replaced. The chains are checked first.
    """
    from stream.proofs.seal_line import line_of

    workspace: Workspace = ctx.obj
    proof = prove_chain(workspace)
    wrong = [*proof.result.broken, *proof.result.problems]
    if wrong:
        raise StateError(
            f"nothing was sealed: {wrong[0]}", hint="see `claimtrace verify` for all of it"
        )
    line = line_of(seal_now(workspace, proof.plans, proof.result.partitions, proof.tables))
    if as_json:
        print_json({"seal": line})
    else:
        typer.echo(line)
