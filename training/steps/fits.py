"""Steps about fits: choose settings, fit the judged model, calibrate it, fit the released one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration, fit_calibration
from models.kernels.forest import Forest

from ..data.folds import choice_folds, margin_folds
from ..fitting.choice import best, choose, learnt, pairs_of
from ..fitting.directions import with_directions
from ..fitting.fitters import FITTERS, Fitted, Params
from ..fitting.out_of_fold import margins_out_of_fold
from ..release.publish import recent_rows
from ..run import TrainingRun
from .search import search_settings


def choose_settings(run: TrainingRun) -> None:
    """Choose the settings on the claims before the test, and whether they keep to directions."""
    folds = choice_folds(run.dataset, run.split.settled, run.seed, by_time=run.by_time)
    fitter, seed = FITTERS[run.fitter], run.seed
    run.choice = choose(run.dataset, folds, run.params, fitter, seed, run.progress)
    told = run.domain.directions if run.domain else {}
    if run.search is None and not told:
        return
    pairs = pairs_of(run.dataset, folds, seed)
    chosen = best(run.choice.tried)
    if run.search is not None:
        chosen = search_settings(run, folds, pairs)
    run.choice = with_directions(
        run.choice, chosen, run.dataset.features, told, run.settings.training.directions, pairs,
        fitter, seed,
    )  # fmt: skip


def judge(run: TrainingRun) -> None:
    """Fit the chosen settings on all claims before the test, and score the claims since."""
    run.judged = fit_rows(run, run.split.train, run.choice.params)
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


def release(run: TrainingRun) -> None:
    """Fit the chosen settings on every claim with a mature verdict: the model that is published.

    Its curve is fitted on the margins out of fold of the claims before the test, and on those of
    the judged model since: the released model has seen all of them.
    """
    run.released = fit_rows(run, run.split.released, run.choice.params)
    run.released_calibration = _curve(run, run.split.released)
    run.probabilities = run.released_calibration.probabilities(run.margins)


def fit_rows(
    run: TrainingRun,
    rows: NDArray[np.int64],
    params: Params,
    columns: NDArray[np.intp] | slice = slice(None),
) -> Fitted:
    """Fit a model on some rows and columns of the data set with the run's fitter and seed."""
    chosen = learnt(run.dataset, rows)
    chosen = chosen._replace(matrix=chosen.matrix[:, columns])
    return FITTERS[run.fitter](chosen, None, params, run.seed, run.progress)


def _curve(run: TrainingRun, rows: NDArray[np.int64]) -> Calibration:
    """Fit a calibration on those of the rows that have a margin from a model without them."""
    held = rows[~np.isnan(run.margins[rows])]
    weights = None if run.dataset.share >= 1 else run.dataset.weights[held]
    return fit_calibration(run.margins[held], run.dataset.is_fraud[held], weights)
