"""Runs of the pipeline as people and programs see them."""

from __future__ import annotations

from datetime import UTC, datetime

from training.orchestration.graph import ancestors_of
from training.orchestration.record import RunRecord, StepRecord

from ...console import out, print_json, program, safe, table
from ...wiring.workspace import Workspace
from .running import runs_of

INTERRUPTED = "interrupted"
NONE = "no run yet; [dim]claimtrace pipeline run[/] begins one"
_COLOURS = {"done": "green", "failed": "red", "running": "cyan", INTERRUPTED: "yellow"}


def show_status(workspace: Workspace, name: str | None, *, as_json: bool) -> None:
    """Show one run, the newest unless one is named."""
    runs = runs_of(workspace)
    record = next(iter(runs.records()), None) if name is None else runs.record(name)
    is_running = runs.is_running
    if as_json:
        running = is_running and record is not None and record.state == "running"
        print_json({"run": record, "is_running": running})
    elif record is None:
        out.print(NONE)
    else:
        show_record(record, is_running=is_running)


def show_list(workspace: Workspace, *, as_json: bool) -> None:
    """List the runs, the newest first."""
    runs = runs_of(workspace)
    records, is_running = runs.records(), runs.is_running
    if as_json:
        print_json(records)
        return
    if not records:
        out.print(NONE)
        return
    rows = [
        [safe(record.run), coloured(state_of(record, is_running)), when(record.at_ms),
         _took(record.started_ms, record.ended_ms), _made(record), _why(record)]
        for record in records
    ]  # fmt: skip
    table("", ["run", "state", "as of", "took", "model", "begun for"], rows, under=1)


def show_record(record: RunRecord, *, is_running: bool) -> None:
    """Print a run with its steps, and what to do next."""
    state = state_of(record, is_running)
    out.print(f"run [bold]{safe(record.run)}[/] {coloured(state)}, as of {when(record.at_ms)}",
              soft_wrap=True)  # fmt: skip
    for trigger in record.triggers:
        out.print(f"  begun for: {safe(trigger.words)}", soft_wrap=True)
    rows = [
        [safe(row.name), _state(row, state), _took(row.started_ms, row.ended_ms),
         safe(", ".join(_nearest(row, record))), safe(row.words)]
        for row in record.steps
    ]  # fmt: skip
    table("", ["step", "state", "took", "needs", ""], rows, under=1)
    if record.published is not None:
        promoted = "promoted" if record.promoted else "not promoted"
        out.print(f"model {safe(record.published.label)}, {promoted}")
    if words := what_to_do(record, state):
        out.print(f"[dim]{safe(words)}[/]", soft_wrap=True)


def state_of(record: RunRecord, is_running: bool) -> str:
    """Return the state of a run: one that nobody runs any more was interrupted."""
    return INTERRUPTED if record.state == "running" and not is_running else record.state


def what_to_do(record: RunRecord, state: str) -> str:
    """Return what a person can do next about a run; empty when it is done."""
    again = f"{program()} pipeline run --run {record.run}"
    if state == INTERRUPTED:
        return f"it goes on where it was: {again}"
    if state == "failed":
        name = record.failed.name if record.failed else "a step"
        return f"{name} failed; when the cause is mended, it goes on from there: {again}"
    return ""


def coloured(state: str) -> str:
    """Return a state with its colour."""
    return f"[{_COLOURS.get(state, 'default')}]{state}[/]"


def when(time_ms: int) -> str:
    """Return a time for people, in UTC."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _nearest(row: StepRecord, record: RunRecord) -> list[str]:
    """Return what a step needs, without what these steps need themselves."""
    needs = {each.name: each.needs for each in record.steps}
    further = {name for each in row.needs for name in ancestors_of(each, needs)}
    return [each for each in row.needs if each not in further]


def _state(row: StepRecord, run_state: str) -> str:
    if row.state == "running" and run_state == INTERRUPTED:
        return coloured(INTERRUPTED)
    return "[green]cached[/]" if row.cached and row.state == "done" else coloured(row.state)


def _took(started_ms: int, ended_ms: int) -> str:
    return f"{(ended_ms - started_ms) / 1000:,.1f} s" if ended_ms and started_ms else ""


def _made(record: RunRecord) -> str:
    if record.published is None:
        return ""
    return safe(record.published.label) + (", promoted" if record.promoted else "")


def _why(record: RunRecord) -> str:
    return safe("; ".join(trigger.words for trigger in record.triggers) or "a person")
