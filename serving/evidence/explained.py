"""Features and rules of a decision as evidence: values, rows, and what expressions read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurestore.definitions.catalogue import describe
from featurestore.definitions.domain import Domain
from featurestore.definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from featurestore.definitions.features import Own, WindowFeature

from .counting import Counter
from .evidence import FeatureEvidence, Operand, RuleEvidence
from .history import PastClaim
from .small_replay import Replayed

Columns = Mapping[str, NDArray[np.float64]]


def features_of(domain: Domain, replayed: Replayed, counter: Counter, claim: PastClaim) -> list[
    FeatureEvidence
]:  # fmt: skip
    """Return each feature of the vector with the rows that it counted."""
    shares = contributions_of(domain, replayed)
    found = []
    groups = {group.name: group for group in domain.groups}
    for row, feature in zip(describe(domain), domain.features, strict=True):
        value = float(replayed.vector[row.place])
        told: dict[str, Any] = {"contribution": shares.get(row.name), "value": or_none(value)}
        named: dict[str, Any] = {
            "place": row.place, "name": row.name, "kind": row.kind, "how": row.how,
            "text": row.text,
        }  # fmt: skip
        if isinstance(feature, WindowFeature):
            counted = counter.window(feature)
            until = claim.time_ms - feature.delay_ms
            told |= {
                "entity": feature.entity.name, "entity_key": _text(claim, feature.entity.key),
                "from_ms": until - feature.width_ms, "to_ms": until, "rows": counted.rows,
                "agrees": _is_same(counted.value, value), "note": counted.note,
            }  # fmt: skip
        elif isinstance(feature, Own) and feature.group:
            group = groups[feature.group]
            rows = counter.profile(group)
            told |= {
                "entity": group.entity.name, "entity_key": _text(claim, group.entity.key),
                "rows": rows, "note": "" if rows else f"no profile of this {group.entity.name}",
            }  # fmt: skip
        elif not isinstance(feature, Own):
            told |= {"operands": operands_of(feature.expression, replayed.columns)}
        found.append(FeatureEvidence(**named, **told))
    return found


def contributions_of(domain: Domain, replayed: Replayed) -> dict[str, float]:
    """Return the share of the margin of each feature that the model takes; empty without one."""
    if replayed.scorer is None or replayed.contributions is None:
        return {}
    taken = replayed.scorer.manifest.features or domain.feature_names
    return dict(zip(taken, replayed.contributions[:-1].tolist(), strict=True))


def rules_of_decision(domain: Domain, columns: Columns) -> list[RuleEvidence]:
    """Return every rule with the numbers that it read, those that fired first."""
    found = []
    for rule in domain.rules:
        fired = bool(np.all(np.asarray(rule.when.evaluate(columns)) == 1))
        found.append(
            RuleEvidence(rule.name, rule.text, rule.outcome, fired, condition_text(rule.when),
                         operands_of(rule.when, columns))
        )  # fmt: skip
    return sorted(found, key=lambda each: not each.fired)


def condition_text(expression: Expression) -> str:
    """Return an expression as text without its outer brackets."""
    text = str(expression)
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def operands_of(expression: Expression, columns: Columns) -> list[Operand]:
    """Return the names that an expression reads with their values, and its constants."""
    found: dict[str, Operand] = {}
    for leaf in _leaves(expression):
        text = str(leaf)
        if leaf.operator == "number":
            found.setdefault(text, Operand(text, float(leaf.operands[0]), True))  # type: ignore[arg-type]
            continue
        name = str(leaf.operands[0])
        plain = name.removeprefix(FIELD_PREFIX).removeprefix(PROFILE_PREFIX)
        found.setdefault(plain, Operand(plain, or_none(float(columns[name][0]))))
    return list(found.values())


def or_none(value: float) -> float | None:
    """Return None for NaN."""
    return None if math.isnan(value) else value


def _leaves(expression: Expression) -> Iterable[Expression]:
    if expression.operator in ("name", "number"):
        yield expression
        return
    for operand in expression.operands:
        if isinstance(operand, Expression):
            yield from _leaves(operand)


def _is_same(counted: float, value: float) -> bool:
    return counted + 0.0 == value or (math.isnan(counted) and math.isnan(value))


def _text(claim: PastClaim, name: str) -> str:
    written = getattr(claim.event, name)
    return "" if written is None else str(written)
