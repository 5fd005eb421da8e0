"""`claimtrace score`: decide on claims from a file as of now, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from claimtrace.decisions import DEAD_TOPIC, DECISIONS_TOPIC, SealedDecision
from claimtrace.editions import ROLLOUTS
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
    order, as on the log. A claim that would become a dead letter is reported with its reason; one
    that was decided on already is answered with that decision.

    claimtrace_examples/claim.json is a claim to copy.
    """
    workspace: Workspace = ctx.obj
    records = _read_claims(workspace, file)
    answers = _answers(workspace, records)
    for place, answer in enumerate(answers, 1):
        if isinstance(answer, str):
            err.print(f"[bold red]claim {place} {answer}")
        elif as_json:
            print_json(answer.decision)
        else:
            if answer.before:
                out.print(f"[dim]claim {place} was decided already, and so:[/]")
            show_decision(answer.decision)
    if any(isinstance(answer, str) for answer in answers):
        raise typer.Exit(1)


class _Answer(NamedTuple):
    """The decision on a claim, made now or found among those on the log."""

    decision: SealedDecision
    before: bool = False


def _answers(workspace: Workspace, records: list[Record]) -> list[_Answer | str]:
    """Return a decision for each claim, or in words why it has none."""
    found: dict[int, _Answer | str] = {}
    for each in _decide(workspace, records):
        if each.topic == DECISIONS_TOPIC:
            made = msgspec.json.decode(each.value or b"", type=SealedDecision)
            found[made.position] = _Answer(made)
        elif each.topic == DEAD_TOPIC:
            told = {name: text.decode(errors="replace") for name, text in each.headers}
            reason, field = safe(told["x-dead-reason"]), safe(told["x-dead-field"])
            hint = safe(told["x-dead-hint"])
            found[int(told["x-dead-position"])] = f"refused:[/] {reason} {field} [dim]{hint}[/]"
    known = {place: claim for place, claim in _ids(workspace, records) if place not in found}
    decided = _decided(workspace, set(known.values())) if known else {}
    for place, claim in known.items():
        if claim in decided:
            found[place] = _Answer(decided[claim], before=True)
        else:
            found[place] = f"stands in the file twice:[/] {safe(claim)}"
    return [found.get(place, "has no decision[/]") for place in range(len(records))]


def _ids(workspace: Workspace, records: list[Record]) -> Iterator[tuple[int, str]]:
    """Yield place and id of each claim that can be read."""
    name = workspace.domain.claim.id_field
    for record in records:
        with suppress(ValueError):  # of msgspec, or of bytes that aren't UTF-8
            claim = msgspec.json.decode(record.value or b"")
            if isinstance(claim, dict):
                yield record.position, str(claim.get(name))


def _decided(workspace: Workspace, claims: set[str]) -> dict[str, SealedDecision]:
    """Return the decisions on the log about some claims, by claim; the newest of each."""
    found = {}
    with open_transport(workspace) as transport:
        for partition in range(transport.partitions(DECISIONS_TOPIC)):
            for record in transport.records(DECISIONS_TOPIC, partition):
                value = record.value or b""
                if _claim_of(value) in claims:
                    decision = msgspec.json.decode(value, type=SealedDecision)
                    found[decision.claim_id] = decision
    return found


class _Claim(msgspec.Struct):
    """The one field of a decision that tells whose it is."""

    claim_id: str


def _claim_of(value: bytes) -> str:
    return msgspec.json.decode(value, type=_Claim).claim_id


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
    champion = Champion(workspace, notify)
    model, rollout = champion(), champion.in_force()
    if engine.edition < ROLLOUTS or rollout == engine.breached:
        rollout = None  # as the worker that writes the next plan would
    plan = Plan(number=engine.plan + 1, ranges=[], model=model, now_ms=0, rollout=rollout)
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
