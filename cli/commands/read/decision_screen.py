"""Decisions on a screen: a line each, a table, or one of them whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import UNSET

from claimtrace.decisions import SealedDecision
from serving.reading.decision_row import DecisionRow

from ...console import hanging, out, safe, table
from ...times import when

COLORS: Final = {"refer": "red", "review": "yellow", "approve": "green"}
_LABEL: Final = 12
HEADER: Final = tuple(DecisionRow.__struct_fields__)


def show_table(rows: Iterable[DecisionRow]) -> None:
    """Print decisions as a table that fits the screen."""
    cells = [
        [when(r.log_time_ms), safe(r.claim_id), outcome_of(r.outcome), score_of(r.score),
         safe(model_of(r)), safe(", ".join([*r.rules, *r.flags]))]
        for r in rows
    ]  # fmt: skip
    table("", ["filed", "claim", "outcome", "score", "model", "rules, flags"], cells, under=1)


def line_of(row: DecisionRow) -> str:
    """Return a decision as one line with markup, as `decisions tail` prints it."""
    extra = ", ".join([*row.rules, *row.flags])
    return (
        f"{when(row.log_time_ms)}  {outcome_of(row.outcome, 7)}  {score_of(row.score):>6}  "
        f"{safe(row.claim_id):<16} [dim]{safe(model_of(row))}[/]" + (extra and f"  {safe(extra)}")
    ).rstrip()


def csv_text(rows: Iterable[DecisionRow], *, header: bool) -> str:
    """Return decisions as lines of CSV; several rules or flags stand in one cell with spaces.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in HEADER])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        value = " ".join(value)
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if is_formula else value


def outcome_of(outcome: str, width: int = 0) -> str:
    """Return an outcome with its colour."""
    return f"[bold {COLORS.get(outcome, 'white')}]{safe(outcome):<{width}}[/]"


def score_of(score: float | None) -> str:
    """Return a score for a table; a dash where the rules decided alone."""
    return "-" if score is None else f"{score:.4f}"


def model_of(row: DecisionRow) -> str:
    """Return the model of a decision, and its arm where a roll-out was in force."""
    name = "rules alone" if row.model is None else f"{row.model}/{row.model_version}"
    return name if row.arm is None else f"{name} ({row.arm})"


def show_whole(sealed: bytes) -> None:
    """Print one decision: verdict, reasons, rules, what it was made with, and its proof."""
    found = msgspec.json.decode(sealed, type=SealedDecision)
    score = "rules alone" if found.score is None else f"score {found.score:.4f}"
    out.print(f"[bold]{safe(found.claim_id)}[/]  {outcome_of(found.outcome)}  {score}")
    for label, text in _facts(found):
        hanging(f"  {label:<{_LABEL}}", text, _LABEL + 2)
    if found.rules:
        out.print("[bold]rules that fired[/]")
        for hit in found.rules:
            hanging(f"  [magenta]{'rule':<{_LABEL}}[/]", f"{safe(hit.text)} ({safe(hit.rule)})",
                    _LABEL + 2)  # fmt: skip
    if found.reasons:
        out.print("[bold]reasons[/] [dim](share of the margin)[/]")
        for reason in found.reasons:
            hanging(f"  [cyan]{reason.contribution:<+{_LABEL}.2f}[/]", safe(reason.text),
                    _LABEL + 2)  # fmt: skip
    elif found.outcome != "refer":
        out.print("[dim]reasons are sealed for referred claims only[/]")
    for other in found.shadow:
        verdict = f"{safe(other.model.label)}: {outcome_of(other.outcome)} {score_of(other.score)}"
        hanging(f"  {safe(other.role):<{_LABEL}}", verdict, _LABEL + 2)


def _facts(found: SealedDecision) -> list[tuple[str, str]]:
    model = "none: the rules decided alone" if found.model is None else safe(found.model.label)
    limit = "" if found.threshold is None else f"refers from {found.threshold:.4f}"
    facts = [
        ("domain", safe(found.policy)),
        ("happened", when(found.event_time_ms)),
        ("filed", when(found.log_time_ms)),
        ("band", f"{safe(found.band)}{limit and ', ' + limit}"),
        ("model", model),
        ("flags", safe(", ".join(found.flags))),
        ("log", safe(f"{found.topic}/{found.partition} position {found.position}")),
        ("decision", safe(found.decision_id)),
        ("features", f"{len(found.features)}, hash {safe(found.feature_hash)}"),
        ("definitions", safe(found.definitions[:16])),
        ("rules", safe(found.rules_digest[:16])),
        ("chain", safe(found.chain)),
    ]
    if found.arm is not UNSET and found.rollout is not UNSET:
        facts.insert(5, ("arm", safe(f"{found.arm} of {found.rollout.label}")))
    return [(label, text) for label, text in facts if text]
