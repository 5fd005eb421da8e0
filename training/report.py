"""The report of a training run: one struct for programs, and tables in words for people."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from claimtrace.clock import DAY_MS
from claimtrace.decisions import ModelRef

from .bias.comparison import Bias, bias_tables
from .checks.contract import Contract
from .checks.leaks import Leaks
from .checks.tables import check_tables
from .data.maturity import Maturity
from .data.split import Lost
from .evaluation.capacity import Threshold
from .evaluation.evaluate import Evaluation, Interval
from .evaluation.subsets import Subset
from .explanation.explanation import Explanation
from .explanation.tables import explanation_tables
from .fitting.choice import Directed, Searched, Tried
from .fitting.tables import choice_tables
from .release.gate import Verdict
from .release.gates import Gate, gate_rows
from .tables import Table as Table


class SplitPart(msgspec.Struct, frozen=True):
    """One part: its claims and known frauds, and the event times of its first and last claim."""

    name: str
    claims: int
    frauds: int
    from_ms: int
    to_ms: int


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a training run; encodes to JSON."""

    schema_version: int = 2
    model: ModelRef
    promoted: bool
    verdict: Verdict
    champion_before: ModelRef | None
    at_ms: int
    definitions: str
    features: int
    maturity: Maturity
    split: str
    parts: list[SplitPart]
    lost: list[Lost]
    fitter: str
    rounds: int
    params: dict[str, float | int | str]
    tried: list[Tried]
    search: Searched | None = None
    directions: Directed | None = None
    contract: Contract | None = None
    leaks: Leaks | None = None
    sample: float = 1.0
    evaluation: Evaluation
    subsets: list[Subset]
    champion_evaluation: Evaluation | None
    thresholds: dict[str, Threshold]
    notes: list[str]
    bias: Bias | None = None
    explanation: Explanation | None = None
    decision: str = ""
    """Why the version took charge, or didn't."""
    gates: list[Gate] = []
    report_digest: str = ""
    """SHA-256 of the version's HTML report; empty if it has none."""


def tables_of(report: TrainingReport) -> list[Table]:
    """Lay out the report as tables, the most asked for first."""
    tables = [
        _quality(report),
        Table(*gate_rows(report.gates)),
        _subsets(report),
        _thresholds(report),
        _parts(report),
        *(Table(*each) for each in bias_tables(report.bias)),
    ]
    if any(lost.claims for lost in report.lost):
        tables.append(_lost(report))
    if len(report.tried) > 1:
        tables.append(_tried(report))
    tables += explanation_tables(report.explanation)
    tables += choice_tables(report.search, report.directions)
    tables += check_tables(report.contract, report.leaks)
    return [*tables, _delay(report), _maturity(report)]


def money(cents: int) -> str:
    """Format cents as whole major units.

    >>> money(123_456_789)
    '1,234,568'
    """
    return f"{round(cents / 100):,}"


def _quality(report: TrainingReport) -> Table:
    models = [report.evaluation]
    header = ["on the test claims", "this model"]
    if report.champion_evaluation is not None:
        models.append(report.champion_evaluation)
        header.append("champion")
    first = report.evaluation
    per_day = f"at {first.capacity_per_day:g} a day"
    rows = [
        ["average precision", *(_interval(m.average_precision) for m in models)],
        ["AUC", *(_interval(m.auc) for m in models)],
        [f"precision {per_day}", *(_interval(m.precision) for m in models)],
        ["highest possible precision", *(_number(m.precision_ceiling) for m in models)],
        [f"frauds found {per_day}", *(_interval(m.recall) for m in models)],
    ]
    if first.money_found_ratio is not None:
        rows.append([f"fraud money found {per_day}", *(_money(m) for m in models)])
    rows.append(["calibration error", *(_number(m.calibration_error) for m in models)])
    rows.append(["share of frauds", _number(first.base_ratio), *([""] * (len(models) - 1))])
    return Table("Quality", header, rows)


def _subsets(report: TrainingReport) -> Table:
    rows = [
        [each.name, f"{each.claims:,}", f"{each.frauds:,}", _number(each.average_precision),
         _number(each.auc)]
        for each in report.subsets
    ]  # fmt: skip
    header = ["claims of", "with a verdict", "frauds", "average precision", "AUC"]
    return Table("Test claims by their policy", header, rows)


def _tried(report: TrainingReport) -> Table:
    names = sorted({name for each in report.tried for name in each.params})
    rows = [
        [*(str(each.params.get(name, "")) for name in names), str(each.rounds),
         f"{each.average_precision:.3f}"]
        for each in report.tried
    ]  # fmt: skip
    return Table("Settings tried on claims before the test", [*names, "trees", "average precision"],
                 rows)  # fmt: skip


def _delay(report: TrainingReport) -> Table:
    rows = [[f"{each.age_days} days", f"{each.known_ratio:.0%}"] for each in report.maturity.by_age]
    rows.append(["fair sample from", f"{report.maturity.delay_ms / DAY_MS:.0f} days on"])
    return Table("Verdicts known by the age of a claim", ["age", "known"], rows)


def _thresholds(report: TrainingReport) -> Table:
    rows = [
        [name, f"{t.value:.6f}", f"{t.capacity_per_day:g}", f"{t.expected_per_day:.1f}"]
        for name, t in report.thresholds.items()
    ]
    return Table("Thresholds", ["outcome", "from score", "capacity a day", "expected a day"], rows)


def _parts(report: TrainingReport) -> Table:
    rows = [
        [part.name, f"{part.claims:,}", f"{part.frauds:,}", _day(part.from_ms), _day(part.to_ms)]
        for part in report.parts
    ]
    return Table("Parts", ["part", "claims", "frauds", "from", "to"], rows)


def _maturity(report: TrainingReport) -> Table:
    rows = [
        [share.month, f"{share.claims:,}", f"{share.labelled_ratio:.0%}", f"{share.frauds:,}"]
        for share in report.maturity.by_month
    ]
    header = ["month", "claims", "with a verdict", "frauds"]
    return Table("Verdicts by month of the claim", header, rows)


def _lost(report: TrainingReport) -> Table:
    rows = [
        [lost.reason, f"{lost.claims:,}", f"{lost.frauds:,}", lost.words]
        for lost in report.lost
        if lost.claims
    ]
    return Table("Claims with a verdict that the judged model doesn't learn from",
                 ["rule", "claims", "frauds", "why"], rows)  # fmt: skip


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.3f} ({_number(interval.low)} .. {_number(interval.high)})"


def _money(evaluation: Evaluation) -> str:
    ratio, cents = evaluation.money_found_ratio, evaluation.money_found_cents
    if ratio is None or cents is None:
        return "-"
    return f"{money(cents)}, {_interval(ratio)} of all"


def _day(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms").astype("datetime64[D]"))
