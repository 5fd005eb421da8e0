"""One start of a run of the pipeline: a new one, or one that goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from claimtrace.errors import ClaimtraceError, StateError, UsageError
from claimtrace.settings.schema import Settings
from training.orchestration.declared import DECLARED, Uses
from training.orchestration.graph import needs_of
from training.orchestration.record import RunRecord, check_run_name, new_steps, run_name
from training.orchestration.runner import Observe, Runner, unobserved

from ...console import err, program, progress, safe
from ...mistakes import check_writable
from ...wiring.pipeline_runs import PipelineRuns, code_digest
from ...wiring.train_options import limits_of, search_of
from ...wiring.workspace import Workspace
from ..models.train import step_progress, write_scores

if TYPE_CHECKING:
    from training.orchestration.triggers import Trigger
    from training.report import TrainingReport
    from training.run import TrainingRun

SECTIONS: Final = ("training", "decision", "drift", "pipeline")
"""The sections of the settings that a run depends on; its record has them."""
ACTOR: Final = "claimtrace pipeline"
_SCORES: Final = Uses(("dataset", "split", "margins", "probabilities"), ())
"""For what the step waits; it isn't declared to the runner, so the file is written each time."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The wishes for one start of a run.

    Attributes:
        settings: with the values of the options in their place.
        at_ms: only what was known by then; None: now.
        run: the run's id; None: the newest one if it was interrupted, else a new one.
        is_new: always begin a new run.
        only: run one step of it; None: all.
        scores: file for the scores of all claims.
        mitigate: whether ways to lessen bias are compared.
        triggers: what it is begun for.
        options: whether any option or parameter was given, so that a run that goes on must agree.
    """

    settings: Settings
    at_ms: int | None = None
    run: str | None = None
    is_new: bool = False
    only: str | None = None
    scores: Path | None = None
    mitigate: bool = False
    triggers: Sequence[Trigger] = field(default_factory=list)
    options: bool = False


@dataclass(frozen=True)
class Ran:
    """A start of a run that has ended: its record, and the report of a run that has published."""

    record: RunRecord
    report: TrainingReport | None


def runs_of(workspace: Workspace) -> PipelineRuns:
    """Return the records and results of the workspace's pipeline."""
    return PipelineRuns(workspace.folder / "pipeline")


def run_pipeline(
    workspace: Workspace, asked: Asked, *, quiet: bool = False, observe: Observe = unobserved
) -> Ran:
    """Run the pipeline, or let a run go on.

    Raises:
        UsageError, ConfigError: what is asked for can't be done.
        StateError: another run is under way, or the champion was changed meanwhile.
    """
    from training.pipeline import begin, report_of, steps_of

    if asked.run is not None:
        check_run_name(asked.run)
    if workspace.models_folder is not None:
        check_writable(workspace.models_folder)
    check_writable(workspace.folder / "pipeline")
    runs = runs_of(workspace)
    found = _found(runs, asked)
    if found is None:
        _check_store(workspace)
    if found is not None and found.state == "done":
        _check_agrees(found, asked, workspace)
        return Ran(found, None)
    with runs.lock():
        found = _found(runs, asked)  # as it is now that nobody else runs it
        names = [name for name, _ in steps_of(mitigate=asked.mitigate)]
        record = found or _new_record(workspace, asked, names)
        if found is not None:
            _check_agrees(found, asked, workspace)
            _tell_of(found, quiet)
        steps = steps_of(mitigate=any(row.name == "mitigate" for row in record.steps))
        if asked.scores is not None:
            path = asked.scores
            steps.append(("scores", lambda run: write_scores(run, path)))
            _add_step(record, steps)
        with progress("pipeline", len(steps), quiet=quiet) as advance:
            settings = _settings_of(record, workspace)
            run = begin(
                workspace.offline, workspace.registry, settings,
                at_ms=record.at_ms, now_ms=record.now_ms, progress=step_progress(steps, advance),
                actor=record.actor, domain=workspace.domain, run_id=record.run,
                known_definitions={
                    workspace.domain.definitions_digest: workspace.feature_digests
                },
                search=search_of(workspace, settings, record.at_ms),
                limits=limits_of(settings.training.contract_file),
            )  # fmt: skip
            record.starts += 1
            record.state, record.code, record.ended_ms = "running", code_digest(), 0
            runner = Runner(
                run, record, runs, workspace.clock.now_ms, _conditions(run.settings),
                observe=observe,
            )  # fmt: skip
            try:
                if asked.only is None:
                    runner.run_all(steps)
                else:
                    runner.run_one(asked.only, steps)
            except ClaimtraceError:
                _tell_failed(record, quiet)
                raise
        _sum_up(record, run)
        runs.save(record)
        runs.tidy(record.settings["pipeline"]["keep_runs"])
    return Ran(record, report_of(run) if _is_whole(run, record) else None)


def _found(runs: PipelineRuns, asked: Asked) -> RunRecord | None:
    """Return the run that is to go on; None if a new one is to begin."""
    if asked.run is not None:
        found = runs.find(asked.run)
        if found is not None and asked.is_new:
            raise UsageError(f"there is a run {asked.run} already", where="--run, --new",
                             hint="leave --new out to let it go on")  # fmt: skip
        return found
    if asked.is_new:
        return None
    newest = next(iter(runs.records()), None)
    return newest if newest is not None and newest.state == "running" else None


def _check_store(workspace: Workspace) -> None:
    """Refuse a new run where nothing was ever streamed, before a folder is made for it."""
    from featurestore.offline.tables import DECISIONS

    if DECISIONS not in workspace.offline.tables():
        raise UsageError("the offline store has no decisions yet",
                         hint="stream some claims and their adjudications first")  # fmt: skip


def _new_record(workspace: Workspace, asked: Asked, names: list[str]) -> RunRecord:
    now_ms = workspace.clock.now_ms()
    at_ms = now_ms if asked.at_ms is None else asked.at_ms
    settings = _sections(asked.settings)
    identity = {"domain": asked.settings.domain, "at_ms": at_ms, "settings": settings}
    return RunRecord(
        run=asked.run or run_name(now_ms, identity),
        domain=asked.settings.domain,
        at_ms=at_ms,
        now_ms=now_ms,
        actor=ACTOR,
        settings=settings,
        triggers=list(asked.triggers),
        started_ms=now_ms,
        starts=0,
        steps=new_steps(names, needs_of(names)),
    )


def _sections(settings: Settings) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(settings, name)) for name in SECTIONS}


def _settings_of(record: RunRecord, workspace: Workspace) -> Settings:
    """Return the settings with the sections as they were when the run began."""
    kinds = {name: type(getattr(workspace.settings, name)) for name in SECTIONS}
    try:
        sections = {
            name: msgspec.convert(record.settings[name], kind) for name, kind in kinds.items()
        }
    except (msgspec.ValidationError, KeyError) as error:
        raise StateError(
            f"the record has settings of another version: {error}",
            where=f"run {record.run}",
            hint="begin another run: --new",
        ) from None
    return msgspec.structs.replace(workspace.settings, **sections)


def _check_agrees(found: RunRecord, asked: Asked, workspace: Workspace) -> None:
    """Refuse to let a run go on with other parameters than it began with."""
    if found.domain != workspace.settings.domain:
        raise UsageError(f"run {found.run} is of the domain {found.domain}", where="domain",
                         hint="begin another run: --new")  # fmt: skip
    other = asked.options and _sections(asked.settings) != found.settings
    other = other or (asked.mitigate and "mitigate" not in {row.name for row in found.steps})
    if other or (asked.at_ms is not None and asked.at_ms != found.at_ms):
        raise UsageError(
            f"run {found.run} began with other parameters",
            where=f"run {found.run}",
            hint="leave the options out to let it go on, or begin another run: --new",
        )


def _tell_of(found: RunRecord, quiet: bool) -> None:
    if not quiet:
        done = sum(row.state in ("done", "skipped") for row in found.steps)
        err.print(f"[dim]run {safe(found.run)} goes on: {done} of {len(found.steps)} steps are "
                  "done; --new begins another[/]", soft_wrap=True)  # fmt: skip


def _tell_failed(record: RunRecord, quiet: bool) -> None:
    failed = record.failed
    if failed is not None and not quiet:
        err.print(f"[yellow]run {safe(record.run)} stopped in the step {failed.name}; when its "
                  f"cause is mended: {safe(program())} pipeline run --run {safe(record.run)}[/]",
                  soft_wrap=True)  # fmt: skip


def _add_step(record: RunRecord, steps: Sequence[tuple[str, Any]]) -> None:
    name = steps[-1][0]
    needs = needs_of([each for each, _ in steps], {**DECLARED, name: _SCORES})[name]
    record.step(name).needs = list(needs)


def _conditions(settings: Settings) -> Mapping[str, Any]:
    """Return when steps are skipped."""

    def unless_promoted(run: TrainingRun) -> str:
        failed = [gate.name for gate in run.gates if gate.state == "failed"]
        words = "pipeline.publish = promoted, and it failed the gates " + ", ".join(failed)
        return f"{words}. {run.verdict.words}" if failed else ""

    return {"publish": unless_promoted} if settings.pipeline.publish == "promoted" else {}


def _sum_up(record: RunRecord, run: TrainingRun) -> None:
    if hasattr(run, "dataset"):
        record.definitions = run.dataset.definitions
    if hasattr(run, "decision"):
        record.promoted = run.decision.promote
    if hasattr(run, "published"):
        record.published = run.published


def _is_whole(run: TrainingRun, record: RunRecord) -> bool:
    """Whether everything that the report tells is there."""
    return record.state == "done" and hasattr(run, "published") and hasattr(run, "subsets")
