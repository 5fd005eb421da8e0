"""The choice of settings by the data: depth, shrinkage and bins of the trees, and their number.

A short list is tried on claims that the fits haven't seen (`training.data.folds`), and the best
average precision wins; an earlier entry of the list wins a tie. Parameters that the user has set
are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.folds import Fold
from .fitters import XGBOOST_DEFAULTS, Fitter, Params, Progress, Rows, silent

Ints = NDArray[np.int64]

CANDIDATES: Final[Sequence[Params]] = (
    {"max_depth": 3, "reg_lambda": 10.0},
    {"max_depth": 4, "reg_lambda": 1.0},
    {"max_depth": 5, "reg_lambda": 3.0},
    {"max_depth": 6, "reg_lambda": 10.0},
    {"max_depth": 2, "reg_lambda": 10.0},
)
"""Depth and shrinkage, tried first."""

COMMON: Final[Params] = {"max_bin": 256, "rounds": 600}
"""What all candidates have: few bins because they are quick, and trees until no more help."""

PATIENCE: Final = 100
"""Trees without a better one that are waited for where there are many frauds: their curve rises on
for long, by little; that of a few frauds is noise by then, and the fitter's default is enough."""

BINS: Final = (1024, 4096)
"""More bins, tried on the best of the candidates."""

MANY_ROWS: Final = 10_000
"""With fewer rows to fit on, more bins cut no finer."""

MOST_LEGIT: Final = 100_000
"""Most claims known as legitimate that a choice looks at, drawn by the seed."""


class Tried(msgspec.Struct, frozen=True):
    """Settings that were tried: their average precision on the claims held out, and the trees."""

    params: dict[str, float | int | str]
    average_precision: float
    rounds: int


class Searched(msgspec.Struct, frozen=True):
    """The result of a search for settings; values are of its objective, on the claims held out.

    Attributes:
        objective: `average_precision`, or `money`: the share of fraud money found at capacity.
        asked: settings that it was asked to try.
        finished, given_up: those fitted to the end, and those given up after some trees or a fold.
        built_in, best: the value of the built-in choice, and of the best settings.
        best_trial: the number of the best settings among those tried, of which 0 is the built-in
            choice with more trees allowed; None: none is better than the built-in choice.
        best_params: the parameters of the best settings.
        warm_from: names of the earlier searches whose best settings were tried first.
        study: the name of the search's own file.
    """

    objective: str
    asked: int
    finished: int
    given_up: int
    built_in: float
    best: float
    best_trial: int | None
    best_params: dict[str, float | int | str]
    warm_from: list[str]
    study: str

    @property
    def gain(self) -> float:
        """The difference between the best settings and the built-in choice."""
        return self.best - self.built_in


class Directed(msgspec.Struct, frozen=True):
    """The fit that keeps to the definitions' directions beside the free one, on claims held out.

    Attributes:
        mode: `auto`, `on` or `off`.
        features: the features with a direction: `worse` or `better`.
        kept_to: those of them whose direction the model keeps to, in order of their names.
        every, kept, free: average precision with all directions, with those kept to, and without.
    """

    mode: str
    features: dict[str, str]
    kept_to: list[str]
    every: float
    kept: float
    free: float

    @property
    def used(self) -> bool:
        """Whether the model keeps to any direction."""
        return bool(self.kept_to)


class Choice(msgspec.Struct, frozen=True):
    """The settings chosen, complete with the number of trees, and all that were tried."""

    params: dict[str, float | int | str]
    tried: list[Tried]
    search: Searched | None = None
    directions: Directed | None = None


def choose(
    dataset: Dataset, folds: Sequence[Fold], own: Params, fitter: Fitter, seed: int,
    progress: Progress = silent,
) -> Choice:  # fmt: skip
    """Try the candidates, then the bins, and return the settings with the best average precision.

    Args:
        folds: from `training.data.folds.choice_folds`.
        own: the user's own parameters, which are part of every candidate and never replaced.
    """
    params = {**COMMON, **({"patience": PATIENCE} if len(folds) == 1 else {}), **own}
    shapes = [one for one in CANDIDATES if not set(one) & set(own)] or [{}]
    bins = BINS if len(folds[0].fit) >= MANY_ROWS else ()
    bins = () if {"max_bin", "tree_method"} & set(own) else bins
    most, tried = len(shapes) + len(bins), list[Tried]()
    pairs = pairs_of(dataset, folds, seed)

    def attempt(more: Params) -> None:
        progress("choose", len(tried), most)
        tried.append(attempted({**params, **more}, pairs, fitter, seed))

    for shape in shapes:
        attempt(shape)
    shaped = best(tried).params
    for number in bins:
        attempt({**shaped, "max_bin": number})
    progress("choose", most, most)
    found = best(tried)
    return Choice({**found.params, "rounds": found.rounds}, tried)


def best(tried: Sequence[Tried]) -> Tried:
    """Return the first one with the greatest average precision.

    >>> best([Tried({}, 0.1, 5), Tried({}, 0.2, 9), Tried({}, 0.2, 70)]).rounds
    9
    """
    return max(tried, key=lambda one: one.average_precision)


def rows_of(dataset: Dataset, rows: Ints, seed: int, most_legit: int = MOST_LEGIT) -> Rows:
    """Collect claims: all frauds, and of the others a weighted sample if they are too many."""
    kept = sampled(dataset, rows, seed, most_legit)
    share = (len(rows) - len(kept)) and most_legit / int(np.sum(~dataset.is_fraud[rows]))
    return learnt(dataset, kept, share or 1.0)


def learnt(dataset: Dataset, rows: Ints, share: float = 1.0) -> Rows:
    """Return rows to fit on, with how many claims each stands for.

    Args:
        share: the share of the others than frauds that the rows hold of the data set's own.
    """
    frauds, share = dataset.is_fraud[rows], share * dataset.share
    weights = None if share >= 1 else np.where(frauds, 1.0, 1.0 / share)
    return Rows(dataset.matrix[rows], frauds, weights)


def sampled(dataset: Dataset, rows: Ints, seed: int, most_legit: int = MOST_LEGIT) -> Ints:
    """Return the rows of all frauds, and of the others at most so many, drawn by the seed."""
    frauds = dataset.is_fraud[rows]
    if np.sum(~frauds) <= most_legit:
        return rows
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(np.flatnonzero(~frauds))[:most_legit]
    return np.asarray(rows[np.sort(np.concatenate([np.flatnonzero(frauds), drawn]))], np.int64)


def pairs_of(dataset: Dataset, folds: Sequence[Fold], seed: int) -> list[tuple[Rows, Rows]]:
    """Return for each fold the rows to fit on and those held out, sampled if they are many."""
    return [(rows_of(dataset, one.fit, seed), rows_of(dataset, one.held, seed)) for one in folds]


def attempted(
    params: Params, pairs: Sequence[tuple[Rows, Rows]], fitter: Fitter, seed: int
) -> Tried:
    """Fit on every fold; of several folds the mean of their curves says how many trees are best.

    A fold that stopped early counts with its last value from there on.
    """
    return summed_up(params, [fitter(fit, held, params, seed, silent).curve for fit, held in pairs])


def summed_up(params: Params, curves: Sequence[list[float]]) -> Tried:
    """Return the best place of the mean of the folds' curves."""
    curves = [curve for curve in curves if curve]
    longest = max(map(len, curves))
    mean = np.mean([curve + [curve[-1]] * (longest - len(curve)) for curve in curves], axis=0)
    least = min(longest, int(params.get("least_rounds", XGBOOST_DEFAULTS["least_rounds"])))
    at = least - 1 + int(np.argmax(mean[least - 1 :]))
    return Tried(dict(params), float(mean[at]), at + 1)
