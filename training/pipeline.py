"""The training job: a plain table of named steps that fill in one `TrainingRun`.

Each step reads the attributes that earlier steps have set and sets its own. To add a step, write a
function and put it into the table, which shows the order:

    steps = (*STEPS[:2], ("tune", search_parameters), *STEPS[2:])
    train(offline, registry, settings, at_ms=now, steps=steps)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from claimtrace.decisions import ModelRef
from claimtrace.settings.schema import Settings
from models.calibration import Calibration, fit_calibration
from models.kernels.forest import Forest
from models.registry.registry import ModelRegistry

from .data.dataset import Dataset, MonthShare, load_dataset, maturity, utc_month
from .data.split import Split, split_dataset
from .evaluation.capacity import SCORE_DECIMALS, Threshold, threshold_for
from .evaluation.evaluate import Evaluation, Measured, Panel, bootstrap
from .evaluation.evaluate import evaluate as evaluate_model
from .fitting.fitters import CHECKS, FITTERS, Fitted, Progress, silent
from .release.gate import Verdict, compare, first_model
from .release.publish import CHAMPION, build_draft
from .release.publish import publish as publish_version
from .report import SplitPart, TrainingReport

if TYPE_CHECKING:
    from featurestore.offline.adapters.delta import OfflineStore


@dataclass(slots=True)
class TrainingRun:
    """The inputs and results of one training run.

    The first group of attributes is given; the second is set by the steps, in their order.
    """

    offline: OfflineStore
    registry: ModelRegistry
    settings: Settings
    at_ms: int
    progress: Progress
    actor: str
    fitter: str
    params: dict[str, float | int | str]
    notes: list[str] = field(default_factory=list)

    dataset: Dataset = field(init=False)
    maturity: list[MonthShare] = field(init=False)
    split: Split = field(init=False)
    fitted: Fitted = field(init=False)
    margins: NDArray[np.float32] = field(init=False)
    calibration: Calibration = field(init=False)
    probabilities: NDArray[np.float64] = field(init=False)
    thresholds: dict[str, Threshold] = field(init=False)
    panel: Panel = field(init=False)
    drawn: NDArray[np.float64] = field(init=False)
    evaluation: Evaluation = field(init=False)
    champion: ModelRef | None = field(init=False)
    champion_evaluation: Evaluation | None = field(init=False)
    verdict: Verdict = field(init=False)
    published: ModelRef = field(init=False)


Step = Callable[[TrainingRun], None]


def collect(run: TrainingRun) -> None:
    """Read the served vectors, and the verdicts known at `at_ms`."""
    run.dataset = load_dataset(run.offline, run.at_ms)
    run.maturity = maturity(run.dataset, utc_month)


def split(run: TrainingRun) -> None:
    """Split the data set by time and by policy."""
    chosen = run.settings.training
    run.split = split_dataset(
        run.dataset, test_share=chosen.test_share, min_frauds=chosen.min_frauds
    )


def fit(run: TrainingRun) -> None:
    """Fit on the oldest claims, stop early by the calibration claims, and score every claim."""
    dataset, split = run.dataset, run.split
    run.fitted = FITTERS[run.fitter](
        dataset.matrix[split.train],
        dataset.is_fraud[split.train],
        dataset.matrix[split.calibration],
        dataset.is_fraud[split.calibration],
        run.params,
        run.settings.training.seed,
        run.progress,
    )
    # Scored by the stream's own kernel, so that the evaluation is of exactly what will be served.
    forest = Forest.from_xgboost_json(run.fitted.model_json)
    run.margins = forest.margins(dataset.matrix)


def calibrate(run: TrainingRun) -> None:
    """Fit the curve from margins to probabilities, on claims that the trees were not fitted on."""
    rows = run.split.calibration
    run.calibration = fit_calibration(run.margins[rows], run.dataset.is_fraud[rows])
    if run.calibration.method != "isotonic":
        run.notes.append("too few frauds for a calibration curve: the margins are only shifted")
    run.probabilities = run.calibration.probabilities(run.margins)


def evaluate(run: TrainingRun) -> None:
    """Evaluate on the newest claims, and compare with the champion under the same draws."""
    dataset, seed = run.dataset, run.settings.training.seed
    capacity = run.settings.decision.capacity_per_day
    panel = run.panel = Panel.of(dataset, run.split, capacity)
    scores = [run.margins[panel.rows]]
    probabilities = [run.probabilities[panel.rows]]
    run.champion = run.registry.alias(CHAMPION)
    served = _champion_scores(run) if run.champion else None
    if served is not None:
        scores.append(served[0])
        probabilities.append(served[1])
    models = [Measured(panel, one) for one in scores]
    run.drawn = bootstrap(panel, models, seed)
    results = [
        evaluate_model(panel, margins, calibrated, drawn)
        for margins, calibrated, drawn in zip(scores, probabilities, run.drawn, strict=True)
    ]
    run.evaluation = results[0]
    run.champion_evaluation = results[1] if served is not None else None
    points = [model.metrics() for model in models]
    if served is not None:
        run.verdict = compare(points[0], points[1], run.drawn[0], run.drawn[1])
    else:
        run.verdict = first_model(points[0], run.drawn[0], run.evaluation.base_ratio)


def set_thresholds(run: TrainingRun) -> None:
    """Choose the thresholds by capacity, on all claims since the test time began.

    Where a capacity is more than all claims, or the reviews are the default multiple of it, claims
    that are safer than the average are left out. So a small insurer's thresholds aren't 0.
    """
    times = run.dataset.event_times_ms
    recent = times >= run.split.test_start_ms
    days = max(1.0, (int(times[-1]) + 1 - run.split.test_start_ms) / DAY_MS)
    scores = np.round(run.probabilities[recent], SCORE_DECIMALS)
    chosen, average = run.settings.decision, run.evaluation.base_ratio
    refer = threshold_for(scores, days, chosen.capacity_per_day)
    review = threshold_for(scores, days, chosen.most_reviews_per_day)
    if refer.value == 0.0:
        refer = threshold_for(scores, days, chosen.capacity_per_day, average)
    if review.value == 0.0 or not chosen.review_per_day:
        least = min(average, refer.value)
        review = threshold_for(scores, days, chosen.most_reviews_per_day, least)
    run.thresholds = {"refer": refer, "review": review}
    for name, threshold in run.thresholds.items():
        if threshold.note:
            run.notes.append(f"threshold for {name}: {threshold.note}")


def publish(run: TrainingRun) -> None:
    """Publish the version, and make it champion if the gate promotes it."""
    draft = build_draft(
        dataset=run.dataset,
        split=run.split,
        fitted=run.fitted,
        calibration=run.calibration,
        probabilities=run.probabilities,
        thresholds=run.thresholds,
        evaluation=run.evaluation,
        verdict=run.verdict,
        settings=run.settings,
        created_at_ms=run.at_ms,
    )
    run.published = publish_version(
        run.registry,
        draft,
        run.fitted.model_json,
        run.verdict,
        champion=run.champion,
        actor=run.actor,
        at_ms=run.at_ms,
    )


STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("collect", collect),
    ("split", split),
    ("fit", fit),
    ("calibrate", calibrate),
    ("evaluate", evaluate),
    ("thresholds", set_thresholds),
    ("publish", publish),
)


def train(
    offline: OfflineStore,
    registry: ModelRegistry,
    settings: Settings,
    *,
    at_ms: int,
    progress: Progress = silent,
    actor: str = "claimtrace train",
    fitter: str = "xgboost",
    steps: Sequence[tuple[str, Step]] = STEPS,
) -> TrainingReport:
    """Fit, evaluate and publish a model from the data known to the offline store at `at_ms`.

    The same store, settings and `at_ms` give the same model, byte for byte.

    Args:
        at_ms: the present time; verdicts and decisions that became known later are ignored.
        progress: called as `progress(step, done, total)`.
        actor: the actor recorded in the approvals log.
        fitter: a name in `FITTERS`.
        steps: the steps to run, in order.

    Raises:
        UsageError: the store holds too little data; the error names what is missing.
        ConfigError: the fitter refuses a parameter; that is found out before anything is read.
        StateError: the champion was changed during the run.
    """
    if fitter in CHECKS:
        CHECKS[fitter](settings.training.params)
    run = TrainingRun(
        offline=offline,
        registry=registry,
        settings=settings,
        at_ms=at_ms,
        progress=progress,
        actor=actor,
        fitter=fitter,
        params=dict(settings.training.params),
    )
    for name, step in steps:
        progress(name, 0, 1)
        step(run)
        progress(name, 1, 1)
    return _report(run)


def _champion_scores(run: TrainingRun) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
    """Return the champion's margins and probabilities on the panel.

    None if the champion has other definitions and can't score these claims.
    """
    artefact = run.registry.load(CHAMPION)
    manifest, name = artefact.manifest, f"champion {artefact.ref.version}"
    if (manifest.definitions, manifest.features) != (
        run.dataset.definitions,
        run.dataset.features,
    ):
        run.notes.append(f"{name} was trained under other definitions and can't score these claims")
        return None
    if int(manifest.lineage.get("fitted_until_ms", 0)) > run.split.test_start_ms:
        run.notes.append(f"{name} was trained on a part of the test time, which favours it")
    margins = Forest.from_xgboost_json(artefact.model_json).margins(
        run.dataset.matrix[run.panel.rows]
    )
    return margins, manifest.calibration.probabilities(margins)


def _report(run: TrainingRun) -> TrainingReport:
    dataset, split = run.dataset, run.split
    parts = (("train", split.train), ("calibration", split.calibration), ("test", split.test))
    return TrainingReport(
        model=run.published,
        promoted=run.verdict.promote,
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
        lost=split.lost,
        fitter=run.fitter,
        rounds=run.fitted.rounds,
        params=run.fitted.params,
        evaluation=run.evaluation,
        champion_evaluation=run.champion_evaluation,
        thresholds=run.thresholds,
        notes=run.notes,
    )
