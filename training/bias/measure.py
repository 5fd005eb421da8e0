"""The bias of a model between one facet and the others: every metric with interval and state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.definitions.facets import Facet

from .counts import NEITHER, A, Cells, D, count_table, groups_of, resampled, sides_of
from .metrics import AFTER, BEFORE, FT, MIN_CASES, MIN_CLAIMS, SUBGROUPED, Metric
from .neighbours import flips

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

State = Literal["evaluated", "not enough evidence", "not evaluable"]

DRAWS: Final = 400
"""Bootstrap draws; 10 draws then lie beyond each end of a 95 % interval."""

DECIMALS: Final = 9
"""Decimals of a figure in a report: logarithms may differ in the last bits between machines."""

_SIZES: Final = ("CI", "GE")
"""Metrics that don't compare rates of the sides, so that a small side is no obstacle."""

_WORDS: Final = {
    "judged": "claims with a verdict",
    "legit": "legitimate claims",
    "fraud": "frauds",
    "passed": "passed claims",
    "referred": "referred claims",
    "legit_passed": "legitimate claims that passed",
    "legit_referred": "legitimate claims that were referred",
    "fraud_passed": "frauds that passed",
    "judged_referred": "referred claims with a verdict",
}


class Measure(msgspec.Struct, frozen=True):
    """One metric of one facet.

    Attributes:
        metric: a code of `training.bias.metrics.METRICS`.
        state: only an `evaluated` metric says anything; the figures of a metric with `not enough
            evidence` are given for completeness.
        value: None where it is undefined or infinite.
        low, high: the 95 % interval; None where most draws are undefined.
        words: why the metric isn't evaluated; empty if it is.
    """

    metric: str
    state: State
    value: float | None
    low: float | None = None
    high: float | None = None
    words: str = ""


class SideCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of one side: those learned from, and those of the test by verdict and outcome."""

    learned: int
    learned_frauds: int
    legit_passed: int
    legit_referred: int
    fraud_passed: int
    fraud_referred: int
    unknown_passed: int
    unknown_referred: int


class FacetBias(msgspec.Struct, frozen=True, kw_only=True):
    """The bias between a facet and the others.

    Attributes:
        facet: the facet's name.
        features: the features that tell the sides apart.
        group: counts of the facet (d in the formulas).
        others: counts of those it is compared with (a).
        neither: claims of the test that belong to neither side.
        subgroups: subgroups for CDDL and CDDPL; 1 without.
        before: metrics of the claims that the model learned from.
        after: metrics of its outcomes on the test claims.
    """

    facet: str
    features: list[str]
    group: SideCounts
    others: SideCounts
    neither: int
    subgroups: int
    before: list[Measure]
    after: list[Measure]

    def measure(self, metric: str) -> Measure | None:
        """Return a metric of the outcomes; None if it isn't there."""
        return next((each for each in self.after if each.metric == metric), None)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Claims whose bias is measured.

    Attributes:
        rows: int64[n], the places of the claims in the matrix of all.
        labels: float64[n]: 1 fraud, 0 legitimate, NaN no verdict.
        referred: bool[n], whether the model refers the claim.
    """

    rows: Ints
    labels: Floats
    referred: Bools


def measure_facet(
    facet: Facet, features: Sequence[str], matrix: Floats, learned: Sample, test: Sample, seed: int
) -> FacetBias:
    """Measure all metrics of one facet.

    Args:
        features: the F names of the columns.
        matrix: float64[N, F], the served vectors of all claims, NaN where missing.
        learned: the claims that the model learned from, all with a verdict; `referred` is unused.
        test: the claims that it is judged by.
        seed: of the draws for the intervals.

    >>> facet = Facet("young", feature="age", below=26)
    >>> ages, rows = np.arange(400.0)[:, None] % 50, np.arange(400)
    >>> sample = Sample(rows, (rows % 7 == 0) * 1.0, rows % 9 == 0)
    >>> found = measure_facet(facet, ["age"], ages, sample, sample, seed=1)
    >>> found.measure("DI").state, round(found.measure("DI").value, 3)
    ('evaluated', 1.005)
    """
    sides = sides_of(facet, matrix, features)
    groups = groups_of(facet, matrix, features)
    before, after = (
        count_table(
            sides[each.rows], None if groups is None else groups[each.rows], each.labels,
            each.referred,
        )
        for each in (learned, test)
    )  # fmt: skip
    columns = [place for place, name in enumerate(features) if name not in facet.own_features]
    tested = sides[test.rows]
    flipped = flips(tested, test.referred, matrix, test.rows, np.array(columns, np.int64))
    return FacetBias(
        facet=facet.name,
        features=list(facet.own_features),
        group=_side(D, before, after),
        others=_side(A, before, after),
        neither=int(np.sum(tested == NEITHER)),
        subgroups=after.shape[1],
        before=measures(BEFORE, before, seed, subgroups=groups is not None),
        after=[
            *measures(AFTER, after, seed, subgroups=groups is not None),
            flip_measure(flipped, after, seed),
        ],
    )


def measures(
    metrics: Sequence[Metric], table: Ints, seed: int, *, subgroups: bool = False,
    draws: int = DRAWS,
) -> list[Measure]:  # fmt: skip
    """Compute metrics of a count table, with the 95 % percentile interval of resampled tables.

    Args:
        table: int64[2, G, 3, 2], from `training.bias.counts.count_table`.
        subgroups: whether the facet has subgroups.
    """
    cells, drawn = Cells(table), Cells(resampled(table, draws, seed))
    found = []
    for metric in metrics:
        if metric.code in SUBGROUPED and not subgroups:
            words = "the facet names no features for subgroups, or they give too many"
            found.append(Measure(metric.code, "not evaluable", None, words=words))
            continue
        found.append(_measure(metric, cells, float(metric.of(cells)), metric.of(drawn)))
    return found


def flip_measure(counts: Ints, table: Ints, seed: int, draws: int = DRAWS) -> Measure:
    """Compute the flip test from counted flips: int64[3], from `training.bias.neighbours.flips`."""
    total = int(counts.sum())
    drawn = resampled(counts, draws, seed)
    value = (counts[0] - counts[1]) / total if total else np.nan
    spread = (drawn[:, 0] - drawn[:, 1]) / total if total else np.full(draws, np.nan)
    return _measure(FT, Cells(table), float(value), np.asarray(spread, np.float64))


def _measure(metric: Metric, cells: Cells, value: float, drawn: Floats) -> Measure:
    state, words = _state(metric, cells, value)
    low, high = _interval(drawn)
    if state == "evaluated" and low is None:
        state, words = "not enough evidence", "most draws leave the metric undefined"
    return Measure(metric.code, state, _rounded(value), low, high, words)


def _state(metric: Metric, cells: Cells, value: float) -> tuple[State, str]:
    """Return the state of a metric, and why it isn't evaluated.

    A side without any case is not evaluable; so is a metric that divides by zero. A side with fewer
    than `MIN_CLAIMS` claims, or fewer than `MIN_CASES` of what the metric needs, isn't enough.
    """
    few = ""
    for need in metric.needs:
        counts = getattr(cells, need)
        least = float(counts.min())
        side = "the group" if counts[D] <= counts[A] else "the others"
        if least == 0:
            return "not evaluable", f"{side}: no {_WORDS[need]}"
        if least < MIN_CASES and not few:
            few = f"{side}: {least:.0f} {_WORDS[need]}, {MIN_CASES} are needed"
    if not np.isfinite(value):
        return "not evaluable", "the formula divides by zero"
    counts = cells.claims
    if metric.code not in _SIZES and counts.min() < MIN_CLAIMS:
        side = "the group" if counts[D] <= counts[A] else "the others"
        few = f"{side}: {counts.min():.0f} claims, {MIN_CLAIMS} are needed"
    return ("not enough evidence", few) if few else ("evaluated", "")


def _interval(drawn: Floats) -> tuple[float | None, float | None]:
    """Return the 95 % percentile interval of the draws that are defined."""
    sound = drawn[np.isfinite(drawn)]
    if 2 * len(sound) < len(drawn) or not len(sound):
        return None, None
    low, high = np.quantile(sound, [0.025, 0.975])
    return _rounded(float(low)), _rounded(float(high))


def _rounded(value: float) -> float | None:
    return round(value, DECIMALS) + 0.0 if np.isfinite(value) else None


def _side(side: int, learned: Ints, test: Ints) -> SideCounts:
    known, cells = learned[side].sum(axis=(0, 2)), test[side].sum(axis=0)
    return SideCounts(
        learned=int(known.sum()),
        learned_frauds=int(known[1]),
        legit_passed=int(cells[0, 0]),
        legit_referred=int(cells[0, 1]),
        fraud_passed=int(cells[1, 0]),
        fraud_referred=int(cells[1, 1]),
        unknown_passed=int(cells[2, 0]),
        unknown_referred=int(cells[2, 1]),
    )
