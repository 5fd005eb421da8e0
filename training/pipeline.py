"""The training job: a plain table of named steps over one work bench.

Each step reads what the steps before it left on the bench and leaves its own. A step is added by
writing a function and putting its name into the table, where its place in the order can be seen:

    steps = (*STEPS[:2], ("tune", search_parameters), *STEPS[2:])
    train(offline, registry, settings, at_ms=now, steps=steps)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS
from claimtrace.decisions import ModelRef
from claimtrace.settings.schema import Settings
from models.calibration import Calibration, fit_calibration
from models.kernels.forest import Forest

from .data.dataset import Dataset, MonthShare, Offline, load_dataset, maturity, utc_month
from .data.split import Split, split_dataset
from .evaluation.capacity import SCORE_DECIMALS, Threshold, threshold_for
from .evaluation.evaluate import Evaluation, Measured, Panel, bootstrap, evaluate
from .fitting.fitters import FITTERS, Fitted, Progress, silent
from .release.gate import Verdict, compare, first_model
from .release.publish import CHAMPION, ModelRegistry, build_draft, publish
from .report import SplitPart, TrainingReport


@dataclass(slots=True)
class Bench:
    """What a training run works on; the second part is left by the steps, in their order."""

    offline: Offline
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


Step = Callable[[Bench], None]


def collect(bench: Bench) -> None:
    """Read the served vectors and the verdicts known now."""
    bench.dataset = load_dataset(bench.offline, bench.at_ms)
    bench.maturity = maturity(bench.dataset, utc_month)


def divide(bench: Bench) -> None:
    """Split by time and by policy."""
    chosen = bench.settings.training
    bench.split = split_dataset(
        bench.dataset, test_share=chosen.test_share, min_frauds=chosen.min_frauds
    )


def fit(bench: Bench) -> None:
    """Fit on the oldest claims, stop by the calibration claims, and score every claim."""
    dataset, split = bench.dataset, bench.split
    bench.fitted = FITTERS[bench.fitter](
        dataset.matrix[split.train],
        dataset.is_fraud[split.train],
        dataset.matrix[split.calibration],
        dataset.is_fraud[split.calibration],
        bench.params,
        bench.settings.training.seed,
        bench.progress,
    )
    # The stream's own kernel scores here too: what is judged is what will serve.
    forest = Forest.from_xgboost_json(bench.fitted.model_json)
    bench.margins = forest.margins(dataset.matrix)


def calibrate(bench: Bench) -> None:
    """From margins to probabilities, on claims that the trees were not fitted on."""
    rows = bench.split.calibration
    bench.calibration = fit_calibration(bench.margins[rows], bench.dataset.is_fraud[rows])
    if bench.calibration.method != "isotonic":
        bench.notes.append("too few frauds for a calibration curve: the margins are only shifted")
    bench.probabilities = bench.calibration.probabilities(bench.margins)


def judge(bench: Bench) -> None:
    """Evaluate on the newest claims, beside the champion under the same draws."""
    dataset, seed = bench.dataset, bench.settings.training.seed
    capacity = bench.settings.decision.capacity_per_day
    panel = bench.panel = Panel.of(dataset, bench.split, capacity)
    scores = [bench.margins[panel.rows]]
    chances = [bench.probabilities[panel.rows]]
    bench.champion = bench.registry.alias(CHAMPION)
    served = _champion_scores(bench) if bench.champion else None
    if served is not None:
        scores.append(served[0])
        chances.append(served[1])
    models = [Measured(panel, one) for one in scores]
    bench.drawn = bootstrap(panel, models, seed)
    results = [
        evaluate(panel, margins, chance, drawn)
        for margins, chance, drawn in zip(scores, chances, bench.drawn, strict=True)
    ]
    bench.evaluation = results[0]
    bench.champion_evaluation = results[1] if served is not None else None
    points = [model.metrics() for model in models]
    if served is not None:
        bench.verdict = compare(points[0], points[1], bench.drawn[0], bench.drawn[1])
    else:
        bench.verdict = first_model(points[0], bench.drawn[0], bench.evaluation.base_ratio)


def set_thresholds(bench: Bench) -> None:
    """Turn the capacity into scores, on all claims since the test time began."""
    times = bench.dataset.event_times_ms
    recent = times >= bench.split.test_start_ms
    days = max(1.0, (int(times[-1]) + 1 - bench.split.test_start_ms) / DAY_MS)
    scores = np.round(bench.probabilities[recent], SCORE_DECIMALS)
    chosen = bench.settings.decision
    bench.thresholds = {
        "refer": threshold_for(scores, days, chosen.capacity_per_day),
        "review": threshold_for(scores, days, chosen.review_per_day),
    }
    for name, threshold in bench.thresholds.items():
        if threshold.note:
            bench.notes.append(f"threshold for {name}: {threshold.note}")


def release(bench: Bench) -> None:
    """Publish the version and move the alias when the gate said so."""
    draft = build_draft(
        dataset=bench.dataset,
        split=bench.split,
        fitted=bench.fitted,
        calibration=bench.calibration,
        probabilities=bench.probabilities,
        thresholds=bench.thresholds,
        evaluation=bench.evaluation,
        verdict=bench.verdict,
        settings=bench.settings,
        created_at_ms=bench.at_ms,
    )
    bench.published = publish(
        bench.registry,
        draft,
        bench.fitted.model_json,
        bench.verdict,
        champion=bench.champion,
        actor=bench.actor,
        at_ms=bench.at_ms,
    )


STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("collect", collect),
    ("divide", divide),
    ("fit", fit),
    ("calibrate", calibrate),
    ("judge", judge),
    ("thresholds", set_thresholds),
    ("release", release),
)


def train(
    offline: Offline,
    registry: ModelRegistry,
    settings: Settings,
    *,
    at_ms: int,
    progress: Progress = silent,
    actor: str = "claimtrace train",
    fitter: str = "xgboost",
    steps: Sequence[tuple[str, Step]] = STEPS,
) -> TrainingReport:
    """Fit, judge and publish a model from what the offline store knew at `at_ms`.

    The same store, settings and `at_ms` give the same model, byte for byte.

    Args:
        at_ms: now; verdicts and decisions known later don't exist.
        progress: called as `progress(step, done, total)`.
        actor: who stands in the approvals log.

    Raises:
        UsageError: the store holds too little to learn from or to judge by; says what is missing.
        ConfigError: a parameter that the fitter doesn't take.
        StateError: the champion was moved while this ran.
    """
    bench = Bench(
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
        step(bench)
        progress(name, 1, 1)
    return _report(bench)


def _champion_scores(bench: Bench) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
    """Margins and probabilities of the champion on the panel; None when it can't score it."""
    artefact = bench.registry.load(CHAMPION)
    manifest, name = artefact.manifest, f"champion {artefact.ref.version}"
    if (manifest.definitions, manifest.features) != (
        bench.dataset.definitions,
        bench.dataset.features,
    ):
        bench.notes.append(f"{name} is of other definitions and can't score these claims")
        return None
    if int(manifest.lineage.get("fitted_until_ms", 0)) > bench.split.test_start_ms:
        bench.notes.append(f"{name} has seen part of the test time: it is favoured")
    margins = Forest.from_xgboost_json(artefact.model_json).margins(
        bench.dataset.matrix[bench.panel.rows]
    )
    return margins, manifest.calibration.probabilities(margins)


def _report(bench: Bench) -> TrainingReport:
    dataset, split = bench.dataset, bench.split
    parts = (("train", split.train), ("calibration", split.calibration), ("test", split.test))
    return TrainingReport(
        model=bench.published,
        promoted=bench.verdict.promote,
        verdict=bench.verdict,
        champion_before=bench.champion,
        at_ms=bench.at_ms,
        definitions=dataset.definitions,
        features=len(dataset.features),
        maturity=bench.maturity,
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
        fitter=bench.fitter,
        rounds=bench.fitted.rounds,
        params=bench.fitted.params,
        evaluation=bench.evaluation,
        champion_evaluation=bench.champion_evaluation,
        thresholds=bench.thresholds,
        notes=bench.notes,
    )
