"""The training job: a plain table of named steps that fill in one `TrainingRun`.

Each step reads the attributes that earlier steps have set and sets its own. To add a step, write a
function and put it into the table, which shows the order:

    steps = (*STEPS[:2], ("tune", search_parameters), *STEPS[2:])
    train(offline, registry, settings, at_ms=now, steps=steps)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.clock import DAY_MS, duration_ms, time_ms
from claimtrace.decisions import ModelRef
from claimtrace.errors import UsageError
from claimtrace.settings.schema import Settings
from models.calibration import Calibration, fit_calibration
from models.kernels.forest import Forest
from models.registry.registry import ModelRegistry

from .data.dataset import Dataset, load_dataset, with_assumed
from .data.folds import choice_folds, margin_folds
from .data.maturity import Maturity, maturity_of
from .data.split import Split, split_by_policy, split_by_time
from .evaluation.capacity import SCORE_DECIMALS, Threshold, threshold_for
from .evaluation.evaluate import Evaluation, Measured, Panel, bootstrap
from .evaluation.evaluate import evaluate as evaluate_model
from .evaluation.subsets import Subset, subsets_of
from .fitting.choice import Choice, choose
from .fitting.fitters import CHECKS, FITTERS, RECIPE, Fitted, Params, Progress, Rows, silent
from .fitting.out_of_fold import margins_out_of_fold
from .release.gate import Verdict, compare, first_model
from .release.publish import CHAMPION, build_draft, fitted_until_ms, recent_rows
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
    now_ms: int
    progress: Progress
    actor: str
    fitter: str
    params: dict[str, float | int | str]
    notes: list[str] = field(default_factory=list)

    dataset: Dataset = field(init=False)
    maturity: Maturity = field(init=False)
    split: Split = field(init=False)
    choice: Choice = field(init=False)
    judged: Fitted = field(init=False)
    margins: NDArray[np.float32] = field(init=False)
    """float32[n]: of the judged model for `recent_rows`, out of fold before, else NaN."""
    calibration: Calibration = field(init=False)
    """Of the judged model; fitted on claims before the test."""
    panel: Panel = field(init=False)
    drawn: NDArray[np.float64] = field(init=False)
    evaluation: Evaluation = field(init=False)
    subsets: list[Subset] = field(init=False)
    champion: ModelRef | None = field(init=False)
    champion_evaluation: Evaluation | None = field(init=False)
    verdict: Verdict = field(init=False)
    released: Fitted = field(init=False)
    released_calibration: Calibration = field(init=False)
    probabilities: NDArray[np.float64] = field(init=False)
    """float64[n]: `margins` through the released model's calibration."""
    thresholds: dict[str, Threshold] = field(init=False)
    published: ModelRef = field(init=False)

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return self.settings.training.seed

    @property
    def by_time(self) -> bool:
        """Whether the claims have a usable time."""
        return self.settings.training.split == "time"


Step = Callable[[TrainingRun], None]


def collect(run: TrainingRun) -> None:
    """Read the served vectors, and the verdicts known at `at_ms`."""
    run.dataset = load_dataset(run.offline, run.at_ms)
    if after := run.settings.training.assume_legit_after:
        run.dataset = with_assumed(run.dataset, duration_ms(after))
        assumed = run.dataset.lineage["assumed_legit"]
        run.notes.append(f"{assumed:,} claims without an outcome after {after} count as legitimate")
    run.maturity = maturity_of(run.dataset)


def split(run: TrainingRun) -> None:
    """Split the data set into claims to learn from and claims to judge by.

    Unless the settings say where the test begins, it begins where the champion's knowledge ends, if
    enough verdicts have come since: then both models are judged by claims that neither has seen.
    """
    chosen, maturity = run.settings.training, run.maturity
    run.champion = run.registry.alias(CHAMPION)
    if chosen.split == "group":
        run.split = split_by_policy(
            run.dataset, maturity, min_frauds=chosen.min_frauds,
            test_share=chosen.test_share, seed=chosen.seed,
        )  # fmt: skip
        return

    def at(test_start_ms: int | None) -> Split:
        return split_by_time(
            run.dataset, maturity, min_frauds=chosen.min_frauds,
            test_share=chosen.test_share, test_start_ms=test_start_ms,
        )  # fmt: skip

    run.split = at(time_ms(chosen.test_from) if chosen.test_from else None)
    learned_until_ms = fitted_until_ms(run.registry.load(CHAMPION).manifest) if run.champion else 0
    if not chosen.test_from and learned_until_ms > run.split.test_start_ms:
        with suppress(UsageError):  # too few verdicts since
            run.split = at(learned_until_ms)


def choose_settings(run: TrainingRun) -> None:
    """Choose the settings on the claims before the test."""
    folds = choice_folds(run.dataset, run.split.settled, run.seed, by_time=run.by_time)
    run.choice = choose(run.dataset, folds, run.params, FITTERS[run.fitter], run.seed, run.progress)


def judge(run: TrainingRun) -> None:
    """Fit the chosen settings on all claims before the test, and score the claims since."""
    run.judged = _fit(run, run.split.train, run.choice.params)
    run.margins = margins_out_of_fold(
        run.dataset,
        margin_folds(run.dataset, run.split.settled, run.seed, by_time=run.by_time),
        run.choice.params,
        FITTERS[run.fitter],
        run.seed,
        run.progress,
    )
    # Scored by the stream's own kernel, so that the evaluation is of exactly what would be served.
    forest = Forest.from_xgboost_json(run.judged.model_json)
    rows = recent_rows(run.dataset, run.split)
    run.margins[rows] = forest.margins(run.dataset.matrix[rows])


def calibrate(run: TrainingRun) -> None:
    """Fit the curve from margins to probabilities, on margins out of fold."""
    run.calibration = _curve(run, run.split.train)
    if run.calibration.method != "isotonic":
        run.notes.append("too few frauds for a calibration curve: the margins are only shifted")


def evaluate(run: TrainingRun) -> None:
    """Evaluate on the newest claims, and compare with the champion under the same draws."""
    panel = run.panel = Panel.of(run.dataset, run.split, run.settings.decision.capacity_per_day)
    scores = [run.margins[panel.rows]]
    probabilities = [run.calibration.probabilities(scores[0])]
    served = _champion_scores(run) if run.champion else None
    if served is not None:
        scores.append(served[0])
        probabilities.append(served[1])
    models = [Measured(panel, one) for one in scores]
    run.drawn = bootstrap(panel, models, run.seed)
    results = [
        evaluate_model(panel, margins, calibrated, drawn)
        for margins, calibrated, drawn in zip(scores, probabilities, run.drawn, strict=True)
    ]
    run.evaluation = results[0]
    run.champion_evaluation = results[1] if served is not None else None
    run.subsets = subsets_of(panel, scores[0], run.split.never_seen(run.dataset))
    points = [model.metrics() for model in models]
    if served is not None:
        run.verdict = compare(points[0], points[1], run.drawn[0], run.drawn[1])
    else:
        run.verdict = first_model(points[0], run.drawn[0], run.evaluation.base_ratio)


def release(run: TrainingRun) -> None:
    """Fit the chosen settings on every claim with a mature verdict: the model that is published.

    Its curve is fitted on the margins out of fold of the claims before the test, and on those of
    the judged model since: the released model has seen all of them.
    """
    run.released = _fit(run, run.split.released, run.choice.params)
    run.released_calibration = _curve(run, run.split.released)
    run.probabilities = run.released_calibration.probabilities(run.margins)


def set_thresholds(run: TrainingRun) -> None:
    """Choose the thresholds by capacity, on all claims since the test time began.

    Where a capacity is more than all claims, or the reviews are the default multiple of it, claims
    that are safer than the average are left out. So a small insurer's thresholds aren't 0.
    """
    times, recent = run.dataset.event_times_ms, recent_rows(run.dataset, run.split)
    days = max(1.0, (int(times[-1]) + 1 - run.split.test_start_ms) / DAY_MS) * run.split.panel_share
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
        choice=run.choice,
        judged=run.judged,
        released=run.released,
        calibration=run.released_calibration,
        probabilities=run.probabilities,
        thresholds=run.thresholds,
        evaluation=run.evaluation,
        verdict=run.verdict,
        settings=run.settings,
        created_at_ms=run.now_ms,
    )
    run.published = publish_version(
        run.registry,
        draft,
        run.released.model_json,
        run.verdict,
        champion=run.champion,
        actor=run.actor,
        at_ms=run.now_ms,
    )


STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("collect", collect),
    ("split", split),
    ("choose", choose_settings),
    ("judge", judge),
    ("calibrate", calibrate),
    ("evaluate", evaluate),
    ("release", release),
    ("thresholds", set_thresholds),
    ("publish", publish),
)


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
        now_ms=at_ms if now_ms is None else now_ms,
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

    None if the champion has other definitions and can't score these claims. A champion that has
    learned from claims of the panel would seem better than it is: a model of its settings, fitted
    on the same claims as the judged one, stands in for it.
    """
    artefact = run.registry.load(CHAMPION)
    manifest, name = artefact.manifest, f"champion {artefact.ref.version}"
    if (manifest.definitions, manifest.features) != (
        run.dataset.definitions,
        run.dataset.features,
    ):
        run.notes.append(f"{name} was trained under other definitions and can't score these claims")
        return None
    rows = run.dataset.matrix[run.panel.rows]
    if fitted_until_ms(manifest) <= run.split.test_start_ms:
        margins = Forest.from_xgboost_json(artefact.model_json).margins(rows)
        return margins, manifest.calibration.probabilities(margins)
    run.notes.append(f"{name} has learned from a part of the test: its settings were fitted on the "
                     "claims of this model in its place")  # fmt: skip
    params = {
        key: value for key, value in manifest.lineage.get("params", {}).items() if key in RECIPE
    }
    fitted = _fit(run, run.split.train, params)
    margins = Forest.from_xgboost_json(fitted.model_json).margins(rows)
    return margins, run.calibration.probabilities(margins)


def _fit(run: TrainingRun, rows: NDArray[np.int64], params: Params) -> Fitted:
    learnt = Rows(run.dataset.matrix[rows], run.dataset.is_fraud[rows])
    return FITTERS[run.fitter](learnt, None, params, run.seed, run.progress)


def _curve(run: TrainingRun, rows: NDArray[np.int64]) -> Calibration:
    """Fit a calibration on those of the rows that have a margin from a model without them."""
    held = rows[~np.isnan(run.margins[rows])]
    return fit_calibration(run.margins[held], run.dataset.is_fraud[held])


def _report(run: TrainingRun) -> TrainingReport:
    dataset, split = run.dataset, run.split
    parts = (("train", split.train), ("test", split.test), ("released model", split.released))
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
    )
