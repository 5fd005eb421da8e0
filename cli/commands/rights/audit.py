"""`claimtrace audit`: read the audit of `claimtrace serve`, and prove that nothing is missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from claimtrace.decisions import AUDIT_TOPIC
from claimtrace.errors import UsageError

from ...console import out, print_json, safe, table
from ...times import time_of
from ...transports.choice import open_transport
from ...wiring.access import audit_path, key_table
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from claimtrace.events import Record
    from serving.audit.event import SealedEvent

app = typer.Typer(
    help="Read the audit of `claimtrace serve`, and prove that nothing is missing.",
    no_args_is_help=True,
)


@app.command()
def show(
    ctx: typer.Context,
    kind: Annotated[
        str, typer.Option(help="Only this kind, or kinds that begin so: access, personal, key.")
    ] = "",
    actor: Annotated[
        str, typer.Option(help="Only this actor: key:ID, token:SUBJECT, os:USER@HOST, open.")
    ] = "",
    claim: Annotated[str, typer.Option(help="Only events about this claim.")] = "",
    subject: Annotated[
        str, typer.Option(help="Only about this: key:ID, address:127.0.0.1, or GROUP:KEY of "
                          "features, such as phone:+4930123; kept as pseudonyms.")
    ] = "",
    since: Annotated[str, typer.Option(help="Only from this date or time on.")] = "",
    last: Annotated[int, typer.Option(help="The newest so many; 0: all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:  # fmt: skip
    """Show who was refused, who looked at whom, and which keys were made, oldest first."""
    workspace: Workspace = ctx.obj
    from_ms = time_of(since, "--since") if since else 0
    if not 0 <= last <= 10**7:
        raise UsageError(f"{last} events", where="--last", hint="0 .. 10,000,000")
    names = {subject, _pseudonym_of(workspace, subject)} if subject else set()
    found = deque(
        (
            event for event in _events(workspace)
            if event.kind.startswith(kind) and event.at_ms >= from_ms
            and (not actor or event.actor.id == actor)
            and (not claim or event.claim_id == claim) and (not names or event.subject in names)
        ), maxlen=last or None,
    )  # fmt: skip
    if as_json:
        for event in found:
            typer.echo(msgspec.json.encode(event))
        return
    if not found:
        out.print("no such event")
        return
    table("", ["when", "kind", "actor", "about", "what"], [_row(each) for each in found], under=1)


@app.command()
def verify(
    ctx: typer.Context,
    against: Annotated[
        str, typer.Option(help="A line that this command printed earlier and that was kept "
                          "outside: what was there then must be there now.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:  # fmt: skip
    """Check the chain of every writer, and print a line that seals it for a later check.

    The chain shows each event that was edited, removed or put in. Events cut off at the end are
    found by --against alone, with a line from before.
    """
    from serving.audit.trail import Trail, in_order, read_seal

    workspace: Workspace = ctx.obj
    trail = Trail(read_seal(against))
    places = ((r.value, f"{r.topic}/{r.partition} {r.position}") for r in _records(workspace))
    for value, where in in_order(places):
        trail.add(value, where)
    trail.finish()
    if as_json:
        print_json({"events": trail.events, "writers": len(trail.heads), "wrong": trail.wrong,
                    "problems": trail.problems, "seal": trail.seal})  # fmt: skip
    else:
        for problem in trail.problems:
            out.print(f"[red]{safe(problem)}[/]", soft_wrap=True)
        state = f"[red]{trail.wrong} problems[/]" if trail.wrong else "[green]all chains hold[/]"
        out.print(f"{trail.events:,} events of {len(trail.heads)} writers: {state}")
        if trail.seal and not trail.wrong:
            out.print("[dim]keep this line elsewhere, for --against:[/]")
            typer.echo(trail.seal)
    if trail.wrong:
        raise typer.Exit(1)


def _records(workspace: Workspace) -> Iterator[Record]:
    """Yield all records of the audit; none where there is no audit yet."""
    if workspace.settings.source == "local":
        from serving.adapters.audit_log import EmbeddedAudit

        if not audit_path(workspace).exists():
            return
        audit = EmbeddedAudit(audit_path(workspace), 0, to_read=True)
        try:
            yield from audit.records()
        finally:
            audit.close()
        return
    with open_transport(workspace) as transport:
        for partition in range(transport.partitions(AUDIT_TOPIC)):
            yield from transport.records(AUDIT_TOPIC, partition)


def _events(workspace: Workspace) -> Iterable[SealedEvent]:
    """Return all events, oldest first by their own times; those of one writer in its order."""
    from serving.audit.event import read_event

    found = [event for record in _records(workspace) if (event := read_event(record.value))]
    return sorted(found, key=lambda event: (event.at_ms, event.writer, event.sequence))


def _pseudonym_of(workspace: Workspace, subject: str) -> str:
    from serving.audit.event import pseudonym

    kind, colon, key = subject.partition(":")
    if not colon:
        raise UsageError("a subject has a kind and a key", where="--subject",
                         hint="write key:ID, address:127.0.0.1 or phone:+4930123")  # fmt: skip
    secret = key_table(workspace).pseudonym_secret()
    return pseudonym(kind, key, secret) if secret else subject


def _row(event: SealedEvent) -> list[str]:
    when = f"{datetime.fromtimestamp(event.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    about = event.claim_id or event.subject
    what = " ".join(f"{name}={value}" for name, value in event.body.items() if value != "")
    return [when, safe(event.kind), safe(event.actor.id), safe(about), safe(what)]
