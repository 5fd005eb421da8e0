"""The evidence for a decision as text for the terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...console import indented, out, safe, table

if TYPE_CHECKING:
    from serving.evidence.evidence import CountedRow, Evidence, FeatureEvidence, WhatIf

_COLORS = {"refer": "red", "review": "yellow", "approve": "green"}


def show_evidence(found: Evidence, rows: int) -> None:
    """Print the evidence; at most `rows` rows of each feature, 0: all."""
    _show_decision(found)
    _show_reasons(found)
    _show_rules(found)
    _show_rows(found, rows)
    _show_model(found)
    _show_proof(found)
    if found.what_if is not None:
        _show_what_if(found, found.what_if)


def _show_decision(found: Evidence) -> None:
    scored = f"score {found.score:.4f}" if found.score is not None else "no model"
    flags = f" [dim]{safe(', '.join(found.flags))}[/]" if found.flags else ""
    out.print(f"[bold]{safe(found.claim_id)}[/] [bold {_COLORS[found.outcome]}]{found.outcome}[/] "
              f"{scored}{flags}")  # fmt: skip
    out.print(f"[dim]happened {_time(found.event_time_ms)}, on the log {_time(found.known_time_ms)}"
              f", {safe(found.topic)}/{found.partition} position {found.position}[/]")  # fmt: skip
    if not found.as_of.is_decision:
        out.print(f"[yellow]as known on another day: after plan {found.as_of.plan}, newest record "
                  f"{_time(found.as_of.known_time_ms)}[/]")  # fmt: skip


def _show_reasons(found: Evidence) -> None:
    if not found.reasons:
        out.print("\nno reasons: there was no model to score it")
        return
    origin = "sealed with the decision" if found.reasons_sealed else "computed again"
    out.print(f"\n[bold]Reasons[/] [dim]{origin}; they and the rest sum to the margin[/]")
    lines = [(f"[cyan]{r.contribution:+.2f}[/]", safe(r.text)) for r in found.reasons]
    if found.rest_margin is not None and found.base_margin is not None:
        lines.append((f"[dim]{found.rest_margin:+.2f}[/]", "[dim]all other features[/]"))
        lines.append((f"[dim]{found.base_margin:+.2f}[/]", "[dim]before any feature[/]"))
    indented(lines)


def _show_rules(found: Evidence) -> None:
    if not found.rules:
        return
    out.print("\n[bold]Rules[/]")
    lines = []
    for rule in found.rules:
        read = ", ".join(
            f"{o.name} is {_number(o.value)}" for o in rule.operands if not o.is_constant
        )
        state = f"[magenta]{rule.outcome}[/]" if rule.fired else "[dim]no[/]"
        lines.append((state, f"{safe(rule.text)} [dim]{safe(rule.condition)}: {safe(read)}[/]"))
    indented(lines)


def _show_rows(found: Evidence, most: int) -> None:
    counted = [each for each in found.features if each.rows or each.note]
    counted.sort(key=lambda each: -abs(each.contribution or 0.0))
    if not counted:
        return
    out.print("\n[bold]What the features counted[/] [dim]the weightiest first[/]")
    for feature in counted:
        _show_feature(feature, most)


def _show_feature(feature: FeatureEvidence, most: int) -> None:
    weight = f" [cyan]{feature.contribution:+.2f}[/]" if feature.contribution is not None else ""
    wrong = " [bold red]the rows don't give this value[/]" if feature.agrees is False else ""
    out.print(f"{weight} {safe(feature.name)} = [bold]{_number(feature.value)}[/] "
              f"[dim]{safe(feature.how)}[/]{wrong}".strip())  # fmt: skip
    if feature.note:
        out.print(f"    [dim]{safe(feature.note)}[/]")
        return
    shown = feature.rows[:most] if most else feature.rows
    indented([(_time(row.event_time_ms), _row(row)) for row in shown])
    if len(shown) < len(feature.rows):
        out.print(f"    [dim]and {len(feature.rows) - len(shown):,} earlier; --rows 0 shows all[/]")


def _row(row: CountedRow) -> str:
    parts = [safe(row.claim_id)]
    if row.is_current:
        parts = [f"[bold]{parts[0]}[/] (this claim)"]
    if row.amount_cents is not None:
        parts.append(f"{row.amount_cents / 100:,.2f}")
    if row.value is not None and row.value != row.amount_cents and row.kind == "claim":
        parts.append(_number(row.value))
    if row.text:
        parts.append(safe(row.text))
    if row.kind == "profile":
        parts.append("profile")
    if row.outcome:
        since = f" since {_time(row.outcome_known_ms)}" if row.outcome_known_ms is not None else ""
        parts.append(f"{row.outcome}{since}")
    return "  ".join(parts)


def _show_model(found: Evidence) -> None:
    model = found.model
    if model is None:
        return
    out.print(f"\n[bold]Model[/] {safe(model.ref.name)}/{model.ref.version} "
              f"[dim]{model.ref.digest[:12]}; review from {model.review:.4f}, refer from "
              f"{model.refer:.4f}[/]")  # fmt: skip
    lines = []
    for word, act in (("approved", model.approved), ("in charge", model.live)):
        if act is not None:
            lines.append((word, f"by {safe(act.actor)}, {_time(act.at_ms)}: {safe(act.reason)}"))
    indented(lines or [("approved", "by nobody; a roll-out's model, or one put in charge later")])


def _show_proof(found: Evidence) -> None:
    again = found.recomputed
    out.print("\n[bold]Proof[/]")
    if again.same is None:
        told = "[yellow]recomputed: nothing to compare with[/]"
    elif again.same and not again.differing:
        told = "[green]recomputed: same hash[/]"
    elif again.same:
        told = f"[red]recomputed: same hash, but {safe(', '.join(again.differing))} differ[/]"
    elif not found.as_of.is_decision:
        told = "[yellow]another day: another hash than the sealed one[/]"
    else:
        told = "[bold red]recomputed: ANOTHER hash than the sealed one[/]"
    lines = [("vector", f"{told} [dim]{again.feature_hash[:16]}, from {again.records:,} of "
                        f"{again.of_records:,} records[/]")]  # fmt: skip
    if found.chain is not None:
        chain = found.chain
        place = f"{chain.topic}/{chain.partition} position {chain.position}"
        holds = "[green]holds[/]" if chain.holds else "[bold red]IS BROKEN[/]"
        behind = {True: ", and so does the next", False: ", [bold red]the next is broken[/]",
                  None: ", the newest"}[chain.next_holds]  # fmt: skip
        lines.append(
            ("chain", f"{place}: its link {holds}{behind} [dim]{safe(chain.chain[:16])}[/]")
        )
    indented(lines)
    if found.missing:
        word = "incomplete" if not found.complete else "note"
        out.print(f"[bold yellow]Evidence {word}[/]")
        indented([("-", safe(each)) for each in found.missing])


def _show_what_if(found: Evidence, thought: WhatIf) -> None:
    out.print("\n[bold]What if[/]")
    lines = [[safe(name), safe(bytes(now).decode()), safe(bytes(then).decode())]
             for name, (now, then) in thought.fields.items()]  # fmt: skip
    lines.append(["outcome", found.outcome, thought.outcome])
    lines.append(["score", _score(found.score), _score(thought.score)])
    fired = [rule.rule for rule in found.rules if rule.fired]
    lines.append(["rules", safe(", ".join(fired)) or "none", safe(", ".join(thought.rules))
                  or "none"])  # fmt: skip
    lines += [[safe(t.name), _number(t.now), _number(t.then)] for t in thought.features]
    table("", ["", "now", "then"], lines)
    if thought.outcome == "approve":
        return
    if not thought.smallest:
        out.print("no change of one field alone gives a milder outcome, as far as was searched")
        return
    best = thought.smallest[0]
    share = f" ({best.share:.1%})" if best.share is not None else ""
    out.print(f"the smallest single change: {safe(best.field)} {safe(bytes(best.now).decode())} -> "
              f"{safe(bytes(best.then).decode())}{share} gives {best.outcome}, score "
              f"{_score(best.score)}")  # fmt: skip
    for other in thought.smallest[1:4]:
        out.print(f"[dim]or {safe(other.field)} -> {safe(bytes(other.then).decode())}: "
                  f"{other.outcome}[/]")  # fmt: skip


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"


def _number(value: float | None) -> str:
    if value is None:
        return "missing"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
