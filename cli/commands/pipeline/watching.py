"""Looks for triggers, and runs of the pipeline when one asks for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from claimtrace.clock import duration_ms
from claimtrace.decisions import ModelRef
from claimtrace.errors import ClaimtraceError, StateError
from training.orchestration.triggers import Known, PastRun, Trigger, alerts_of, decide

from ...console import out, print_json, safe, show_error
from ...mistakes import check_writable
from ...wiring.pipeline_runs import PipelineRuns, code_digest
from ...wiring.workspace import CHAMPION, Workspace
from .running import Asked, run_pipeline, runs_of

if TYPE_CHECKING:
    from monitoring.layers.records import DriftRecord
    from training.orchestration.record import RunRecord


class Terminated(BaseException):
    """SIGTERM: the watch ends; a run that is under way goes on at the next look."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look: what spoke for a run, and what became of it.

    `outcome` is `nothing`, `held`, `run` (one has ended), `failed` or `busy` (another runs).
    """

    at_ms: int
    outcome: str
    triggers: list[Trigger]
    run: str = ""
    words: str = ""


def watch_runs(workspace: Workspace, *, once: bool, as_json: bool) -> int:
    """Look again and again, or once; returns the exit code."""
    runs = runs_of(workspace)
    _ = workspace.domain  # one that can't be had leaves no folder behind
    check_writable(runs.folder)
    every_s = duration_ms(workspace.settings.pipeline.look_every) / 1000
    told: tuple[str, list[Trigger]] | None = None
    try:
        with _ends_by_sigterm(), runs.watch_lock():
            while True:
                each = _look(workspace, runs, quiet=as_json)
                news = (each.outcome, each.triggers)
                if once or (each.outcome != "nothing" and news != told):
                    _tell(each, as_json)
                told = news
                if once:
                    return 1 if each.outcome == "failed" else 0
                workspace.clock.sleep(every_s)
    except Terminated:
        return 0


@contextmanager
def _ends_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the watch: `Terminated` is raised where it is."""

    def stop(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _look(workspace: Workspace, runs: PipelineRuns, *, quiet: bool) -> Look:
    """Decide, and run the pipeline if that is what was decided; a run that failed is told."""
    now_ms = workspace.clock.now_ms()
    records = runs.records()
    left = next((r for r in records[:1] if r.state == "running"), None)
    if left is not None and runs.is_running:
        return Look(at_ms=now_ms, outcome="busy", triggers=[], run=left.run)
    triggers = [] if left is not None else decide(
        now_ms, known_of(workspace, records, now_ms), workspace.settings.pipeline
    )  # fmt: skip
    firing = [each for each in triggers if not each.held]
    if left is None and not firing:
        return Look(at_ms=now_ms, outcome="held" if triggers else "nothing", triggers=triggers)
    asked = Asked(settings=workspace.settings, triggers=firing, run=left.run if left else None,
                  is_new=left is None)  # fmt: skip
    if not quiet:
        why = "an interrupted run goes on" if left else "; ".join(each.words for each in firing)
        out.print(f"{_time(now_ms)} begins: {safe(why)}", soft_wrap=True)
    try:
        ran = run_pipeline(workspace, asked, quiet=quiet)
    except ClaimtraceError as error:
        if not quiet:
            show_error(error)
        name = next(iter(runs.names()), "")
        return Look(at_ms=now_ms, outcome="failed", triggers=triggers, run=name, words=str(error))
    made = ran.record.published
    state = "promoted" if ran.record.promoted else "not promoted"
    return Look(at_ms=now_ms, outcome="run", triggers=triggers, run=ran.record.run,
                words=f"{made.label}, {state}" if made else state)  # fmt: skip


def known_of(workspace: Workspace, records: list[RunRecord], now_ms: int) -> Known:
    """Collect what triggers are decided by: from the registry, the store and earlier runs.

    A store or registry without anything yet speaks for nothing.
    """
    from featurestore.offline.tables import DECISIONS, LABELS, newest_digest_query
    from training.orchestration.questions import (
        delay_ms_of,
        new_labels_query,
        unlearned_from_ms,
    )

    ref = workspace.registry.alias(CHAMPION)
    manifest = workspace.registry.load(ref).manifest if ref is not None else None
    past = [
        PastRun(started_ms=r.started_ms, is_done=r.state == "done",
                evidence=frozenset(t.evidence for t in r.triggers if t.evidence))
        for r in records
    ]  # fmt: skip
    definitions, labels, frauds = "", 0, 0
    tables = workspace.offline.tables()
    if DECISIONS in tables:
        newest = workspace.offline.sql(newest_digest_query())
        definitions = newest["definitions"][0].as_py() if newest.num_rows else ""
    if definitions and LABELS in tables:
        same = manifest is not None and manifest.definitions == definitions
        from_ms = unlearned_from_ms(manifest) if manifest is not None and same else 0
        mature_ms = now_ms - (delay_ms_of(manifest) if manifest is not None else 0)
        counts = workspace.offline.sql(new_labels_query(definitions, from_ms, mature_ms, now_ms))
        labels, frauds = int(counts["labels"][0].as_py()), int(counts["frauds"][0].as_py())
    made_by = next((r for r in records if ref is not None and r.published == ref), None)
    drift = workspace.settings.drift
    return Known(
        champion=ref.label if ref is not None else "",
        champion_made_ms=manifest.created_at_ms if manifest is not None else 0,
        champion_code=made_by.code if made_by is not None else "",
        champion_definitions=manifest.definitions if manifest is not None else "",
        code=code_digest(),
        definitions=definitions,
        new_labels=labels,
        new_frauds=frauds,
        alerts=alerts_of(_drift_of(workspace, ref, tables), drift.alert_m, drift.alert_n),
        runs=past,
    )


def _drift_of(
    workspace: Workspace, ref: ModelRef | None, tables: dict[str, int]
) -> list[DriftRecord]:
    """Read the champion's drift records, as the stream has stored them."""
    from featurestore.offline.tables import DRIFT
    from monitoring.layers.records import DriftRecord
    from training.orchestration.questions import drift_query

    if ref is None or DRIFT not in tables:
        return []
    rows = workspace.offline.sql(drift_query(ref.name, ref.version))["record_json"].to_pylist()
    try:
        return [msgspec.json.decode(row, type=DriftRecord) for row in rows]
    except msgspec.MsgspecError as error:
        raise StateError(
            f"a drift record can't be read: {error}",
            where=DRIFT,
            hint="set pipeline.on_alert = false to go on without",
        ) from error


def _tell(each: Look, as_json: bool) -> None:
    if as_json:
        print_json(each)
        return
    held = [f"{t.words} (held: {t.held})" if t.held else t.words for t in each.triggers]
    what = {
        "nothing": "nothing asks for a run",
        "held": "held",
        "busy": f"run {each.run} is under way",
        "run": f"run {each.run} has ended: {each.words}",
        "failed": f"run {each.run} failed: {each.words}",
    }[each.outcome]
    words = f"{what}: {'; '.join(held)}" if each.outcome == "held" else what
    out.print(f"{_time(each.at_ms)} {safe(words)}", soft_wrap=True)


def _time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
