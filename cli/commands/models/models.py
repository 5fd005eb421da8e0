"""`claimtrace train` and `claimtrace models`: from logged vectors to the model in charge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe, table
from ...wiring.workspace import CHAMPION, Session

app = typer.Typer(help="The registry: versions, who approved what, and what was live when.")


def train(
    ctx: typer.Context,
    capacity: Annotated[
        float | None, typer.Option(help="Claims that can be investigated in a day.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fit a model on the vectors that were served and the outcomes known now, and publish it.

    The split is by time and by policy; thresholds come from the capacity; the new version becomes
    champion when it beats the one in charge on claims that neither has seen.
    """
    report = run_training(ctx.obj, capacity, quiet=as_json)
    if as_json:
        print_json(report)
        return
    show_report(report)


def run_training(session: Session, capacity: float | None = None, *, quiet: bool = False) -> Any:
    """Train and publish; returns the report."""
    import msgspec

    from training.pipeline import STEPS
    from training.pipeline import train as run

    settings = session.settings
    if capacity is not None:
        review = max(settings.decision.review_per_day, 4 * capacity)
        decision = msgspec.structs.replace(
            settings.decision, capacity_per_day=capacity, review_per_day=review
        )
        settings = msgspec.structs.replace(settings, decision=decision)
    with progress("train", len(STEPS), quiet=quiet) as advance:
        done: set[str] = set()

        def told(step: str, at: int, total: int) -> None:
            fresh = step not in done
            done.add(step)
            advance(int(fresh), f"{step} {at}/{total}")

        now_ms = session.clock.now_ms()
        return run(session.offline, session.registry, settings, at_ms=now_ms, progress=told)


def show_report(report: Any) -> None:
    """The verdict and the tables of a training run."""
    from training.report import tables_of

    state = "[bold green]promoted[/]" if report.promoted else "[bold yellow]not promoted[/]"
    out.print(f"model [bold]{report.model.label}[/] {state}: "
              f"{safe(report.verdict.words)}")  # fmt: skip
    for each in tables_of(report):
        out.print()
        rows = [[safe(cell) for cell in row] for row in each.rows]
        table(each.title, each.header, rows)
    for note in report.notes:
        out.print(f"[yellow]{safe(note)}[/]")


@app.callback(invoke_without_command=True)
def list_models(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the versions and which of them is champion."""
    if ctx.invoked_subcommand is not None:
        return
    registry = ctx.obj.registry
    aliases = {version: name for name, version in registry.aliases().items()}
    found = []
    for ref in registry.versions():
        manifest = registry.load(ref).manifest
        found.append((ref, manifest, aliases.get(ref.version, "")))
    if as_json:
        print_json([{"model": ref, "alias": alias, "created_at_ms": m.created_at_ms,
                     "metrics": m.metrics} for ref, m, alias in found])  # fmt: skip
        return
    if not found:
        out.print("no model yet; [dim]claimtrace train[/] makes one")
        return
    rows = [
        [ref.label, alias, _when(m.created_at_ms), ref.digest[:12],
         f"{m.thresholds.refer:.4f}", f"{m.capacity_per_day:g}"]
        for ref, m, alias in found
    ]  # fmt: skip
    table("", ["model", "alias", "made", "digest", "refer at", "a day"], rows)


@app.command()
def history(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Everything that happened to the models: who, when, why."""
    entries = ctx.obj.registry.history()
    if as_json:
        print_json(entries)
        return
    rows = [
        [str(e.number), _when(e.at_ms), e.act, str(e.version or ""), e.alias or "", safe(e.actor),
         safe(e.reason)]
        for e in entries
    ]  # fmt: skip
    table("", ["", "when", "what", "version", "alias", "who", "why"], rows)


@app.command("live-at")
def live_at(
    ctx: typer.Context,
    when: Annotated[str, typer.Argument(help="A time, such as 2026-03-01T12:00:00Z.")],
    alias: Annotated[str, typer.Option(help="Which alias.")] = CHAMPION,
) -> None:
    """Which model was live at a time, and who had approved it."""
    try:
        time = datetime.fromisoformat(when)
    except ValueError:
        raise UsageError(f"{when!r} is no time", hint="write 2026-03-01T12:00:00Z") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    entry = ctx.obj.registry.live_at(alias, round(time.timestamp() * 1000))
    if entry is None:
        out.print(f"no {safe(alias)} was live then")
        return
    out.print(f"{alias} was version [bold]{entry.version}[/] since {_when(entry.at_ms)}, approved "
              f"by {safe(entry.actor)}: {safe(entry.reason)}")  # fmt: skip


@app.command()
def promote(
    ctx: typer.Context,
    version: Annotated[int, typer.Argument(help="The version to put in charge.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the approvals log.")],
    actor: Annotated[str, typer.Option(help="Who decides.")] = "command line",
) -> None:
    """Put a version in charge by hand; also the way back to an older one."""
    session: Session = ctx.obj
    session.registry.move_alias(
        CHAMPION, version, actor=actor, reason=reason, at_ms=session.clock.now_ms()
    )
    out.print(f"{session.domain.name}/{version} is champion; the stream takes it at its next batch")


@app.command()
def check(ctx: typer.Context) -> None:
    """Prove that no version and no line of the approvals log was changed."""
    found = ctx.obj.registry.verify()
    for line in found:
        out.print(f"[red]{safe(line)}[/]")
    if found:
        raise typer.Exit(1)
    out.print("[green]nothing was changed[/]")


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
