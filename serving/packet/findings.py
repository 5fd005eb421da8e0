"""Findings for and against fraud, as a colleague would say it.

A model's reasons are numbers by feature: three windows over one bank account are three reasons, and
a value that most claims have gets a share of the margin like any other. Here they become findings:

- several windows over one entity are one finding, whose share is the sum of theirs;
- a value that lies where most claims lie (`TYPICAL` of training) isn't called odd. It is found only
  where it differs much from this entity's own past. Its share is added to `usual`;
- what lowers the score is listed beside what raises it;
- a value is compared with the entity's own past and with the other claims of training;
- no value of a personal field is told.

The sealed reasons of a decision aren't changed by this: it is how they are read.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from featurestore.definitions.domain import Domain
from featurestore.definitions.features import Feature, Own, WindowFeature

from ..evidence.evidence import Evidence
from .personal import Personal
from .wording import compared, in_words, span_words

TYPICAL: Final = (0.25, 0.75)
"""Where the middle half of claims lies, as shares of the training grid."""
MUCH: Final = 2.0
"""A value differs much from its entity's past if it is this many times as large or as small."""
MOST: Final = 6
"""Findings of each kind that are listed."""


class Finding(msgspec.Struct, frozen=True):
    """One fact that speaks for or against fraud.

    Attributes:
        text: the fact in words, with what it is compared with.
        share: its part of the margin (log-odds); above 0 it speaks for fraud.
        features: the features that it stands on, the heaviest first.
        rows: how many records of the log they counted, each once.
    """

    text: str
    share: float
    features: list[str]
    rows: int = 0


class Findings(msgspec.Struct, frozen=True):
    """All findings about a claim.

    The shares of `raising` and `lowering`, `usual` and `base` sum to the margin.

    Attributes:
        raising: what speaks for fraud, the heaviest first.
        lowering: what speaks against it.
        usual: the sum of the shares of values that are as on most claims, or of less weight.
        base: the margin of the model without any feature; None without a model.
    """

    raising: list[Finding]
    lowering: list[Finding]
    usual: float
    base: float | None


class _Measure(NamedTuple):
    """One thing that is measured, by one feature or in several windows."""

    subject: str
    entity: str
    parts: list[tuple[Feature, int]]
    """The features with their places in the vector."""


def findings_of(
    evidence: Evidence,
    domain: Domain,
    baselines: Mapping[str, Sequence[float]],
    most: int = MOST,
) -> Findings:
    """Return what speaks for and against fraud.

    Args:
        evidence: of the claim; contributions of its features come from the model that decided.
        domain: of the decision's definitions.
        baselines: the percentile grid of each feature in training (`models.baselines`), of that
            model.
        most: findings of each kind that are listed.
    """
    told = _Told(evidence, domain, baselines)
    by_fact: dict[tuple[str, bool], list[tuple[float, str, _Measure]]] = {}
    usual = 0.0
    for measure in _measures(domain.features):
        share = told.share(measure)
        text = told.text(measure, is_raising=share > 0) if share else ""
        if not text:
            usual += share
            continue
        # windows over one entity are one fact; other measures stand for themselves
        key = measure.entity or measure.parts[0][0].name
        by_fact.setdefault((key, share > 0), []).append((share, text, measure))
    found = sorted((told.finding(each) for each in by_fact.values()), key=_weight)
    raising = [each for each in found if each.share > 0]
    lowering = [each for each in found if each.share < 0]
    usual += math.fsum(each.share for each in (*raising[most:], *lowering[most:]))
    return Findings(raising[:most], lowering[:most], round(usual, 9), evidence.base_margin)


def _weight(finding: Finding) -> tuple[float, str]:
    return -abs(finding.share), finding.text


def _measures(features: Sequence[Feature]) -> list[_Measure]:
    """Put features together that measure one thing: windows of one text, values of one category."""
    found: dict[tuple[str, ...], _Measure] = {}
    for place, each in enumerate(features):
        subject = each.text or each.name
        entity = each.entity.name if isinstance(each, WindowFeature) else ""
        key: tuple[str, ...] = (entity, subject, each.name)
        if isinstance(each, WindowFeature):
            key = (entity, subject)
        elif isinstance(each, Own) and each.equals:
            key = ("", each.group, each.field)
        found.setdefault(key, _Measure(subject, entity, [])).parts.append((each, place))
    return list(found.values())


class _Told:
    """Tells of measures in words."""

    def __init__(
        self, evidence: Evidence, domain: Domain, baselines: Mapping[str, Sequence[float]]
    ) -> None:
        self._features = {each.name: each for each in evidence.features}
        self._baselines = baselines
        self._personal = Personal(domain)

    def share(self, measure: _Measure) -> float:
        """Return the sum of the contributions of its features, in margin (log-odds)."""
        shares = [self._contribution(feature.name) for feature, _ in measure.parts]
        return math.fsum(shares)

    def finding(self, parts: list[tuple[float, str, _Measure]]) -> Finding:
        """Join the measures of one fact; the heaviest is told first."""
        parts = sorted(parts, key=lambda part: (-abs(part[0]), part[1]))
        features = [feature for _, _, measure in parts for feature, _ in measure.parts]
        names = [each.name for each in features if self._contribution(each.name)]
        names.sort(key=lambda name: -abs(self._contribution(name)))
        rows = {
            (row.topic, row.partition, row.position)
            for name in names
            for row in self._features[name].rows
        }
        share = round(math.fsum(part[0] for part in parts), 9)
        return Finding("; ".join(part[1] for part in parts), share, names, len(rows))

    def text(self, measure: _Measure, *, is_raising: bool) -> str:
        """Return a measure in words; empty if its value isn't worth a word."""
        first = measure.parts[0][0]
        if any(feature.name in self._personal.features for feature, _ in measure.parts):
            field = first.field if isinstance(first, Own) else measure.subject
            return f"{field} (personal: not shown)"
        if isinstance(first, Own) and first.equals:
            return self._category(measure, is_raising=is_raising)
        said = []
        for feature, _ in measure.parts:
            told = self._value(feature, is_raising=is_raising)
            if told:
                said.append(told)
        return f"{measure.subject}: {', '.join(said)}" if said else ""

    def _category(self, measure: _Measure, *, is_raising: bool) -> str:
        """Tell the value of a category, the one whose feature is 1."""
        for feature, _ in measure.parts:
            if self._value_of(feature.name) == 1.0:
                grid = self._baselines.get(feature.name, ())
                if _is_typical(grid, 1.0):
                    return "" if is_raising else f"{feature.text or feature.name}, as many claims"
                return f"{feature.text or feature.name}{_rarity(grid)}"
        return ""

    def _value(self, feature: Feature, *, is_raising: bool) -> str:
        """Tell one value with what it is compared with; empty where it is not odd."""
        value = self._value_of(feature.name)
        if value is None or not self._contribution(feature.name):
            return ""
        grid = self._baselines.get(feature.name, ())
        # 0 is what an entity without a past has, where the definitions say so
        own = (self._value_of(feature.baseline) if feature.baseline else None) or None
        is_typical, differs = _is_typical(grid, value), _differs(feature, value, own)
        if is_typical and not differs and is_raising:
            return ""
        said = in_words(feature, value)
        if isinstance(feature, WindowFeature):
            said += f" {span_words(feature)}"
        beside = compared(feature, value, own, grid)
        return f"{said} ({beside})" if beside else said

    def _value_of(self, name: str) -> float | None:
        found = self._features.get(name)
        return found.value if found is not None else None

    def _contribution(self, name: str) -> float:
        found = self._features.get(name)
        return (found.contribution if found is not None else None) or 0.0


def _is_typical(grid: Sequence[float], value: float) -> bool:
    """Whether a value lies where the middle half of claims lies; without a grid nobody knows.

    >>> _is_typical([0.0] * 60 + [1.0] * 41, 0.0), _is_typical([0.0, 1.0, 2.0, 3.0, 9.0], 9.0)
    (True, False)
    """
    if not grid:
        return False
    below, up_to = bisect_left(grid, value) / len(grid), bisect_right(grid, value) / len(grid)
    return below <= TYPICAL[1] and up_to >= TYPICAL[0]


def _differs(feature: Feature, value: float, own: float | None) -> bool:
    """Whether a value is much above or below the usual value of its entity."""
    if own is None or value < 0:
        return False
    usual = own / _unit(feature)
    return value > usual * MUCH or value * MUCH < usual


def _unit(feature: Feature) -> float:
    """Return what the value is divided by, as cents are to whole units, when its past is not."""
    own_in_cents = "_cents" in feature.baseline and "_cents" not in feature.name
    return 100.0 if own_in_cents else 1.0


def _rarity(grid: Sequence[float]) -> str:
    """Say on how many claims a flag is 1."""
    if not grid:
        return ""
    among = round(100 * (len(grid) - bisect_left(grid, 1.0)) / len(grid))
    return f" (on {among} of 100 claims)" if among else " (on less than 1 of 100 claims)"
