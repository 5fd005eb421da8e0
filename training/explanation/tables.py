"""Explanations as tables of words."""

from __future__ import annotations

from typing import Final

from ..tables import Table
from .examples import Example, Part
from .explanation import Explanation

BASELINES: Final = {
    "tree": "what the trees saw in training",
    "legitimate": "claims known to be legitimate",
    "all": "all claims",
}
"""What claims are compared with, in words."""

_MOST_FEATURES: Final = 15
_PARTS: Final = 3


def explanation_tables(explanation: Explanation | None) -> list[Table]:
    """Lay out the influence of the features, and the examples; nothing without an explanation."""
    if explanation is None:
        return []
    return [influence_table(explanation), examples_table(explanation)]


def influence_table(explanation: Explanation, most: int = _MOST_FEATURES) -> Table:
    """Lay out the most influential features, in log-odds."""
    rows = [
        [one.feature, f"{one.mean_absolute:.3f}", signed(one.median), f"{one.mean_square:.3f}",
         signed(one.among_frauds)]
        for one in explanation.influences[:most]
        if one.mean_absolute > 0
    ]  # fmt: skip
    header = ["feature", "mean |SHAP|", "median", "mean square", "mean in frauds"]
    return Table("Influence of features on the score, in log-odds", header, rows)


def examples_table(explanation: Explanation) -> Table:
    """Lay out one line a claim: its score, and what pushes it up and down most."""
    rows = [
        [one.kind, one.claim_id, one.outcome, f"{one.score:.4f}", _strongest(one, 1.0),
         _strongest(one, -1.0)]
        for one in explanation.examples
    ]  # fmt: skip
    header = ["example", "claim", "outcome", "score", "up", "down"]
    return Table("Claims explained", header, rows)


def parts_table(example: Example, most: int) -> Table:
    """Lay out one claim: its values, what is typical, and the contributions that sum to its margin.

    >>> one = Example("x", "c", 0, "fraud", 0.5, 1.0, 0.25, [Part("a", 1.0, 0.0, 0.75)])
    >>> [row[-1] for row in parts_table(one, 5).rows]
    ['+0.25', '+0.75', '+1.00']
    """
    shown, rest = example.parts[:most], example.parts[most:]
    rows = [["where every claim starts", "", "", signed(example.expected, 2)]]
    rows += [
        [part.feature, number(part.value), number(part.typical), signed(part.contribution, 2)]
        for part in shown
    ]
    if rest:
        others = sum(part.contribution for part in rest)
        rows.append([f"{len(rest)} other features", "", "", signed(others, 2)])
    rows.append(["this claim", "", "", signed(example.margin, 2)])
    return Table(f"{example.kind}: {example.claim_id}",
                 ["feature", "value", "typical", "log-odds"], rows)  # fmt: skip


def number(value: float | str | None) -> str:
    """Write a feature's value; a missing one in words.

    >>> [number(value) for value in (None, "infinite", 3.0, 12345.678, 0.12345)]
    ['missing', 'infinite', '3', '12,346', '0.123']
    """
    if value is None or isinstance(value, str):
        return value or "missing"
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    return f"{value:.3g}"


def signed(value: float | None, decimals: int = 3) -> str:
    """Write a number with its sign; `-` where it is undefined.

    >>> signed(0.25), signed(None)
    ('+0.250', '-')
    """
    return "-" if value is None else f"{value:+.{decimals}f}"


def _strongest(example: Example, direction: float) -> str:
    found = [part for part in example.parts if part.contribution * direction > 0][:_PARTS]
    return ", ".join(_words(part) for part in found) or "-"


def _words(part: Part) -> str:
    return f"{part.feature} {number(part.value)} ({signed(part.contribution, 2)})"
