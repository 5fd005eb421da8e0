"""The bias report of a training run, and the comparison of mitigations, as structs and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..release.gates import Gate
from .limits import is_violated, range_of
from .measure import FacetBias, Measure

MOST_ASKED: Final = ("DPPL", "DI", "RR", "RD", "HRR", "AD")
"""Metrics of outcomes on the console; all are in the JSON."""

Rows = tuple[str, list[str], list[list[str]]]
"""Title, header and rows of a table."""


class Mitigated(msgspec.Struct, frozen=True, kw_only=True):
    """One mitigation for one facet: quality at capacity beside bias, on the same test claims.

    Attributes:
        name: short name, as in `training.bias.mitigation`; `as judged` is the model without any.
        words: what was changed, such as the features that were blanked.
        claims: the rows that it learned from.
        average_precision, auc, precision, recall: None where undefined; the last two are within
            the daily capacity.
        measures: DPPL, DI, RD, HRR and AD with as many claims referred as by the judged model.
    """

    facet: str
    name: str
    words: str
    claims: int
    average_precision: float | None
    auc: float | None
    precision: float | None
    recall: float | None
    measures: list[Measure]


class Bias(msgspec.Struct, frozen=True, kw_only=True):
    """The bias of the judged model on the test claims.

    Attributes:
        threshold: claims with a score at or above it count as referred.
        limits: the limit of each limited metric, see `training.bias.limits`.
        gate: the comparison with the limits.
        facets: all metrics of each facet.
        mitigations: empty unless they were asked for.
    """

    threshold: float
    limits: dict[str, float]
    gate: Gate
    facets: list[FacetBias]
    mitigations: list[Mitigated] = []


def bias_tables(bias: Bias | None) -> list[Rows]:
    """Lay out facets, their most asked metrics and the mitigations; empty without facets."""
    if bias is None or not bias.facets:
        return []
    return [_counts(bias.facets), _metrics(bias), *_mitigations(bias)]


def _counts(facets: Sequence[FacetBias]) -> Rows:
    rows = []
    for each in facets:
        cells = [each.facet]
        for side in (each.group, each.others):
            referred = side.legit_referred + side.fraud_referred + side.unknown_referred
            passed = side.legit_passed + side.fraud_passed + side.unknown_passed
            cells += [f"{passed + referred:,}", f"{referred:,}"]
        rows.append([*cells, f"{each.neither:,}"])
    header = ["facet", "test claims", "referred", "others", "referred", "neither"]
    return "Facets", header, rows


def _metrics(bias: Bias) -> Rows:
    rows = []
    for facet in bias.facets:
        codes = [*MOST_ASKED, *(code for code in bias.limits if code not in MOST_ASKED)]
        for code in codes:
            found = facet.measure(code)
            if found is not None:
                limit = bias.limits.get(code)
                rows.append([f"{facet.facet} {code}", _figure(found), _range(code, limit),
                             _state(found, limit)])  # fmt: skip
    return "Bias of what is referred", ["facet and metric", "value", "limit", "state"], rows


def _mitigations(bias: Bias) -> list[Rows]:
    tables = []
    for facet in bias.facets:
        found = [each for each in bias.mitigations if each.facet == facet.facet]
        rows = [
            [each.name, _plain(each.average_precision), _plain(each.auc), _plain(each.precision),
             _plain(each.recall), *(_plain(one.value) for one in each.measures)]
            for each in found
        ]  # fmt: skip
        if rows:
            header = ["learned from", "AP", "AUC", "prec.", "found",
                      *(one.metric for one in found[0].measures)]  # fmt: skip
            tables.append((f"Mitigations, {facet.facet}: none is published", header, rows))
    return tables


def _figure(measure: Measure) -> str:
    if measure.value is None:
        return "-"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.3f}"
    return f"{measure.value:.3f} ({measure.low:.3f} .. {measure.high:.3f})"


def _range(code: str, limit: float | None) -> str:
    if limit is None:
        return ""
    least, most = range_of(code, limit)
    return f"{least:g} .. {most:g}"


def _state(measure: Measure, limit: float | None) -> str:
    if limit is not None and is_violated(measure, limit):
        return "beyond the limit"
    return "" if measure.state == "evaluated" else measure.state


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
