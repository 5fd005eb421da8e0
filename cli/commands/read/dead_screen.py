"""Dead letters on a screen; every text of theirs is hostile, and shown with escapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from claimtrace.refusals import REASONS
from serving.reading.dead_letter import DeadLetter, shown_bytes

from ...console import hanging, out, safe, table
from ...times import when
from .resending import Plan

_LABEL: Final = 10
_SHOWN_BYTES: Final = 1_000
_SHOWN_LETTERS: Final = 10


def show_reasons(counts: Counter[tuple[str, str]], newest: Mapping[tuple[str, str], int]) -> None:
    """Print how many letters each reason has, the most frequent first."""
    rows = [
        [safe(reason) or "?", safe(topic), when(newest[reason, topic]), f"{count:,}"]
        for (reason, topic), count in counts.most_common()
    ]
    table("", ["reason", "topic", "newest", "letters"], rows, numbers=1)
    for reason in dict.fromkeys(reason for (reason, _), _ in counts.most_common()):
        if reason in REASONS:
            hanging(f"  [dim]{reason}:[/] ", safe(REASONS[reason]), len(reason) + 4)


def show_letters(letters: Iterable[DeadLetter], again: set[str]) -> None:
    """Print letters as a table."""
    rows = [
        [safe(each.id), safe(each.reason), when(each.log_time_ms),
         "sent again" if each.id in again else "refused again" if each.resent_as else "",
         safe(" ".join(filter(None, [each.field, each.detail])))]
        for each in letters
    ]  # fmt: skip
    out.print()
    table("", ["id", "reason", "filed", "state", "about"], rows, under=1)


def show_letter(letter: DeadLetter, *, whole: bool, was_sent: bool) -> None:
    """Print one letter, its bytes with escapes."""
    state = "  [green]sent again[/]" if was_sent else ""
    out.print(f"[bold]{safe(letter.id)}[/]  [bold red]{safe(letter.reason) or '?'}[/]{state}")
    facts = [
        ("field", letter.field), ("detail", letter.detail), ("fix", letter.hint),
        ("filed", when(letter.log_time_ms)), ("row", f"{letter.file} row {letter.row}" * bool(
            letter.file)),
        ("letter", f"claims.dead/{letter.dead_at[0]} position {letter.dead_at[1]}"),
        ("sent for", letter.resent_as),
        ("key", "" if letter.key is None else shown_bytes(letter.key, _SHOWN_BYTES)),
    ]  # fmt: skip
    facts += [(shown_bytes(name.encode(errors="replace"), 40), shown_bytes(value, _SHOWN_BYTES))
              for name, value in letter.headers]  # fmt: skip
    for label, text in facts:
        if text:
            width = max(_LABEL, len(label) + 1)
            hanging(f"  [dim]{safe(label):<{width}}[/]", safe(text), width + 2)
    size = len(letter.value) if letter.whole_bytes is None else letter.whole_bytes
    out.print(f"[bold]value[/] [dim]({size:,} bytes)[/]")
    out.print(safe(shown_bytes(letter.value, len(letter.value) if whole else _SHOWN_BYTES)),
              soft_wrap=not out.is_terminal)  # fmt: skip
    if len(letter.value) > _SHOWN_BYTES and not whole:
        out.print(f"[dim]the first {_SHOWN_BYTES:,} bytes; --whole shows all[/]")
    if letter.whole_bytes is not None:
        out.print(
            f"[dim]only the first {len(letter.value):,} bytes were kept; the input has all[/]"
        )


def show_plan(plan: Plan, sent: set[str] | None) -> None:
    """Print what is, or would be, sent again; `sent` is None for a dry run."""
    if sent is None:
        _names(f"[bold]{len(plan.letters):,}[/] would be sent again", (x.id for x in plan.letters))
    else:
        _names(f"[bold green]{len(sent):,}[/] sent again", sorted(sent))
    if plan.before:
        _names(f"[dim]{len(plan.before):,} were sent again before[/]", plan.before)
    by_why = Counter(plan.left_out.values())
    for why, count in by_why.most_common(_SHOWN_LETTERS):
        names = [name for name, each in plan.left_out.items() if each == why]
        _names(f"[yellow]{count:,}[/] left out: {safe(why)}", names)
    if len(by_why) > _SHOWN_LETTERS:
        out.print(
            f"[dim]{len(by_why) - _SHOWN_LETTERS:,} more kinds are left out; --json has all[/]"
        )
    if sent is None and plan.letters:
        out.print("[bold]nothing was sent[/]: --yes sends them")


def _names(title: str, names: Iterable[str]) -> None:
    found = list(names)
    out.print(title, soft_wrap=True)
    for name in found[:_SHOWN_LETTERS]:
        out.print(f"  {safe(name)}", soft_wrap=True)
    if len(found) > _SHOWN_LETTERS:
        out.print(f"  [dim]and {len(found) - _SHOWN_LETTERS:,} more[/]")
