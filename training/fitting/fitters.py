"""Fitters: a plain table of functions that fit a model, each with deliberately chosen defaults.

A fitter takes vectors and verdicts and returns XGBoost's own JSON, which the stream's kernels read.
The same rows, parameters and seed give the same bytes: every random draw is seeded, and the number
of threads makes no difference (a test compares them).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimtrace.errors import ConfigError

from ..evaluation.metrics import Ranking

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Params = Mapping[str, float | int | str]
Progress = Callable[[str, int, int], None]
"""A callback for progress: (name of the step, units done, units in all)."""

XGBOOST_DEFAULTS: Final[Params] = {
    # Histograms with fine bins: XGBoost's default of 256 is too coarse for heavy-tailed amounts.
    "tree_method": "hist",
    "max_bin": 1024,
    # Fraud is rare and the signals are few: shallow trees, small steps, strong shrinkage. Depth,
    # shrinkage and bins are chosen by the data (`choice`); these hold where they aren't.
    "max_depth": 3,
    "eta": 0.05,
    "reg_lambda": 10.0,
    "min_child_weight": 1.0,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "rounds": 400,
    # The average precision of a hundred frauds is noisy: without a minimum, one of the first few
    # trees wins by chance (measured on the AWS claims: .123 without, .125 with, on fresh folds).
    "least_rounds": 60,
    "patience": 50,
}
_OURS: Final = frozenset({"rounds", "least_rounds", "patience"})
"""Parameters that aren't XGBoost's.

The most and the fewest trees, and the number of trees without a better average precision on the
stop rows after which fitting ends.
"""

THREADS: Final = 2
LARGE: Final = 2_000_000
"""Fewer values than this are fitted by one thread: more would wait for each other, above all on a
busy machine."""
_FIXED: Final[Mapping[str, object]] = {
    "objective": "binary:logistic",
    "booster": "gbtree",
    "nthread": 1,
    "disable_default_eval_metric": 1,
}
"""Parameters that users can't change: the stream's kernels and equal bytes depend on them."""

_TUNABLE: Final = frozenset(XGBOOST_DEFAULTS) | {
    "base_score",
    "colsample_bylevel",
    "colsample_bynode",
    "gamma",
    "grow_policy",
    "max_delta_step",
    "max_leaves",
    "reg_alpha",
    "sampling_method",
    "scale_pos_weight",
}
MONOTONE: Final = "monotone_constraints"
"""XGBoost's parameter for directions, such as `(1,0,-1)`; training writes it from definitions."""
RECIPE: Final = (_TUNABLE | {MONOTONE}) - {"base_score"}
"""Parameters of a fitted model that make a like one of other claims."""
_ABOVE_0: Final = frozenset(
    {"base_score", "colsample_bylevel", "colsample_bynode", "colsample_bytree", "subsample"}
)
"""Parameters for which XGBoost takes 0, and learns nothing."""
_ALIASES: Final[Mapping[str, str]] = {
    "learning_rate": "eta",
    "lambda": "reg_lambda",
    "alpha": "reg_alpha",
    "min_split_loss": "gamma",
    "n_estimators": "rounds",
    "num_boost_round": "rounds",
    "early_stopping_rounds": "patience",
}
"""XGBoost's other names of parameters, for the hint of the refusal.

They are refused because one call could then hold a parameter twice, with different values.
"""

_MOST_ROUNDS: Final = 100_000
_BOUND: Final = 1e37
"""Bound of the values in training; see `_bounded`."""


class Rows(NamedTuple):
    """Claims to fit on, or to watch while fitting.

    Attributes:
        matrix: float64[n, F], NaN where missing.
        labels: bool[n], True for fraud.
        weights: float64[n], how many claims a row stands for; None: one each.
    """

    matrix: Floats
    labels: Bools
    weights: Floats | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model.

    Attributes:
        model_json: XGBoost's JSON.
        rounds: the number of trees kept.
        params: all parameters, those by default too.
        libraries: versions of the libraries.
        curve: the average precision on the watched rows after each tree fitted; empty without.
    """

    model_json: bytes
    rounds: int
    params: dict[str, float | int | str]
    libraries: dict[str, str]
    curve: list[float]


Halts = Callable[[Sequence[float]], bool]
"""Asked after each tree, with the curve so far, whether a search gives these settings up."""


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that a fit depends on."""
    import xgboost

    return {"xgboost": xgboost.__version__, "numpy": np.__version__}


def never(curve: Sequence[float]) -> bool:
    """Give no settings up."""
    del curve
    return False


Fitter = Callable[[Rows, Rows | None, Params, int, Progress], Fitted]
"""(rows to fit on, rows to watch, parameters, seed, progress) -> Fitted.

Without frauds in the rows to watch, or without such rows, all rounds are fitted.
"""


def fit_xgboost(
    rows: Rows, watched: Rows | None, params: Params, seed: int, progress: Progress,
    halts: Halts = never,
) -> Fitted:  # fmt: skip
    """Fit boosted trees; stops by the average precision on the rows that are watched.

    The default of `base_score` is the fitted rows' share of frauds, so that the first trees needn't
    learn it. All features are treated as numbers: the stream's kernels don't support categorical
    splits.

    Raises:
        ConfigError: a parameter is fixed or unknown, or XGBoost refuses it.
    """
    import xgboost

    chosen = _chosen(params, rows)
    rounds = int(float(chosen["rounds"]))
    stop = watched if watched is not None and np.any(watched.labels) else None
    watch = _watch(
        xgboost,
        rounds,
        min(rounds, int(float(chosen["least_rounds"]))),
        int(float(chosen["patience"])),
        progress,
        halts,
    )
    try:
        booster = xgboost.train(
            {**_passed(chosen), "seed": seed, "nthread": _threads(rows)},
            _loaded(xgboost, rows),
            num_boost_round=rounds,
            evals=[(_loaded(xgboost, stop), "stop")] if stop else [],
            custom_metric=_by_average_precision if stop else None,
            callbacks=[watch],
            verbose_eval=False,
        )
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise _refused(error) from error
    kept = watch.best_rounds
    return Fitted(
        model_json=bytes(booster[:kept].save_raw("json")),
        rounds=kept,
        params={**chosen, "seed": seed},
        libraries=libraries(),
        curve=watch.curve,
    )


def check_xgboost(params: Params) -> None:
    """Check parameters without any data of the user's: a wrong one is found before the long work.

    XGBoost itself judges its own parameters, on a fit of one tree to a handful of rows.

    Raises:
        ConfigError: a parameter is fixed or unknown, or has a value that can't be used.
    """
    import xgboost

    if MONOTONE in params:
        raise ConfigError(
            f"parameter {MONOTONE} is fixed", where="training.params",
            hint="say in the definitions what more of a feature means: more=\"worse\"",
        )  # fmt: skip
    few = Rows(np.arange(16.0).reshape(8, 2), np.arange(8) % 2 == 1)
    chosen = _chosen(params, few)
    for name in sorted(_OURS):
        _check_whole(name, chosen[name])
    loaded = _loaded(xgboost, few)
    for name in [*sorted(set(params) - _OURS), ""]:  # each alone, then all together
        tried = _chosen({name: params[name]} if name else params, few)
        try:
            xgboost.train(_passed(tried), loaded, num_boost_round=1, verbose_eval=False)
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise _refused(error, f"{name} = {params[name]}: " if name else "") from error


FITTERS: Final[Mapping[str, Fitter]] = {"xgboost": fit_xgboost}
SEARCHED: Final[Mapping[str, Callable[[Rows, Rows, Params, int, Halts], Fitted]]] = {
    "xgboost": lambda rows, held, params, seed, halts: fit_xgboost(
        rows, held, params, seed, silent, halts
    )
}
"""For each fitter the form that a search for settings uses."""
CHECKS: Final[Mapping[str, Callable[[Params], None]]] = {"xgboost": check_xgboost}
"""For each fitter the check of its parameters, before any data is read."""


def silent(step: str, done: int, total: int) -> None:
    """Ignore progress."""


def _check_whole(name: str, value: float | int | str) -> None:
    """Refuse anything but a whole number; one from the environment is a text."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if number % 1 or not 1 <= number <= _MOST_ROUNDS:
        raise ConfigError(f"{name} = {value} is not a whole number within 1 .. {_MOST_ROUNDS:,}",
                          where="training.params")  # fmt: skip


def _passed(chosen: Params) -> dict[str, object]:
    """Return the parameters that XGBoost gets."""
    passed = {name: value for name, value in chosen.items() if name not in _OURS}
    return {**passed, **_FIXED, "validate_parameters": 1}


def _refused(error: Exception, words: str = "") -> ConfigError:
    """Return the error for parameters that XGBoost refuses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("[bt]", "Stack trace"))]
    what = f"{words}XGBoost refuses: {told[-1] if told else repr(error)}"
    return ConfigError(what, where="training.params")


def _chosen(params: Params, rows: Rows) -> dict[str, float | int | str]:
    """Check the user's parameters and complete them with the defaults."""
    fixed = sorted(set(params) & ({"seed", *_FIXED}))
    if fixed:
        raise ConfigError(
            f"parameter {fixed[0]} is fixed",
            where="training.params",
            hint="set the seed as training.seed; the others keep models equal byte for byte",
        )
    for name in sorted(set(params) - _TUNABLE - {MONOTONE}):
        near = difflib.get_close_matches(name, sorted(_TUNABLE), n=1, cutoff=0.5)
        right = _ALIASES.get(name) or (near[0] if near else None)
        raise ConfigError(
            f"unknown parameter {name}",
            where="training.params",
            hint=f"did you mean {right}?" if right else "known: " + ", ".join(sorted(_TUNABLE)),
        )
    for name, value in sorted(params.items()):
        if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{name} = {value} is no number", where="training.params")
        if name in _ABOVE_0 and isinstance(value, int | float) and value <= 0:
            raise ConfigError(f"{name} = {value} is not above 0", where="training.params")
    share = np.average(rows.labels, weights=rows.weights) if len(rows.labels) else 0.5
    prior = float(np.clip(share, 1e-4, 0.5))
    chosen = {"base_score": prior, **XGBOOST_DEFAULTS, **params}
    if chosen["tree_method"] == "exact":
        # The exact method has no bins, and XGBoost warns of parameters that it doesn't use.
        chosen.pop("max_bin")
    return chosen


def _loaded(xgboost: Any, rows: Rows) -> Any:
    labels = rows.labels.astype(np.float32)
    return xgboost.DMatrix(
        _bounded(rows.matrix), label=labels, weight=rows.weights, nthread=_threads(rows)
    )


def _threads(rows: Rows) -> int:
    return THREADS if rows.matrix.size >= LARGE else 1


def _bounded(matrix: Floats) -> Floats:
    """Clip values to +-1e37 for training.

    XGBoost refuses infinities, and its outermost bin ends at twice the greatest value. A bound well
    below float32's own keeps every threshold finite. A value beyond the bound still takes the right
    branch when it is scored unclipped.
    """
    return np.clip(matrix, -_BOUND, _BOUND)


def _by_average_precision(margins: NDArray[np.float32], rows: Any) -> tuple[str, float]:
    weights = rows.get_weight()
    ranking = Ranking(rows.get_label() == 1, margins)
    each = weights.astype(np.float64) if len(weights) else None
    return "average_precision", ranking.average_precision(each)


def _watch(
    xgboost: Any, rounds: int, least: int, patience: int, progress: Progress, halts: Halts
) -> Any:
    class Watch(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        """Reports every round, and stops fitting when no better round has followed the best.

        Only rounds from `least` on count; `patience` rounds are waited for after the best.
        """

        def __init__(self) -> None:
            super().__init__()
            self.best_rounds, self.best_value = rounds, -1.0
            self.curve: list[float] = []

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            del model
            done = epoch + 1
            progress("fit", done, rounds)
            if not evals_log:
                return False
            value = evals_log["stop"]["average_precision"][-1]
            self.curve.append(value)
            if halts(self.curve):
                return True
            if done < least:
                return False
            if value > self.best_value:
                self.best_rounds, self.best_value = done, value
            return bool(done - self.best_rounds >= patience)

    return Watch()
