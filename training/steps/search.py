"""The search for settings of a training run (`--tune`), in place of the built-in choice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from claimtrace.errors import UsageError

from ..data.folds import Fold
from ..evaluation.evaluate import Panel
from ..fitting.choice import PATIENCE, Choice, Searched, Tried, best
from ..fitting.fitters import SEARCHED, XGBOOST_DEFAULTS, Params, Rows, libraries
from ..fitting.search import ROUNDS, SPACE, History, Judge, Range, never_ended, panels_of
from ..run import TrainingRun


def search_settings(
    run: TrainingRun, folds: Sequence[Fold], pairs: Sequence[tuple[Rows, Rows]]
) -> Tried:
    """Search beyond the built-in choice, and return the better one of both.

    Raises:
        UsageError: money is searched for, and the frauds have no amounts.
    """
    assert run.search is not None
    chosen, objective = best(run.choice.tried), run.settings.training.tune_for
    panels = _panels(run, folds) if objective == "money" else None
    space = _space(run.params)
    fixed = {name: value for name, value in chosen.params.items() if name not in space}
    own_rounds = {"rounds": run.params.get("rounds", ROUNDS)}
    patience = {"patience": run.params.get("patience", PATIENCE)}
    judge = Judge({**fixed, **patience, **own_rounds}, space, pairs, panels,
                  SEARCHED[run.fitter], run.seed)  # fmt: skip
    built_in = chosen.average_precision
    if panels:
        exact = Judge(chosen.params, {}, pairs, panels, SEARCHED[run.fitter], run.seed)
        built_in = exact({}, {}, never_ended).value
    asked = run.settings.training.tune
    unit = "money found" if panels else "average precision"

    def told(done: int, value: float) -> None:
        run.progress(f"search: best {unit} {value:.4f}", done, asked + 1)

    history = run.search(
        _identity(run, pairs, panels, judge.params),
        _first(chosen.params, space),
        space,
        judge,
        told,
    )
    return _better(run, chosen, built_in, history, judge)


def _better(
    run: TrainingRun, chosen: Tried, built_in: float, history: History, judge: Judge
) -> Tried:
    """Put the best of the search into the run's choice, if it is better than the built-in one."""
    finished = [n for n, each in enumerate(history.results) if each.is_finished]
    at = max(finished, key=lambda n: history.results[n].value)
    result = history.results[at]
    found = judge.tried(result)
    is_better = result.value > built_in
    searched = Searched(
        objective=run.settings.training.tune_for,
        asked=run.settings.training.tune,
        finished=len(finished),
        given_up=len(history.results) - len(finished),
        built_in=built_in,
        best=max(result.value, built_in),
        best_trial=at if is_better else None,
        best_params=found.params if is_better else chosen.params,
        warm_from=history.warm_from,
        study=history.study,
    )
    better = found if is_better else chosen
    params = {**better.params, "rounds": better.rounds}
    run.choice = Choice(params, run.choice.tried, searched)
    return better


def _space(own: Params) -> dict[str, Range]:
    """Return what is searched: what the user hasn't set."""
    left_out = set(own) | ({"max_bin"} if "tree_method" in own else set())
    return {name: each for name, each in SPACE.items() if name not in left_out}


def _first(params: Params, space: dict[str, Range]) -> dict[str, float]:
    """Return the built-in choice in the search's own terms."""
    return {
        name: min(
            max(float(params.get(name, XGBOOST_DEFAULTS.get(name, 0.0))), each.low), each.high
        )
        for name, each in space.items()
    }


def _panels(run: TrainingRun, folds: Sequence[Fold]) -> list[Panel]:
    panels = panels_of(run.dataset, folds, run.seed, run.settings.decision.capacity_per_day)
    if not all(each.has_money for each in panels):
        raise UsageError(
            "the frauds have no amounts to search by", where="training.tune_for = money",
            hint="name the field with the amount in the domain, or search for average_precision",
        )  # fmt: skip
    return panels


def _identity(
    run: TrainingRun, pairs: Sequence[tuple[Rows, Rows]], panels: list[Panel] | None, params: Params
) -> dict[str, object]:
    """Return everything that trials depend on, the claims by their bytes."""
    hashed = hashlib.sha256()
    for rows in (each for pair in pairs for each in pair):
        for array in (rows.matrix, rows.labels, rows.weights):
            if array is not None:
                hashed.update(np.ascontiguousarray(array).data)
    for panel in panels or ():
        for column in (panel.days, panel.fraud_cents, panel.weights, panel.capacities):
            hashed.update(np.ascontiguousarray(column).data)
    return {
        "claims": hashed.hexdigest(), "objective": run.settings.training.tune_for,
        "params": msgspec.to_builtins(dict(params)), "fitter": run.fitter,
        "libraries": libraries(),
    }  # fmt: skip
