"""The training job: a plain table of named steps that fill in one `TrainingRun`.

Each step reads the attributes that earlier steps have set and sets its own. To add a step, write a
function and put it into the table, which shows the order:

    steps = (*STEPS[:3], ("tune", search_parameters), *STEPS[3:])
    train(offline, registry, settings, at_ms=now, steps=steps)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from claimtrace.decisions import ModelRef
from claimtrace.ids import digest
from claimtrace.settings.schema import Settings
from featurestore.definitions.domain import Domain
from models.registry.registry import ModelRegistry

from .bias.limits import limits_of
from .checks.constraints import Constraints
from .fitting.fitters import CHECKS, Progress, silent
from .fitting.search import Search
from .report import SplitPart, TrainingReport
from .run import Step, TrainingRun
from .steps import bias, checks, claims, explanation, fits, gating, publication, quality

if TYPE_CHECKING:
    from featurestore.offline.adapters.delta import OfflineStore

STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("collect", claims.collect),
    ("contract", checks.contract),
    ("split", claims.split),
    ("choose", fits.choose_settings),
    ("judge", fits.judge),
    ("calibrate", fits.calibrate),
    ("evaluate", quality.evaluate),
    ("leaks", checks.leaks),
    ("release", fits.release),
    ("thresholds", publication.set_thresholds),
    ("bias", bias.measure_bias),
    ("gates", gating.collect_gates),
    ("reference", publication.count_reference),
    ("explain", explanation.explain),
    ("report", lambda run: _lay_out(run)),
    ("publish", publication.publish),
)

MITIGATE: Final[tuple[str, Step]] = ("mitigate", bias.mitigate)
"""A step for after `bias`, on request: compares mitigations, and publishes none of them."""


def steps_of(*, mitigate: bool = False) -> list[tuple[str, Step]]:
    """Return the steps of a run, with those that were asked for."""
    steps = list(STEPS)
    if mitigate:
        steps.insert([name for name, _ in steps].index("bias") + 1, MITIGATE)
    return steps


def train(
    offline: OfflineStore,
    registry: ModelRegistry,
    settings: Settings,
    *,
    at_ms: int,
    now_ms: int | None = None,
    progress: Progress = silent,
    actor: str = "claimtrace train",
    fitter: str = "xgboost",
    domain: Domain | None = None,
    known_definitions: Mapping[str, Mapping[str, str]] | None = None,
    search: Search | None = None,
    limits: Constraints | None = None,
    steps: Sequence[tuple[str, Step]] = STEPS,
) -> TrainingReport:
    """Fit, evaluate and publish a model from the data known to the offline store at `at_ms`.

    The same store, settings and `at_ms` give the same model, byte for byte.

    Args:
        at_ms: verdicts and decisions that became known later are ignored.
        now_ms: the present time, for the approvals log; None: `at_ms`.
        progress: called as `progress(step, done, total)`.
        actor: the actor recorded in the approvals log.
        fitter: a name in `FITTERS`.
        domain: the definitions, for facets, directions and features that follow the calendar;
            None: no bias is measured, and the others aren't known.
        search: searches settings beyond the built-in choice (`training.adapters.studies`).
        limits: the user's own limits for the data (`training.contract_file`).
        steps: the steps to run, in order.
        known_definitions: digests of features by name, by the digest of their definitions. Under
            definitions that aren't among them, the model fits these definitions as a whole only.

    Raises:
        UsageError: the store holds too little data, or too much, or data that breaks its contract;
            the error names what.
        ConfigError: the fitter refuses a parameter, or a limit of bias makes no sense; that is
            found out before anything is read.
        StateError: the champion was changed during the run.
    """
    run = begin(
        offline, registry, settings, at_ms=at_ms, now_ms=now_ms, progress=progress, actor=actor,
        fitter=fitter, domain=domain, known_definitions=known_definitions, search=search,
        limits=limits,
    )  # fmt: skip
    for name, step in steps:
        progress(name, 0, 1)
        step(run)
        progress(name, 1, 1)
    return report_of(run)


def begin(
    offline: OfflineStore,
    registry: ModelRegistry,
    settings: Settings,
    *,
    at_ms: int,
    now_ms: int | None = None,
    progress: Progress = silent,
    actor: str = "claimtrace train",
    fitter: str = "xgboost",
    domain: Domain | None = None,
    known_definitions: Mapping[str, Mapping[str, str]] | None = None,
    search: Search | None = None,
    limits: Constraints | None = None,
    run_id: str = "",
) -> TrainingRun:
    """Return a run before its first step.

    Raises:
        ConfigError: the fitter refuses a parameter, or a limit of bias makes no sense; that is
            found out before anything is read.
    """
    if fitter in CHECKS:
        CHECKS[fitter](settings.training.params)
    limits_of(settings.training.bias_limits)
    return TrainingRun(
        offline=offline,
        registry=registry,
        settings=settings,
        at_ms=at_ms,
        now_ms=at_ms if now_ms is None else now_ms,
        progress=progress,
        actor=actor,
        fitter=fitter,
        params=dict(settings.training.params),
        domain=domain,
        known_definitions=known_definitions or {},
        search=search,
        limits=limits,
        run_id=run_id,
    )


def report_of(run: TrainingRun) -> TrainingReport:
    """Return the report of a run whose steps are done."""
    return _report(run, run.published)


def _lay_out(run: TrainingRun) -> None:
    """Make the version's report as a page, before the registry gives the version its number."""
    if run.settings.training.report:
        from .page.page import REPORT_FILE, page_of

        unnumbered = ModelRef(run.settings.domain, 0, digest(run.released.model_json))
        run.attachments[REPORT_FILE] = page_of(run, _report(run, unnumbered))


def _report(run: TrainingRun, model: ModelRef) -> TrainingReport:
    dataset, split = run.dataset, run.split
    parts = (("train", split.train), ("test", split.test), ("released model", split.released))
    return TrainingReport(
        model=model,
        promoted=run.decision.promote,
        decision=run.decision.words,
        gates=run.gates,
        verdict=run.verdict,
        champion_before=run.champion,
        at_ms=run.at_ms,
        definitions=dataset.definitions,
        features=len(dataset.features),
        maturity=run.maturity,
        parts=[
            SplitPart(
                name=name,
                claims=dataset.counted(rows),
                frauds=int(np.sum(dataset.is_fraud[rows])),
                from_ms=int(dataset.event_times_ms[rows[0]]),
                to_ms=int(dataset.event_times_ms[rows[-1]]),
            )
            for name, rows in parts
        ],
        split=split.kind,
        lost=split.lost,
        fitter=run.fitter,
        rounds=run.released.rounds,
        params=run.released.params,
        tried=run.choice.tried,
        search=run.choice.search,
        directions=run.choice.directions,
        contract=run.contract,
        leaks=run.leaks,
        sample=run.dataset.share,
        evaluation=run.evaluation,
        subsets=run.subsets,
        champion_evaluation=run.champion_evaluation,
        thresholds=run.thresholds,
        notes=run.notes,
        bias=run.bias,
        explanation=run.explanation,
        report_digest=digest(page) if (page := run.attachments.get("report.html")) else "",
    )
