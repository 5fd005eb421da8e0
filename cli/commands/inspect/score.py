"""`claimtrace score`: decide on claims from a file as of now, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from claimtrace.decisions import DECISIONS_TOPIC, SealedDecision
from claimtrace.errors import StateError, UsageError
from claimtrace.events import Record
from claimtrace.limits import MAX_BATCH_RECORDS, MAX_VALUE_BYTES
from claimtrace.looks import AdvisoryDecision, advisory_answer
from serving.batches.batch import Asked, Way

from ...console import err, indented, out, print_json, safe
from ...transports.choice import open_transport
from ...wiring.workspace import Workspace
from .looking import open_look
from .score_file import output_of, score_file


def score(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="Claims as JSON, one object or one a line; with --out any form.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--out", help="Write each line with its answer to this file."),
    ] = None,
    way: Annotated[
        str, typer.Option("--as", help="look: nothing is written; claims: they go on the log.")
    ] = "look",
    fields: Annotated[
        str | None, typer.Option(help="Fields of the answers in the output, with commas.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Fields of the input in the output; all by default.")
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(min=0, help="With --as claims: seconds to wait for a next decision."),
    ] = None,
    at_plan: Annotated[
        int | None,
        typer.Option(min=1, help="Decide with the state after this plan of the journal."),
    ] = None,
    log_time_ms: Annotated[
        int | None,
        typer.Option(min=0, help="The claims' log time, ms since 1970; now, or that of the plan."),
    ] = None,
    model: Annotated[
        int | None, typer.Option(min=1, help="Another version of the model decides, alone.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answers, one a line; of --out the counts.")
    ] = False,
) -> None:
    """Say what would be decided on some claims, as things stand now; nothing is written.

    Each claim is decided on alone, as if it was the next one on the log. A claim that would become
    a dead letter is reported with its reason; one that was decided on already is answered with that
    decision.

    With --at-plan, --log-time-ms and --model an answer is computed again, byte for byte, on any
    machine that has the log: they stand in the answer as as_of.plan, log_time_ms and model.

    With --out a file of any size is answered, all lines with one state: .ndjson, .csv or .parquet,
    each also .gz; the columns of a table are named as the event's fields. The same command goes on
    behind the last answered line, however it ended. With --as claims the claims go on the log, and
    the answers are the decisions of the worker that runs beside it.

    claimtrace_examples/claim.json is a claim to copy.
    """
    workspace: Workspace = ctx.obj
    asked = Asked(at_plan, log_time_ms, model)
    chosen = _way(way, asked, has_output=output is not None)
    if output is not None:
        made = output_of(output, fields, keep)
        score_file(workspace, file, made, asked, chosen, wait, quiet=as_json)
        return
    alone = {"--fields": fields, "--keep": keep, "--wait": wait}
    for name, given in alone.items():
        if given is not None:
            raise UsageError(f"{name} is for files", where=name, hint="say --out, too")
    _show(_answers(workspace, _read_claims(file), asked, quiet=as_json), as_json=as_json)


def _way(text: str, asked: Asked, *, has_output: bool) -> Way:
    """Read the option --as, and check what it goes with."""
    if text == "look":
        return "look"
    if text != "claims":
        raise UsageError(f"{text!r} is no way to score", where="--as", hint="look or claims")
    if not has_output:
        raise UsageError("--as claims needs a file for the answers", where="--as",
                         hint="say --out; or put them on the log by claimtrace replay")  # fmt: skip
    if asked != Asked():
        raise UsageError("claims on the log are decided by the worker, as of then", where="--as",
                         hint="leave out --at-plan, --log-time-ms and --model")  # fmt: skip
    return "claims"


def _show(answers: list[_Answer | str], *, as_json: bool) -> None:
    """Print the answers; the command fails when a claim has none."""
    for place, answer in enumerate(answers, 1):
        if isinstance(answer, str):
            err.print(f"[bold red]claim {place} {answer}")
        elif as_json:
            print_json(msgspec.Raw(answer.written))
        else:
            if answer.before:
                out.print(f"[dim]claim {place} was decided already, and so:[/]")
            show_decision(answer.decision)
    if any(isinstance(answer, str) for answer in answers):
        raise typer.Exit(1)


class _Answer(NamedTuple):
    """The decision on a claim, made now or found among those on the log."""

    decision: AdvisoryDecision | SealedDecision
    written: bytes
    before: bool = False


def _answers(
    workspace: Workspace, values: list[bytes], asked: Asked, *, quiet: bool
) -> list[_Answer | str]:
    """Return a decision for each claim, or in words why it has none."""
    look = open_look(workspace, asked, quiet=quiet)
    topic = workspace.domain.claim.topic
    records = [Record(topic, 0, i, None, each, look.log_time_ms) for i, each in enumerate(values)]
    schemas = workspace.schemas
    unknown = schemas.unknown_in(records) if schemas is not None else ()
    looked = look.engine.look(records, charge=look.charge, unknown_schemas=unknown)
    known = {place: claim for place, claim in _ids(workspace, records) if looked[place].is_known}
    decided = _decided(workspace, set(known.values())) if known else {}
    found: list[_Answer | str] = []
    for place, each in enumerate(looked):
        if each.refusal is not None:
            reason, field = safe(each.refusal.reason), safe(each.refusal.field)
            found.append(f"refused:[/] {reason} {field} [dim]{safe(each.refusal.hint)}[/]")
        elif each.decision:
            written = advisory_answer(each.decision, look.as_of)
            found.append(_Answer(msgspec.json.decode(written, type=AdvisoryDecision), written))
        elif (sealed := decided.get(known.get(place, ""))) is not None:
            decision = msgspec.json.decode(sealed, type=SealedDecision)
            found.append(_Answer(decision, sealed, before=True))
        else:
            found.append("has no decision[/]")
    return found


def _ids(workspace: Workspace, records: list[Record]) -> Iterator[tuple[int, str]]:
    """Yield place and id of each claim that can be read."""
    name = workspace.domain.claim.id_field
    for record in records:
        with suppress(ValueError):  # of msgspec, or of bytes that aren't UTF-8
            claim = msgspec.json.decode(record.value or b"")
            if isinstance(claim, dict):
                yield record.position, str(claim.get(name))


def _decided(workspace: Workspace, claims: set[str]) -> dict[str, bytes]:
    """Return the decisions on the log about some claims, by claim; the newest of each."""
    found = {}
    with open_transport(workspace) as transport:
        for partition in range(transport.partitions(DECISIONS_TOPIC)):
            for record in transport.records(DECISIONS_TOPIC, partition):
                value = record.value or b""
                if (claim := _claim_of(value)) in claims:
                    found[claim] = value
    return found


class _Claim(msgspec.Struct):
    """The one field of a decision that tells whose it is."""

    claim_id: str


def _claim_of(value: bytes) -> str:
    return msgspec.json.decode(value, type=_Claim).claim_id


def show_decision(decision: AdvisoryDecision | SealedDecision) -> None:
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


def _read_claims(file: Path) -> list[bytes]:
    """Return the bytes of each claim."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"can't read the claims: {error.strerror}", where=str(file)) from error
    if len(content) > MAX_VALUE_BYTES * MAX_BATCH_RECORDS:
        raise UsageError("the file is too large to score at once", where=str(file),
                         hint="say --out with the name of a file for the answers")  # fmt: skip
    text = content.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    values = [text] if text.startswith(b"{") and not _is_lines(lines) else lines
    if not values:
        raise UsageError("there is no claim in the file", where=str(file))
    return values


def _is_lines(lines: list[bytes]) -> bool:
    return len(lines) > 1 and all(line.lstrip().startswith(b"{") for line in lines)


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
