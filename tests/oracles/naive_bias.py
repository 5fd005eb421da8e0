"""Bias metrics again, slow and obvious: loops over rows, with the words of the documentation.

A row is (side, subgroup, label, outcome): side "a" or "d"; label and outcome 1 where favourable (a
legitimate claim, a passed one), 0 where not; the label is None without a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    side: str
    group: int
    label: int | None
    outcome: int


def n(rows: list[Row], *tests: Callable[[Row], bool]) -> int:
    return sum(all(test(row) for test in tests) for row in rows)


def over(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def shares(rows: list[Row]) -> list[float]:
    known = [row for row in rows if row.label is not None]
    return [over(sum(row.label == label for row in known), len(known)) for label in (1, 0)]


def kl(one: list[float], other: list[float]) -> float:
    total = 0.0
    for p, q in zip(one, other, strict=True):
        if math.isnan(p) or math.isnan(q):
            return math.nan
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total


def cdd(rows: list[Row], favourable: Callable[[Row], int | None]) -> float:
    total, size = 0.0, 0
    for group in {row.group for row in rows}:
        inside = [r for r in rows if r.group == group and favourable(r) is not None]
        rejected = [row for row in inside if favourable(row) == 0]
        accepted = [row for row in inside if favourable(row) == 1]
        if rejected and accepted:
            dd = sum(row.side == "d" for row in rejected) / len(rejected)
            dd -= sum(row.side == "d" for row in accepted) / len(accepted)
            total += dd * len(inside)
            size += len(inside)
    return over(total, size)


def bias(rows: list[Row]) -> dict[str, float]:
    """All metrics that need no neighbours, by their code."""
    parts = {side: [row for row in rows if row.side == side] for side in "ad"}
    a, d = parts["a"], parts["d"]
    pa, pd = shares(a), shares(d)
    middle = [(p + q) / 2 for p, q in zip(pa, pd, strict=True)]
    apart = [p - q for p, q in zip(pa, pd, strict=True)]

    def judged(row: Row) -> bool:
        return row.label is not None

    def share(part: list[Row], wanted: Callable[[Row], bool], *among: Callable[[Row], bool]):
        return over(n(part, wanted, *among), n(part, *among))

    def fav(row: Row) -> bool:
        return row.label == 1

    def unfav(row: Row) -> bool:
        return row.label == 0

    def yes(row: Row) -> bool:
        return row.outcome == 1

    def no(row: Row) -> bool:
        return row.outcome == 0

    def right(row: Row) -> bool:
        return row.label == row.outcome

    def offers(part: list[Row]) -> float:
        return over(n(part, fav), n(part, judged, yes))

    def refusals(part: list[Row]) -> float:
        return over(n(part, unfav), n(part, judged, no))

    def treated(part: list[Row]) -> float:
        return over(n(part, fav, no), n(part, unfav, yes))

    benefits = [row.outcome - row.label + 1 for row in rows if row.label is not None]
    mean = over(sum(benefits), len(benefits))
    entropy = math.nan
    if benefits and mean:
        entropy = sum((b / mean) ** 2 - 1 for b in benefits) / (2 * len(benefits))
    return {
        "CI": over(n(a, judged) - n(d, judged), n(rows, judged)),
        "DPL": pa[0] - pd[0],
        "KL": kl(pa, pd),
        "JS": (kl(pa, middle) + kl(pd, middle)) / 2,
        "LP": math.sqrt(sum(x * x for x in apart)),
        "TVD": sum(abs(x) for x in apart) / 2,
        "KS": max(abs(x) for x in apart),
        "CDDL": cdd(rows, lambda row: row.label),
        "DPPL": share(a, yes) - share(d, yes),
        "DI": over(share(d, yes), share(a, yes)),
        "RR": over(share(d, no), share(a, no)),
        "HRR": over(share(d, no, fav), share(a, no, fav)),
        "DCA": offers(a) - offers(d),
        "DCR": refusals(d) - refusals(a),
        "SD": share(d, no, unfav) - share(a, no, unfav),
        "RD": share(a, yes, fav) - share(d, yes, fav),
        "DAR": share(a, fav, judged, yes) - share(d, fav, judged, yes),
        "DRR": share(d, unfav, judged, no) - share(a, unfav, judged, no),
        "AD": share(a, right, judged) - share(d, right, judged),
        "TE": treated(d) - treated(a),
        "CDDPL": cdd(rows, lambda row: row.outcome),
        "GE": entropy,
    }


def percentile(value: float, column: list[float]) -> float:
    known = [each for each in column if not math.isnan(each)]
    if math.isnan(value):
        return 50.0
    middle = sum(each < value for each in known) + sum(each == value for each in known) / 2
    return float(round(100 * middle / len(known)))


def flip_test(sides: list[str], matrix: list[list[float]], passed: list[bool]) -> float:
    """FT with five neighbours, one among at most nine others; earlier rows win ties."""
    columns = list(zip(*matrix, strict=True))
    points = [
        [percentile(value, list(column)) for value, column in zip(row, columns, strict=True)]
        for row in matrix
    ]
    others = [row for row, side in enumerate(sides) if side == "a"]
    inside = [row for row, side in enumerate(sides) if side == "d"]
    count = 1 if len(others) <= 9 else 5
    plus = minus = 0
    for row in inside:
        ranked = sorted(
            others,
            key=lambda other, own=row: (
                sum((x - y) ** 2 for x, y in zip(points[own], points[other], strict=True)), other,
            ),
        )  # fmt: skip
        neighbours_pass = sum(passed[other] for other in ranked[:count]) > count / 2
        plus += not passed[row] and neighbours_pass
        minus += passed[row] and not neighbours_pass
    return (plus - minus) / len(inside)
