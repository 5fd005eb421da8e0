"""Directions of features: trees in which more of a feature never lowers, or raises, the score.

A definition may say what more of a feature means (`more="worse"`). A model that keeps to it has
reasons that agree with sense. XGBoost's monotone constraints hold along each feature with all
others as they are; a missing value goes its own way. The trees are ordinary ones, so scores and
SHAP values come from the stream's kernels as always.

Sense isn't always right: a phone that two policies share is harmless where they share the address
too, so fewer policies at an address are worse there. Therefore directions are compared with the
free fit on the past. If all of them together cost too much, those go first that the free fit's own
SHAP values contradict most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.kernels.forest import Forest
from models.kernels.shap import Contributions

from .choice import Choice, Directed, Tried, attempted
from .fitters import MONOTONE, Fitter, Rows, silent

Floats = NDArray[np.float64]

MOST_COST: Final = 0.005
"""The average precision on the past below which directions may cost what they cost."""

TRIES: Final = 4
"""Numbers of directions that are tried, by halving, if all of them cost too much."""

EXPLAINED: Final = 4000
"""Most held-out claims whose SHAP values are looked at."""

_BINS: Final = 10

Mode = Literal["auto", "on", "off"]


def constraints_of(features: Sequence[str], directions: Mapping[str, int]) -> str:
    """Return XGBoost's parameter for directions: 1 rising, -1 falling, 0 free.

    >>> constraints_of(["a", "b", "c"], {"c": -1, "a": 1})
    '(1,0,-1)'
    """
    return "(" + ",".join(str(directions.get(name, 0)) for name in features) + ")"


def with_directions(
    choice: Choice, chosen: Tried, features: Sequence[str], directions: Mapping[str, int],
    mode: Mode, pairs: Sequence[tuple[Rows, Rows]], fitter: Fitter, seed: int,
) -> Choice:  # fmt: skip
    """Fit the chosen settings with the directions as well, and return the choice between both.

    All are fitted on the same rows, each with as many trees as are best for it.

    Args:
        chosen: the settings as they were tried, and what they gave.
        directions: feature -> 1 (more is worse) or -1 (more is better).
        mode: `auto` takes the most directions that cost less than `MOST_COST` together; `on` takes
            all, `off` none.
    """
    told = {name: directions[name] for name in features if name in directions}
    if not told:
        return choice

    def kept_to(names: Sequence[str]) -> Tried:
        some = {name: told[name] for name in names}
        constraints = constraints_of(features, some)
        return attempted({**chosen.params, MONOTONE: constraints}, pairs, fitter, seed)

    def is_cheap(tried: Tried) -> bool:
        return chosen.average_precision - tried.average_precision < MOST_COST

    every = used = kept_to(list(told))
    names = list(told)
    if mode == "auto" and not is_cheap(every):
        names, too_many = [], len(told)
        ordered = list[str]()
        for _ in range(TRIES):
            half = (len(names) + too_many) // 2
            if half == len(names):
                break
            ordered = ordered or _least_contradicted(chosen, features, told, pairs[0], fitter, seed)
            tried = kept_to(ordered[:half])
            if is_cheap(tried):
                names, used = ordered[:half], tried
            else:
                too_many = half
    elif mode == "off":
        names = []
    found = Directed(
        mode=mode,
        features={name: "worse" if sign > 0 else "better" for name, sign in told.items()},
        kept_to=sorted(names),
        every=every.average_precision,
        kept=used.average_precision if names else chosen.average_precision,
        free=chosen.average_precision,
    )
    if not names:
        return msgspec.structs.replace(choice, directions=found)
    params = {**used.params, "rounds": used.rounds}
    return msgspec.structs.replace(choice, params=params, directions=found)


def contradiction(values: Floats, contributions: Floats, sign: int) -> float:
    """Return by how much a feature's SHAP values run against its direction.

    Claims are cut at the values' deciles; where the mean SHAP value of a part lies below the
    greatest of the parts before it (seen in the direction), the difference counts for its claims.
    Missing values are left out.

    >>> values = np.arange(100.0)
    >>> contradiction(values, values, 1), contradiction(values, values, -1) > 0
    (0.0, True)
    """
    known = ~np.isnan(values)
    values, contributions = values[known] * sign, contributions[known]
    if not len(values):
        return 0.0
    edges = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS, method="lower"))
    part = np.searchsorted(edges, values, "left")
    count = np.bincount(part, minlength=len(edges) + 1)
    sums = np.bincount(part, contributions, len(edges) + 1)[count > 0]
    means = sums / count[count > 0]
    below = np.maximum.accumulate(means) - means
    return float(np.sum(below * count[count > 0]) / len(known))


def _least_contradicted(
    chosen: Tried, features: Sequence[str], told: Mapping[str, int], pair: tuple[Rows, Rows],
    fitter: Fitter, seed: int,
) -> list[str]:  # fmt: skip
    """Return the features with a direction, those that the free fit contradicts least first."""
    fit, held = pair
    params = {**chosen.params, "rounds": chosen.rounds}
    forest = Forest.from_xgboost_json(fitter(fit, None, params, seed, silent).model_json)
    step = -(-len(held.labels) // EXPLAINED)
    rows = np.ascontiguousarray(held.matrix[::step])
    values = Contributions.of(forest).contributions(rows)
    against = {
        name: contradiction(rows[:, place], values[:, place], told[name])
        for place, name in enumerate(features)
        if name in told
    }
    return sorted(against, key=lambda name: (against[name], name))
