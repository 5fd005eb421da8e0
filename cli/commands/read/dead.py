"""`claimtrace dead`: what was refused and why, and how to send it again after a fix."""

from __future__ import annotations

import base64
import heapq
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from claimtrace.errors import UsageError
from claimtrace.limits import MAX_VALUE_BYTES
from claimtrace.refusals import REASONS
from serving.reading.dead_letter import DeadLetter, LetterFilter, check_id

from ...console import err, out, print_json, progress, safe
from ...wiring.workspace import Workspace
from .dead_screen import show_letter, show_letters, show_plan, show_reasons
from .decisions import time_range
from .letters import is_quick_to_tell, letters, one_letter, sent_again
from .resending import plan_of, send

app = typer.Typer(help="Look at refused records, and send them again after a fix.",
                  no_args_is_help=True)  # fmt: skip

ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Only with this reason; may be repeated.")
]
TopicOption = Annotated[str, typer.Option("--topic", help="Only records of this topic.")]
FromOption = Annotated[
    str, typer.Option("--from", help="Records that the log took from this time on.")
]
ToOption = Annotated[str, typer.Option("--to", help="Records that the log took before this time.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    reason: ReasonOption = None,
    topic: TopicOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=100_000, help="The newest so many, each.")
    ] = 10,
    state: Annotated[
        bool, typer.Option("--state", help="On Kafka: read the inputs for what was sent again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters: how many for each reason, and the newest of them.

    The name of a letter is that of the record which was refused, TOPIC/PARTITION/POSITION.

        claimtrace dead list --reason bad_json --from 2026-03-01
    """
    workspace: Workspace = ctx.obj
    counts: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], int] = {}
    kept: list[tuple[tuple[int, str], DeadLetter]] = []
    for letter in letters(workspace, _filter((), reason, topic, from_, to)):
        kind = letter.reason, letter.topic
        counts[kind] += 1
        newest[kind] = max(newest.get(kind, 0), letter.log_time_ms)
        _keep(kept, letter, limit)
    shown = [each for _, each in sorted(kept, key=lambda pair: pair[0], reverse=True)]
    tells = state or is_quick_to_tell(workspace)
    again = sent_again(workspace, shown) if tells and shown else set()
    if as_json:
        print_json({
            "reasons": [{"reason": r, "topic": t, "letters": n, "newest_ms": newest[r, t],
                         "hint": REASONS.get(r, "")} for (r, t), n in counts.most_common()],
            "letters": [_plain(each, again if tells else None) for each in shown],
        })  # fmt: skip
        return
    if not counts:
        out.print("no dead letter: nothing was refused, or nothing that meets these filters")
        return
    show_reasons(counts, newest)
    if shown:
        show_letters(shown, again)
        out.print("[dim]claimtrace dead show ID shows one, dead resend sends them again[/]")


@app.command()
def show(
    ctx: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="TOPIC/PARTITION/POSITION.")],
    to_file: Annotated[
        Path | None, typer.Option("--out", help="Write the value into a new file, to mend it.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Show all of the value.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: reason, hint, position, headers, and its bytes with escapes.

    To mend it, write its value into a file, edit that, and send it in place of the old one:

        claimtrace dead show claims.filed/0/491 --out claim.json

        claimtrace dead resend claims.filed/0/491 --with claim.json --yes
    """
    workspace: Workspace = ctx.obj
    letter = one_letter(workspace, check_id(wanted))
    if to_file is not None:
        _write(to_file, letter.value)
        err.print(f"wrote {len(letter.value):,} bytes into {safe(to_file)}")
        return
    tells = is_quick_to_tell(workspace)
    again = sent_again(workspace, [letter]) if tells else set()
    if as_json:
        print_json(_plain(letter, again if tells else None))
    else:
        show_letter(letter, whole=whole, was_sent=letter.id in again)


@app.command()
def resend(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Names of letters.")
    ] = None,
    reason: ReasonOption = None,
    topic: TopicOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    with_: Annotated[
        Path | None, typer.Option("--with", help="Send this file as the value; for one ID.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send; without it nothing is sent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send refused records again, each once; without --yes only show what would be sent.

    A record goes to its topic with its key and bytes, and with a header that names the dead letter
    (not on Kinesis, which has no headers). What was sent again before isn't sent once more, however
    often the command runs and wherever it was killed. A record that would be refused again stays
    where it is.

        claimtrace dead resend --reason unknown_schema --yes
    """
    workspace: Workspace = ctx.obj
    names = tuple(dict.fromkeys(map(check_id, ids or ())))
    _check_asked(names, every=every, filtered=bool(reason or topic or from_ or to))
    replacement = _replacement(with_, names)
    asked = _filter(names, reason, topic, from_, to)
    found = list(letters(workspace, asked))
    missing = sorted(set(names) - {each.id for each in found})
    if missing:
        raise UsageError("there is no such dead letter", where=missing[0],
                         hint="claimtrace dead list shows the newest")  # fmt: skip
    plan = plan_of(workspace, found, replacement)
    sent: set[str] = set()
    if yes:
        with progress("send", len(plan.records), quiet=as_json) as advance:
            sent = send(workspace, plan, lambda count: advance(count))
    if as_json:
        print_json({"dry_run": not yes, "would_send": [each.id for each in plan.letters],
                    "sent": sorted(sent), "sent_before": plan.before,
                    "left_out": plan.left_out})  # fmt: skip
        return
    show_plan(plan, sent if yes else None)


def _check_asked(names: Iterable[str], *, every: bool, filtered: bool) -> None:
    """Refuse a command that doesn't say which letters, or says it twice.

    Raises:
        UsageError: so it is.
    """
    ways = sum([bool(names), every, filtered])
    if ways == 0:
        raise UsageError("which dead letters?", where="dead resend",
                         hint="name them, or give --reason, --topic, --from, --to or --all",
                         )  # fmt: skip
    if ways > 1:
        raise UsageError("letters are named, or found by filters, or all", where="dead resend",
                         hint="give one of: IDs; filters; --all")  # fmt: skip


def _filter(
    names: tuple[str, ...], reason: list[str] | None, topic: str, from_: str, to: str
) -> LetterFilter:
    """Return the filter that options ask for.

    Raises:
        UsageError: a reason is none, or a time can't be read.
    """
    for each in reason or ():
        if each not in REASONS:
            raise UsageError(f"{each!r} is no reason", where="--reason",
                             hint="one of " + ", ".join(sorted(REASONS)))  # fmt: skip
    least, before = time_range(from_, to)
    return LetterFilter(ids=names, reasons=tuple(reason or ()), topic=topic, from_ms=least,
                        to_ms=before)  # fmt: skip


def _replacement(path: Path | None, names: tuple[str, ...]) -> bytes | None:
    """Return the value that a file gives, without the line end that editors put there.

    Raises:
        UsageError: there are several letters, or the file can't be read or is too large.
    """
    if path is None:
        return None
    if len(names) != 1:
        raise UsageError("--with replaces the value of one letter", where="--with",
                         hint="name exactly one ID")  # fmt: skip
    try:
        with path.open("rb") as file:
            content = file.read(MAX_VALUE_BYTES + 3)
    except OSError as error:
        raise UsageError(f"can't read the value: {error.strerror}", where=str(path)) from error
    value = content.removesuffix(b"\n").removesuffix(b"\r")
    if len(value) > MAX_VALUE_BYTES:
        raise UsageError(f"a value has at most {MAX_VALUE_BYTES // 1024} KiB", where=str(path))
    return value


def _keep(kept: list[Any], letter: DeadLetter, most: int) -> None:
    """Keep the newest letters, in bounded memory."""
    entry = ((letter.log_time_ms, letter.id), letter)
    if len(kept) < most:
        heapq.heappush(kept, entry)
    elif most:
        heapq.heappushpop(kept, entry)


def _write(path: Path, value: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(value)
    except FileExistsError:
        raise UsageError("this file exists already", where=str(path),
                         hint="name a new one") from None  # fmt: skip
    except FileNotFoundError:
        raise UsageError("there is no such folder", where=str(path.parent)) from None


def _plain(letter: DeadLetter, again: set[str] | None) -> dict[str, Any]:
    """Return a letter for JSON: bytes in base64; whether it was sent again, None: not known."""
    return {
        "id": letter.id, "topic": letter.topic, "partition": letter.partition,
        "position": letter.position, "log_time_ms": letter.log_time_ms,
        "dead_at": letter.dead_at, "reason": letter.reason, "field": letter.field,
        "detail": letter.detail, "hint": letter.hint, "file": letter.file, "row": letter.row,
        "sent_again": None if again is None else letter.id in again,
        "resent_as": letter.resent_as, "whole_bytes": letter.whole_bytes,
        "key_base64": None if letter.key is None else base64.b64encode(letter.key).decode(),
        "value_base64": base64.b64encode(letter.value).decode(),
        "headers": [[name, base64.b64encode(v).decode()] for name, v in letter.headers],
    }  # fmt: skip
