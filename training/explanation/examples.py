"""Local explanations: a few claims that a person can follow from their values to their score.

Which claims: the highest score that is referred, those at the two sides of the threshold, a fraud
that is missed, and a legitimate claim that is referred. All were filed after everything that the
judged model has learned from.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Part(msgspec.Struct, frozen=True):
    """The contribution of one feature to one claim, in log-odds.

    `value` and `typical` are None where missing, and text where infinite; `typical` is the median
    of the claims that are compared with.
    """

    feature: str
    value: float | str | None
    typical: float | str | None
    contribution: float


class Example(msgspec.Struct, frozen=True):
    """One claim, explained.

    Attributes:
        kind: why this claim was chosen.
        outcome: `fraud`, `legitimate` or `no verdict`.
        score: calibrated probability.
        margin: log-odds before calibration; `expected` and all contributions sum to it.
        parts: every feature, the greatest contribution first.
    """

    kind: str
    claim_id: str
    event_time_ms: int
    outcome: str
    score: float
    margin: float
    expected: float
    parts: list[Part]


class Chosen(NamedTuple):
    """A claim that is worth explaining: why, and its row in the data set."""

    kind: str
    row: int


def choose_examples(
    rows: Ints, scores: Floats, labels: Floats, amounts_cents: Floats, threshold: float
) -> list[Chosen]:
    """Choose the claims to explain; kinds that don't occur are left out.

    Args:
        rows: int64[n], row numbers of claims that the model hasn't seen.
        scores: float64[n].
        labels: float64[n]: 1 fraud, 0 legitimate, NaN no verdict.
        amounts_cents: float64[n], NaN where there is none.
        threshold: scores from here on are referred.

    >>> found = choose_examples(np.arange(3), np.array([0.1, 0.6, 0.9]), np.array([1.0, 0.0, 1.0]),
    ...                         np.full(3, np.nan), 0.5)
    >>> [(one.kind, one.row) for one in found]
    [('the highest score', 2), ('just referred', 1), ('just not referred', 0),
     ('a fraud that is missed', 0), ('a legitimate claim that is referred', 1)]
    """
    referred = scores >= threshold
    money = np.nan_to_num(amounts_cents, nan=-1.0)
    rules = (
        ("the highest score", referred, (-scores,)),
        ("just referred", referred, (scores,)),
        ("just not referred", ~referred, (-scores,)),
        # The dearest one: what a missed fraud costs is what people ask about first.
        ("a fraud that is missed", ~referred & (labels == 1), (scores, -money)),
        ("a legitimate claim that is referred", referred & (labels == 0), (-scores,)),
    )
    found = []
    for kind, among, keys in rules:
        at = np.flatnonzero(among)
        if len(at):
            first = at[np.lexsort((rows[at], *(key[at] for key in keys)))[0]]
            found.append(Chosen(kind, int(rows[first])))
    return found


def outcome_of(label: float) -> str:
    """Return the word for a label.

    >>> outcome_of(float("nan"))
    'no verdict'
    """
    return "no verdict" if label != label else "fraud" if label == 1 else "legitimate"


def parts_of(
    names: list[str], values: Floats, typical: Floats, contributions: Floats
) -> list[Part]:
    """Return the parts of one claim, the greatest contribution first; all float64[F]."""
    order = np.argsort(-np.abs(contributions), kind="stable")
    return [
        Part(names[at], _encodable(values[at]), _encodable(typical[at]), float(contributions[at]))
        for at in order.tolist()
    ]


def _encodable(value: float) -> float | str | None:
    """Return a value that JSON can hold."""
    if np.isfinite(value):
        return float(value)
    return None if np.isnan(value) else "infinite" if value > 0 else "-infinite"


def typical_values(matrix: Floats) -> Floats:
    """Return the median of each column of float64[n, F], missing values left out; NaN without any.

    The lower one of two middle values, so that it is a value that occurs.
    """
    ordered = np.sort(matrix, axis=0)
    counts = np.sum(~np.isnan(matrix), axis=0)
    middle = np.maximum(counts - 1, 0) // 2
    found = ordered[middle, np.arange(matrix.shape[1])] + 0.0
    return np.asarray(np.where(counts > 0, found, np.nan), np.float64)
