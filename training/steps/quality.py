"""The step about quality: measure the judged model and the champion on the same claims."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.artefact import Manifest
from models.fit import Misfit, misfit
from models.kernels.forest import Forest

from ..evaluation.evaluate import Measured, Panel, bootstrap
from ..evaluation.evaluate import evaluate as evaluate_model
from ..evaluation.subsets import subsets_of
from ..fitting.fitters import RECIPE
from ..release.gate import compare, first_model
from ..release.publish import CHAMPION, fitted_until_ms
from ..run import TrainingRun
from .fits import fit_rows


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


def _champion_scores(run: TrainingRun) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
    """Return the champion's margins and probabilities on the panel.

    None if claims with these definitions lack a feature that the champion takes, or if one has
    changed. A champion that has learned from claims of the panel would seem better than it is: a
    model of its settings and features, fitted on the same claims as the judged one, stands in.
    """
    artefact = run.registry.load(CHAMPION)
    manifest, name = artefact.manifest, f"champion {artefact.ref.version}"
    found = _misfit(run, manifest)
    if found is not None:
        run.notes.append(f"{name} can't score these claims: {found.words}")
        return None
    places = {name: place for place, name in enumerate(run.dataset.features)}
    columns = np.array([places[name] for name in manifest.features], np.intp)
    rows = run.dataset.matrix[run.panel.rows][:, columns]
    if fitted_until_ms(manifest) <= run.split.test_start_ms:
        margins = Forest.from_xgboost_json(artefact.model_json).margins(rows)
        return margins, manifest.calibration.probabilities(margins)
    run.notes.append(f"{name} has learned from a part of the test: its settings were fitted on the "
                     "claims of this model in its place")  # fmt: skip
    params = {
        key: value for key, value in manifest.lineage.get("params", {}).items() if key in RECIPE
    }
    fitted = fit_rows(run, run.split.train, params, columns)
    margins = Forest.from_xgboost_json(fitted.model_json).margins(rows)
    return margins, run.calibration.probabilities(margins)


def _misfit(run: TrainingRun, manifest: Manifest) -> Misfit | None:
    """Return why a version can't score the claims of the data set; None if it can."""
    if run.feature_digests:
        return misfit(manifest, run.dataset.definitions, run.feature_digests)
    return None if manifest.definitions == run.dataset.definitions else Misfit(unknown=True)
