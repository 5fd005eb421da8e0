"""`claimtrace score`: decide on claims from a file as of now, without writing anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from claimtrace.decisions import DECISIONS_TOPIC, SealedDecision
from claimtrace.errors import StateError, UsageError
from claimtrace.events import Outgoing, Record
from claimtrace.limits import MAX_BATCH_RECORDS, MAX_VALUE_BYTES

from ...console import err, indented, notify, out, print_json, safe
from ...transports.choice import open_transport
from ...wiring.assembly import build_engine
from ...wiring.champion import Champion
from ...wiring.workspace import Workspace


def score(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Claims as JSON: one object, or one a line.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the decisions, one a line.")
    ] = False,
) -> None:
    """Say what would be decided on some claims, as things stand now; nothing is written.

    The claims are decided on with the state of the stream's folder, and count each other in their
    order, as on the log. A claim that would become a dead letter is reported with its reason.
    """
    workspace: Workspace = ctx.obj
    records = _read_claims(workspace, file)
    outgoing = _decide(workspace, records)
    shown = 0
    for each in outgoing:
        if each.topic == DECISIONS_TOPIC:
            shown += 1
            decision = msgspec.json.decode(each.value or b"", type=SealedDecision)
            if as_json:
                print_json(decision)
            else:
                show_decision(decision)
        elif each.headers:
            told = {name: text.decode() for name, text in each.headers}
            place = int(told.get("x-dead-position", "0"))
            reason, field = safe(told["x-dead-reason"]), safe(told["x-dead-field"])
            hint = safe(told["x-dead-hint"])
            err.print(f"[bold red]claim {place + 1} refused:[/] {reason} {field} [dim]{hint}[/]")
    if shown < len(records):
        raise typer.Exit(1)


def show_decision(decision: SealedDecision) -> None:
    """Print one decision: outcome, score, and the reasons with their contributions."""
    color = {"refer": "red", "review": "yellow", "approve": "green"}[decision.outcome]
    scored = f"score {decision.score:.4f}" if decision.score is not None else "no model"
    flags = f" [dim]{', '.join(decision.flags)}[/]" if decision.flags else ""
    out.print(
        f"  [bold]{safe(decision.claim_id)}[/] [bold {color}]{decision.outcome}[/] {scored}{flags}"
    )
    rows = [("[magenta]rule[/]", safe(hit.text)) for hit in decision.rules]
    rows += [(f"[cyan]{r.contribution:+.2f}[/]", safe(r.text)) for r in decision.reasons]
    indented(rows)


def _read_claims(workspace: Workspace, file: Path) -> list[Record]:
    """Return one record for each claim, as if it was at the end of the log now."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"can't read the claims: {error.strerror}", where=str(file)) from error
    if len(content) > MAX_VALUE_BYTES * MAX_BATCH_RECORDS:
        raise UsageError("the file is too large to score at once", where=str(file),
                         hint="put it on the log with `claimtrace replay`")  # fmt: skip
    text = content.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    values = [text] if text.startswith(b"{") and not _is_lines(lines) else lines
    if not values:
        raise UsageError("there is no claim in the file", where=str(file))
    now_ms = workspace.clock.now_ms()
    topic = workspace.domain.claim.topic
    return [Record(topic, 0, i, None, value, now_ms) for i, value in enumerate(values)]


def _is_lines(lines: list[bytes]) -> bool:
    return len(lines) > 1 and all(line.lstrip().startswith(b"{") for line in lines)


def _decide(workspace: Workspace, records: list[Record]) -> Sequence[Outgoing]:
    """Decide on the claims with a copy of the stream's state."""
    from stream.adapters.snapshots.snapshots import Snapshots
    from stream.journal.plan import Plan

    if not workspace.has_journal:
        engine = build_engine(workspace)
    else:
        with open_transport(workspace) as transport:
            engine = build_engine(workspace, transport.terms())
            newest = Snapshots(workspace.state_folder / "snapshots").newest()
            if newest is not None:
                engine.restore(newest[1])
            source = transport.source()
            for plan in transport.plans(engine.plan + 1):
                source.order_topics(engine.tie_order)
                engine.step(plan, source.fetch(plan.ranges))
    champion = Champion(workspace, notify)()
    plan = Plan(number=engine.plan + 1, ranges=[], model=champion, now_ms=0)
    return engine.step(plan, records).outgoing


def top_referred(workspace: Workspace, most: int) -> list[SealedDecision]:
    """Return the referred claims with the highest scores among the newest decisions.

    Raises:
        StateError: when nothing has been decided yet.
    """
    with open_transport(workspace) as transport:
        count = transport.partitions(DECISIONS_TOPIC)
        if not count:
            raise StateError("nothing has been decided yet", hint="run claimtrace stream")
        found = [
            msgspec.json.decode(record.value or b"", type=SealedDecision)
            for partition in range(count)
            for record in transport.records(DECISIONS_TOPIC, partition, last=2_000)
        ]
    referred = [each for each in found if each.outcome == "refer"]
    return sorted(referred, key=lambda d: (-(d.score or 0.0), d.claim_id))[:most]
