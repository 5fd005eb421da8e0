"""Steps about publication: choose the thresholds, and publish the version."""

from __future__ import annotations

import numpy as np

from claimtrace.clock import DAY_MS

from ..evaluation.capacity import SCORE_DECIMALS, threshold_for
from ..release.publish import build_draft, recent_rows
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
    """Publish the version, and make it champion if all gates let it."""
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
        gates=run.gates,
        settings=run.settings,
        created_at_ms=run.now_ms,
    )
    run.published = publish_version(
        run.registry,
        draft,
        run.released.model_json,
        run.decision,
        champion=run.champion,
        actor=run.actor,
        at_ms=run.now_ms,
    )
