"""Steps about publication: choose the thresholds, count the reference, and publish the version."""

from __future__ import annotations

import numpy as np

from claimtrace.clock import DAY_MS, duration_ms

from ..evaluation.capacity import SCORE_DECIMALS, Threshold, threshold_for
from ..release.origin import with_origin
from ..release.publish import build_draft, drift_reference, recent_rows
from ..release.publish import publish as publish_version
from ..run import TrainingRun


def set_thresholds(run: TrainingRun) -> None:
    """Choose the thresholds by capacity, on all claims since the test time began.

    Where a capacity is more than all claims, or the reviews are the default multiple of it, claims
    that are safer than the average are left out. So a small insurer's thresholds aren't 0.
    """
    times, recent = run.dataset.event_times_ms, recent_rows(run.dataset, run.split)
    days = max(1.0, (int(times[-1]) + 1 - run.split.test_start_ms) / DAY_MS) * run.split.panel_share
    scores = np.round(run.probabilities[recent], SCORE_DECIMALS)
    weights = None if run.dataset.share >= 1 else run.dataset.weights[recent]
    chosen, average = run.settings.decision, run.evaluation.base_ratio

    def passing(capacity: float, least: float = 0.0) -> Threshold:
        return threshold_for(scores, days, capacity, least, weights)

    refer = passing(chosen.capacity_per_day)
    review = passing(chosen.most_reviews_per_day)
    if refer.value == 0.0:
        refer = passing(chosen.capacity_per_day, average)
    if review.value == 0.0 or not chosen.review_per_day:
        review = passing(chosen.most_reviews_per_day, min(average, refer.value))
    run.thresholds = {"refer": refer, "review": review}
    for name, threshold in run.thresholds.items():
        if threshold.note:
            run.notes.append(f"threshold for {name}: {threshold.note}")


def count_reference(run: TrainingRun) -> None:
    """Count the claims that live windows will be compared with."""
    run.reference = drift_reference(
        run.dataset,
        run.split,
        run.probabilities,
        run.thresholds["refer"].value,
        duration_ms(run.settings.drift.window),
    )


def publish(run: TrainingRun) -> None:
    """Publish the version, and make it champion if all gates let it."""
    draft = build_draft(
        dataset=run.dataset,
        split=run.split,
        choice=run.choice,
        judged=run.judged,
        released=run.released,
        calibration=run.released_calibration,
        reference=run.reference,
        thresholds=run.thresholds,
        evaluation=run.evaluation,
        verdict=run.verdict,
        gates=run.gates,
        settings=run.settings,
        created_at_ms=run.now_ms,
    )
    draft = with_origin(
        draft,
        settings=run.settings,
        fitter=run.fitter,
        champion=run.champion,
        feature_digests=run.feature_digests,
    )
    run.published = publish_version(
        run.registry,
        draft,
        run.released.model_json,
        run.decision,
        champion=run.champion,
        actor=run.actor,
        at_ms=run.now_ms,
        attachments=run.attachments,
        run_id=run.run_id,
    )
