"""The search for settings: what is searched, how a trial is judged, and when it is given up.

Trials are asked for in batches of a fixed size, judged side by side, and told back in order. What a
trial is compared with when it is given up are the trials of earlier batches only. So neither the
number of jobs nor the order in which trials end makes a difference to the result.

The search is drawn by Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for
Hyper-Parameter Optimization", 2011); `training.adapters.studies` has it and the file of trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from models.kernels.forest import Forest
from monitoring.statistics.distances import significant

from ..data.dataset import Dataset
from ..data.folds import Fold
from ..evaluation.evaluate import Measured, Panel
from .choice import Tried, sampled, summed_up
from .fitters import Fitted, Halts, Params, Rows

Objective = Literal["average_precision", "money"]

BATCH: Final = 4
"""Trials of a batch."""

FIRST_LOOK: Final = 100
"""Trees after which a trial may be given up for the first time; then after twice as many, ..."""

FEWEST: Final = 8
"""Finished looks of earlier trials without which none is given up."""

ROUNDS: Final = 1200
"""Most trees of a trial: small steps need more than the built-in choice allows."""


class Range(NamedTuple):
    """A parameter of the search: numbers from `low` to `high`, on a logarithmic scale or not."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


SPACE: Final[Mapping[str, Range]] = {
    "max_depth": Range(2, 8, whole=True),
    "eta": Range(0.01, 0.3, log=True),
    "reg_lambda": Range(0.1, 100, log=True),
    "reg_alpha": Range(0.001, 10, log=True),
    "min_child_weight": Range(0.1, 30, log=True),
    "gamma": Range(0.0001, 5, log=True),
    "subsample": Range(0.5, 1),
    "colsample_bytree": Range(0.3, 1),
    "max_bin": Range(64, 2048, log=True, whole=True),
}
"""What is searched; parameters that the user has set are left out."""


class Result(msgspec.Struct, frozen=True):
    """One trial that has ended.

    Attributes:
        asked: the parameters drawn from `SPACE`.
        value: the objective on the claims held out; of a trial given up, that of its last look.
        average_precision: on the claims held out.
        rounds: the best number of trees.
        looks: the best value so far at each look, by fold and number of trees (see `look_of`).
        is_finished: False if it was given up.
    """

    asked: dict[str, float]
    value: float
    average_precision: float
    rounds: int
    looks: dict[int, float]
    is_finished: bool


class Search(Protocol):
    """Draws trials and remembers their results, so that a search goes on where it was ended."""

    def __call__(
        self,
        identity: Mapping[str, object],
        first: Mapping[str, float],
        space: Mapping[str, Range],
        judge: Callable[[Mapping[str, float], Mapping[int, float], Callable[[], bool]], Result],
        told: Callable[[int, float], None],
    ) -> History:
        """Search, or go on with a search, and return all its trials in order.

        Args:
            identity: everything that trials depend on; a search of the same identity goes on.
            first: the parameters that are tried first: those of the built-in choice.
            space: the parameters to draw.
            judge: judges drawn parameters; gets the looks below which they are given up, and a
                question whether all is to end.
            told: called after each trial with the number of trials and the best value so far.
        """


class History(NamedTuple):
    """The trials of a search in order, its own name, and the names of searches it started from."""

    results: list[Result]
    study: str
    warm_from: list[str]


def look_of(fold: int, rounds: int) -> int:
    """Return the number of a look: the fold and the trees so far in one number."""
    return fold * 1_000_000 + rounds


def limits_of(results: Sequence[Result]) -> dict[int, float]:
    """Return for each look the median of earlier trials, below which a trial is given up.

    Source: the median stopping rule, Golovin et al., "Google Vizier", 2017, section 3.2.1.

    >>> limits_of([Result({}, 0, 0, 1, {100: float(each)}, True) for each in range(9)])
    {100: 4.0}
    """
    looks: dict[int, list[float]] = {}
    for result in results:
        for look, value in result.looks.items():
            looks.setdefault(look, []).append(value)
    return {
        look: float(np.median(values)) for look, values in looks.items() if len(values) >= FEWEST
    }


def rounded(asked: Mapping[str, float], space: Mapping[str, Range]) -> dict[str, float | int | str]:
    """Return parameters with three significant digits, and whole ones as whole numbers.

    Nothing hangs on more digits, and a logarithm's last bit may differ between machines.

    >>> rounded({"eta": 0.0123456, "max_depth": 4.0}, SPACE)
    {'eta': 0.0123, 'max_depth': 4}
    """
    return {
        name: int(value) if space[name].whole else float(f"{value:.3g}")
        for name, value in asked.items()
    }


@dataclass(frozen=True)
class Judge:
    """Judges settings on claims held out, as the built-in choice does.

    Args:
        params: what all trials have.
        pairs: for each fold the rows to fit on and those held out.
        panels: for each fold the held-out claims with their amounts and days; for `money`.
        fit: a fitter of `SEARCHED`.
    """

    params: Params
    space: Mapping[str, Range]
    pairs: Sequence[tuple[Rows, Rows]]
    panels: Sequence[Panel] | None
    fit: Callable[[Rows, Rows, Params, int, Halts], Fitted]
    seed: int

    def settings(self, asked: Mapping[str, float]) -> dict[str, float | int | str]:
        """Return the complete parameters of a trial."""
        return {**self.params, **rounded(asked, self.space)}

    def tried(self, result: Result) -> Tried:
        """Return a trial in the form of the built-in choice."""
        return Tried(self.settings(result.asked), result.average_precision, result.rounds)

    def __call__(
        self, asked: Mapping[str, float], limits: Mapping[int, float], is_ended: Callable[[], bool]
    ) -> Result:
        """Fit one trial on every fold; see `Search`.

        Raises:
            Ended: the search was ended meanwhile.
        """
        params, looks = self.settings(asked), dict[int, float]()
        curves, money = list[list[float]](), list[float]()
        for fold, (fit, held) in enumerate(self.pairs):
            halted = _Looks(fold, limits, looks, is_ended)
            fitted = self.fit(fit, held, params, self.seed, halted)
            curves.append(fitted.curve)
            if halted.is_below:
                found = summed_up(params, curves)
                value = looks[max(looks)]
                return self._result(asked, value, found, looks, is_finished=False)
            if self.panels:
                money.append(_money(fitted, held, self.panels[fold]))
        found = summed_up(params, curves)
        value = float(np.mean(money)) if self.panels else found.average_precision
        return self._result(asked, value, found, looks, is_finished=True)

    def _result(
        self, asked: Mapping[str, float], value: float, found: Tried, looks: Mapping[int, float],
        *, is_finished: bool,
    ) -> Result:  # fmt: skip
        return Result(
            asked=dict(asked),
            value=significant(value),
            average_precision=found.average_precision,
            rounds=found.rounds,
            looks=dict(looks),
            is_finished=is_finished,
        )


def never_ended() -> bool:
    """Say that a search goes on."""
    return False


class Ended(Exception):
    """The search was ended, for example by Ctrl-C."""


class _Looks:
    """Looks at the curve of a fit at 100, 200, 400 ... trees, and stops it below the median."""

    def __init__(
        self, fold: int, limits: Mapping[int, float], looks: dict[int, float],
        is_ended: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._fold, self._limits, self._looks = fold, limits, looks
        self._is_ended = is_ended
        self._next = FIRST_LOOK
        self.is_below = False

    def __call__(self, curve: Sequence[float]) -> bool:
        if self._is_ended():
            raise Ended
        if len(curve) < self._next:
            return False
        look, best = look_of(self._fold, self._next), significant(max(curve))
        self._looks[look] = best
        self._next *= 2
        self.is_below = best < self._limits.get(look, -np.inf)
        return self.is_below


def panels_of(
    dataset: Dataset, folds: Sequence[Fold], seed: int, capacity_per_day: float
) -> list[Panel]:
    """Return the held-out claims of each fold as panels, for money found at capacity.

    They are claims with a verdict only, a part of those of their days: the capacity is divided by
    the same share, so that as large a part of them is investigated as of all.
    """
    panels = []
    for fold in folds:
        rows, times = sampled(dataset, fold.held, seed), dataset.event_times_ms
        inside = (times >= times[fold.held[0]]) & (times <= times[fold.held[-1]])
        held = float(np.sum(dataset.weights[fold.held]))
        share = held / float(np.sum(dataset.weights[inside]))
        legit = int(np.sum(~dataset.is_fraud[fold.held]))
        kept = int(np.sum(~dataset.is_fraud[rows]))
        weights = dataset.weights[rows]
        weights = np.where(dataset.is_fraud[rows], 1.0, weights * legit / max(1, kept))
        panels.append(Panel.of_rows(dataset, rows, capacity_per_day * share, weights))
    return panels


def _money(fitted: Fitted, held: Rows, panel: Panel) -> float:
    """Return the share of fraud money found at capacity, by the stream's kernel."""
    margins = Forest.from_xgboost_json(fitted.model_json).margins(held.matrix)
    return float(Measured(panel, margins).metrics()[4])
