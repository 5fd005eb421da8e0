"""The training job: a plain table of named steps that fill in one `TrainingRun`.

Each step reads the attributes that earlier steps have set and sets its own. To add a step, write a
function and put it into the table, which shows the order:

    steps = (*STEPS[:2], ("tune", search_parameters), *STEPS[2:])
    train(offline, registry, settings, at_ms=now, steps=steps)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from claimtrace.settings.schema import Settings
from featurestore.definitions.domain import Domain
from models.registry.registry import ModelRegistry

from .bias.limits import limits_of
from .fitting.fitters import CHECKS, Progress, silent
from .report import SplitPart, TrainingReport
from .run import Step, TrainingRun
from .steps import bias, claims, fits, gating, publication, quality

if TYPE_CHECKING:
    from featurestore.offline.adapters.delta import OfflineStore

STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("collect", claims.collect),
    ("split", claims.split),
    ("choose", fits.choose_settings),
    ("judge", fits.judge),
    ("calibrate", fits.calibrate),
    ("evaluate", quality.evaluate),
    ("release", fits.release),
    ("thresholds", publication.set_thresholds),
    ("bias", bias.measure_bias),
    ("gates", gating.collect_gates),
    ("publish", publication.publish),
)

MITIGATE: Final[tuple[str, Step]] = ("mitigate", bias.mitigate)
"""A step for after `bias`, on request: compares mitigations, and publishes none of them."""


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
    steps: Sequence[tuple[str, Step]] = STEPS,
    domain: Domain | None = None,
) -> TrainingReport:
    """Fit, evaluate and publish a model from the data known to the offline store at `at_ms`.

    The same store, settings and `at_ms` give the same model, byte for byte.

    Args:
        at_ms: verdicts and decisions that became known later are ignored.
        now_ms: the present time, for the approvals log; None: `at_ms`.
        progress: called as `progress(step, done, total)`.
        actor: the actor recorded in the approvals log.
        fitter: a name in `FITTERS`.
        steps: the steps to run, in order.
        domain: the domain, for its facets; None: no bias is measured.

    Raises:
        UsageError: the store holds too little data; the error names what is missing.
        ConfigError: the fitter refuses a parameter, or a limit of bias makes no sense; that is
            found out before anything is read.
        StateError: the champion was changed during the run.
    """
    if fitter in CHECKS:
        CHECKS[fitter](settings.training.params)
    limits_of(settings.training.bias_limits)
    run = TrainingRun(
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
    )
    for name, step in steps:
        progress(name, 0, 1)
        step(run)
        progress(name, 1, 1)
    return _report(run)


def _report(run: TrainingRun) -> TrainingReport:
    dataset, split = run.dataset, run.split
    parts = (("train", split.train), ("test", split.test), ("released model", split.released))
    return TrainingReport(
        model=run.published,
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
                claims=len(rows),
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
        evaluation=run.evaluation,
        subsets=run.subsets,
        champion_evaluation=run.champion_evaluation,
        thresholds=run.thresholds,
        notes=run.notes,
        bias=run.bias,
    )
