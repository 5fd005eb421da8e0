"""`claimtrace explain`: a decision in words, with the records behind every number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, safe
from ...times import time_of
from ...wiring.packet_file import check_file, write_packet
from ...wiring.workspace import Workspace
from ..inspect.definitions import kept
from .opened import open_evidence
from .shown import show_evidence


def explain(
    ctx: typer.Context,
    claim_id: Annotated[str, typer.Argument(help="The id of a claim that was decided.")],
    at_plan: Annotated[
        int | None,
        typer.Option("--at-plan", metavar="N", help="As known after plan N of the journal."),
    ] = None,
    as_of: Annotated[
        str, typer.Option("--as-of", metavar="TIME", help="As known at a date or time.")
    ] = "",
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="FIELD=VALUE",
            help="With another value; may be given several times.",
        ),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows shown of each feature; 0: all.", min=0)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as a page for a file, to print."),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="Who the page is for: siu, customer or full.")
    ] = "siu",
) -> None:
    """Say why a claim was decided as it was: reasons, rules, and the rows behind each number.

    The decision is made once more from only the earlier records about the claim's policy, shop,
    phone and so on; the hash of the numbers proves that they are the sealed ones. Nothing is
    written but an index of the log in the folder evidence/, which the first call builds.

    --as-of and --at-plan answer what was known on another day: labels and claims that arrived
    later are left out, or counted. --what-if decides on a changed claim, and looks for the smallest
    change of one field that gives a milder outcome.

    --html writes one page that runs and loads nothing, and prints the SHA-256 of the file: note it
    where the file is kept. --profile says how much of personal fields the page shows.
    """
    from serving.evidence.cases import When
    from serving.evidence.changed_claim import parsed_changes

    workspace: Workspace = ctx.obj
    if at_plan is not None and as_of:
        raise UsageError("--at-plan and --as-of both name a day", where="--as-of",
                         hint="leave one of them out")  # fmt: skip
    if at_plan is not None and at_plan < 1:
        raise UsageError("plans are numbered from 1", where="--at-plan")
    if html is not None:
        _check_page(html, profile, what_if)
    known_ms = time_of(as_of, "--as-of") if as_of else None
    changes = parsed_changes(workspace.domain, what_if) if what_if else None
    with open_evidence(workspace, quiet=as_json) as gatherer:
        found = gatherer.evidence(claim_id, When(at_plan, known_ms), changes)
    if html is not None:
        told = write_packet(workspace, found, profile, html, dict(kept(workspace)))
        if as_json:
            print_json({"file": str(html), "profile": profile, "sha256": told})
        else:
            out.print(f"wrote {safe(str(html))} for {profile}\nsha256 {told}", soft_wrap=True)
    elif as_json:
        print_json(found)
    else:
        show_evidence(found, rows)


def _check_page(html: Path, profile: str, what_if: list[str] | None) -> None:
    """Refuse a page that can't be written, before anything is replayed."""
    from serving.packet import profile_of

    if what_if:
        raise UsageError("a page for a file is of what was decided", where="--what-if",
                         hint="leave out one of --html and --what-if")  # fmt: skip
    profile_of(profile)
    check_file(html)
