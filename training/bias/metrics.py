"""Bias metrics by the formulas that Amazon SageMaker Clarify documents, on count tables.

Source: the pages "Pre-training Bias Metrics" and "Post-training Data and Model Bias Metrics" of the
developer guide of Amazon SageMaker AI. In them n(1) counts legitimate and n'(1) passed claims here,
n(0) frauds and n'(0) referred ones: see `training.bias.counts`. A metric is NaN where it divides by
zero. Two metrics aren't Clarify's: RR and HRR. Since most claims pass, DI stays near 1 even where a
group is referred three times as often; these two look at the few that are referred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from .counts import FRAUD, LEGIT, A, Cells, D

Floats = NDArray[np.float64]
Kind = Literal["difference", "ratio", "distance"]

MIN_CLAIMS: Final = 100
"""With fewer claims on one side no metric that compares the sides is evaluated."""
MIN_CASES: Final = 10
"""With fewer frauds, legitimate claims, passed or referred claims on one side no metric that needs
them is evaluated: a percentile interval of a handful of cases is far too narrow."""


@dataclass(frozen=True)
class Metric:
    """One bias metric.

    Attributes:
        code: its name in reports and settings, Clarify's where Clarify has it.
        words: one sentence for people.
        formula: the documented formula.
        kind: a `difference` or `distance` is 0, a `ratio` is 1 where there is no bias.
        of: computes it: Cells -> float64[...].
        needs: the attributes of `Cells` that must hold `MIN_CASES` on both sides.
    """

    code: str
    words: str
    formula: str
    kind: Kind
    of: Callable[[Cells], Floats]
    needs: tuple[str, ...]


def _rate(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN where the whole is 0."""
    shares = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole != 0)
    return shares


def _gap(rates: Floats) -> Floats:
    """Return the rate of the others less that of the facet."""
    return np.asarray(rates[..., A] - rates[..., D])


def _times(rates: Floats) -> Floats:
    """Return the rate of the facet over that of the others."""
    return _rate(rates[..., D], rates[..., A])


def _label_shares(cells: Cells) -> tuple[Floats, Floats]:
    """Return the label distributions Pa and Pd: float64[..., 2], legitimate and fraud."""
    shares = np.stack([_rate(cells.legit, cells.judged), _rate(cells.fraud, cells.judged)], axis=-1)
    return shares[..., A, :], shares[..., D, :]


def _divergence(one: Floats, other: Floats) -> Floats:
    """Return the sum of p ln(p / q) over labels, infinite where only q is 0 (Kullback, Leibler)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(one > 0, one * np.log(one / other), 0.0 * one)
    return np.asarray(terms.sum(axis=-1))


def kl(cells: Cells) -> Floats:
    """Compute the Kullback-Leibler divergence of the labels, in nats."""
    return _divergence(*_label_shares(cells))


def js(cells: Cells) -> Floats:
    """Compute the Jensen-Shannon divergence of the labels, in nats."""
    one, other = _label_shares(cells)
    middle = (one + other) / 2
    return (_divergence(one, middle) + _divergence(other, middle)) / 2


def _conditional(rejected: Floats, accepted: Floats) -> Floats:
    """Compute the conditional demographic disparity: the mean of DD over subgroups, by their size.

    DD of a subgroup is the facet's share of its rejected claims less its share of the accepted. A
    subgroup without rejected or without accepted claims has no DD, and is left out.

    Args:
        rejected, accepted: float64[..., 2 sides, G subgroups].
    """
    sizes = (rejected + accepted).sum(axis=-2)
    shares = [_rate(each[..., D, :], each.sum(axis=-2)) for each in (rejected, accepted)]
    disparity = shares[0] - shares[1]
    weights = np.where(np.isnan(disparity), 0.0, sizes)
    return _rate((np.nan_to_num(disparity) * weights).sum(axis=-1), weights.sum(axis=-1))


def cddl(cells: Cells) -> Floats:
    """Compute the conditional demographic disparity in labels."""
    by_label = cells.table.sum(axis=-1)
    return _conditional(by_label[..., FRAUD], by_label[..., LEGIT])


def cddpl(cells: Cells) -> Floats:
    """Compute the conditional demographic disparity in predicted labels, the outcomes."""
    by_outcome = cells.table.sum(axis=-2)
    return _conditional(by_outcome[..., 1], by_outcome[..., 0])


def ge(cells: Cells) -> Floats:
    """Compute the generalised entropy (alpha 2) of the benefits y' - y + 1 of all judged claims."""
    right, much = cells.legit_passed + cells.fraud_referred, cells.fraud_passed
    count = cells.judged.sum(axis=-1)
    total, squares = (right + 2 * much).sum(axis=-1), (right + 4 * much).sum(axis=-1)
    return (_rate(squares * count, total**2) - 1) / 2


def _accuracy(cells: Cells) -> Floats:
    return _rate(cells.legit_passed + cells.fraud_referred, cells.judged)


_LABELS: Final = ("legit", "fraud")
_OUTCOMES: Final = ("passed", "referred")
_BOTH: Final = (*_LABELS, *_OUTCOMES)

BEFORE: Final[tuple[Metric, ...]] = (
    Metric("CI", "How much smaller the group is than the others.", "(na - nd) / (na + nd)",
           "difference", lambda c: _rate(_gap(c.judged), c.judged.sum(axis=-1)), ()),
    Metric("DPL", "Share of legitimate claims, others less group.", "na(1)/na - nd(1)/nd",
           "difference", lambda c: _gap(_rate(c.legit, c.judged)), _LABELS),
    Metric("KL", "Distance of the groups' verdicts as relative entropy.", "sum Pa ln(Pa/Pd)",
           "distance", kl, _LABELS),
    Metric("JS", "Distance of the groups' verdicts, the same both ways.",
           "(KL(Pa,P) + KL(Pd,P)) / 2, P = (Pa + Pd)/2", "distance", js, _LABELS),
    Metric("LP", "Distance of the groups' verdicts as a length.", "(sum (Pa - Pd)^2)^(1/2)",
           "distance", lambda c: np.sqrt(((np.subtract(*_label_shares(c))) ** 2).sum(axis=-1)),
           _LABELS),
    Metric("TVD", "Half the sum of the differences of the verdicts' shares.",
           "1/2 sum abs(Pa - Pd)", "distance",
           lambda c: np.abs(np.subtract(*_label_shares(c))).sum(axis=-1) / 2, _LABELS),
    Metric("KS", "The greatest difference of a verdict's share.", "max abs(Pa - Pd)", "distance",
           lambda c: np.abs(np.subtract(*_label_shares(c))).max(axis=-1), _LABELS),
    Metric("CDDL", "The group's share of the frauds less its share of the legitimate claims, "
           "within each subgroup.", "(1/n) sum ni DDi, DD = nd(0)/n(0) - nd(1)/n(1)", "difference",
           cddl, _LABELS),
)  # fmt: skip
"""Metrics of the claims that a model learns from, before there is a model."""

AFTER: Final[tuple[Metric, ...]] = (
    Metric("DPPL", "Share of passed claims, others less group.", "n'a(1)/na - n'd(1)/nd",
           "difference", lambda c: _gap(_rate(c.passed, c.claims)), _OUTCOMES),
    Metric("DI", "Share of passed claims, group over others.", "(n'd(1)/nd) / (n'a(1)/na)",
           "ratio", lambda c: _times(_rate(c.passed, c.claims)), _OUTCOMES),
    Metric("RR", "Share of referred claims, group over others (not Clarify's).",
           "(n'd(0)/nd) / (n'a(0)/na)", "ratio",
           lambda c: _times(_rate(c.referred, c.claims)), _OUTCOMES),
    Metric("HRR",
           "Share of legitimate claims that are referred, group over others (not Clarify's).",
           "(FNd/nd(1)) / (FNa/na(1))", "ratio",
           lambda c: _times(_rate(c.legit_referred, c.legit)), ("legit_passed", "legit_referred")),
    Metric("DCA", "Legitimate over passed claims, others less group.",
           "na(1)/n'a(1) - nd(1)/n'd(1)", "difference",
           lambda c: _gap(_rate(c.legit, c.judged_passed)), _BOTH),
    Metric("DCR", "Frauds over referred claims, group less others.",
           "nd(0)/n'd(0) - na(0)/n'a(0)", "difference",
           lambda c: -_gap(_rate(c.fraud, c.judged_referred)), (*_LABELS, "judged_referred")),
    Metric("SD", "Share of frauds that are referred, group less others.",
           "TNd/(TNd+FPd) - TNa/(TNa+FPa)", "difference",
           lambda c: -_gap(_rate(c.fraud_referred, c.fraud)), ("fraud", "referred")),
    Metric("RD", "Share of legitimate claims that pass, others less group.",
           "TPa/(TPa+FNa) - TPd/(TPd+FNd)", "difference",
           lambda c: _gap(_rate(c.legit_passed, c.legit)), ("legit", "referred")),
    Metric("DAR", "Share of passed claims that are legitimate, others less group.",
           "TPa/(TPa+FPa) - TPd/(TPd+FPd)", "difference",
           lambda c: _gap(_rate(c.legit_passed, c.judged_passed)), _BOTH),
    Metric("DRR", "Share of referred claims that are frauds, group less others.",
           "TNd/(TNd+FNd) - TNa/(TNa+FNa)", "difference",
           lambda c: -_gap(_rate(c.fraud_referred, c.judged_referred)),
           ("passed", "judged_referred")),
    Metric("AD", "Share of claims judged right, others less group.", "ACCa - ACCd", "difference",
           lambda c: _gap(_accuracy(c)), _BOTH),
    Metric("TE", "Legitimate claims referred for each fraud passed, group less others.",
           "FNd/FPd - FNa/FPa", "difference",
           lambda c: -_gap(_rate(c.legit_referred, c.fraud_passed)),
           ("fraud_passed", "referred")),
    Metric("CDDPL", "The group's share of the referred claims less its share of the passed, within "
           "each subgroup.", "(1/n) sum ni DDi, DD = n'd(0)/n'(0) - n'd(1)/n'(1)", "difference",
           cddpl, _OUTCOMES),
    Metric("GE", "How unequally benefits are spread over all claims of both sides.",
           "(1/2n) sum [(b/mean b)^2 - 1], b = y' - y + 1", "distance", ge, ()),
)  # fmt: skip
"""Metrics of the outcomes of a model; FT, which looks at neighbours, is in `neighbours`."""

FT: Final = Metric(
    "FT", "Referred claims of the group whose neighbours among the others pass, less those passed "
    "whose neighbours are referred, over the group's claims.", "(F+ - F-) / nd", "difference",
    lambda c: np.full(c.claims.shape[:-1], np.nan), _OUTCOMES,
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = {each.code: each for each in (*BEFORE, *AFTER, FT)}
"""All metrics by their code."""

SUBGROUPED: Final = ("CDDL", "CDDPL")
"""Metrics that need subgroups."""
