"""Feature descriptions of a domain as rows: for the command line, docs and the offline store."""

from __future__ import annotations

from dataclasses import dataclass

from claimtrace.clock import DAY_MS, HOUR_MS

from .domain import Domain
from .features import Feature, Own, WindowFeature


@dataclass(frozen=True)
class FeatureRow:
    """A description of one feature; `place` is its index in the vector."""

    place: int
    name: str
    kind: str
    how: str
    text: str


def describe(domain: Domain) -> list[FeatureRow]:
    """Describe every feature of a domain, in vector order."""
    return [
        FeatureRow(i, each.name, _kind(each), _how(each), each.text)
        for i, each in enumerate(domain.features)
    ]


def duration_text(width_ms: int) -> str:
    """Write a duration as definitions do, in the largest unit that divides it.

    >>> duration_text(30 * 86_400_000), duration_text(3_600_000)
    ('30d', '1h')
    """
    for unit_ms, letter in ((DAY_MS, "d"), (HOUR_MS, "h"), (1000, "s")):
        if width_ms % unit_ms == 0:
            return f"{width_ms // unit_ms}{letter}"
    return f"{width_ms}ms"


def _kind(feature: Feature) -> str:
    if isinstance(feature, WindowFeature):
        return f"window: {feature.aggregate}"
    if isinstance(feature, Own):
        shape = "one-hot" if feature.equals else "ordered" if feature.order else "number"
        return f"{'profile' if feature.group else 'claim'}: {shape}"
    return "computed"


def _how(feature: Feature) -> str:
    if isinstance(feature, Own):
        origin = f"{feature.group}.{feature.field}" if feature.group else feature.field
        if feature.equals:
            return f"{origin} = {feature.equals}"
        return f"{origin} / {feature.unit}" if feature.unit != 1 else origin
    if isinstance(feature, WindowFeature):
        of = feature.value or ("labels" if feature.known else "claims")
        delay = f", ended {duration_text(feature.delay_ms)} ago" if feature.delay_ms else ""
        current = ", with this claim" if feature.current else ""
        return f"{of} of {feature.entity.name}, {duration_text(feature.width_ms)}{delay}{current}"
    return str(feature.expression)
