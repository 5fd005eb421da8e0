"""The slowest obvious version of every feature: for each claim, look through all that had arrived.

Facts come in log order as (kind, event, time_ms, known_ms): `claim`, `label`, `change`. The newest
event time among the claims so far is the watermark; a claim more than the lateness behind it is
scored but not applied, and its windows are missing. `edition` begins the edition that is its event.
"""

from __future__ import annotations

import math
from typing import Any

from claimtrace.editions import NEWEST
from featurestore.definitions.domain import Domain
from featurestore.definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from featurestore.definitions.features import Computed, Own, WindowFeature
from featurestore.fields.id_rules import IdRules
from featurestore.fields.normalisation import normal_category

NAN = math.nan


def time_of(value: Any) -> float:
    from claimtrace.events import EPOCH

    since = value - EPOCH
    return float((since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000)


def number_of(value: Any) -> float:
    if value is None:
        return NAN
    return time_of(value) if hasattr(value, "tzinfo") else float(value)


_EDITION = [NEWEST]
"""The edition in force; ids that were read under an earlier one keep their keys (`KEYS`)."""
_KEYS: dict[tuple[int, Any, str], tuple[Any, list[str]]] = {}
"""By the event's id; with the event, so that no other one gets its id."""


def keys_of(event: Any, entity: Any) -> list[str]:
    """The normalised key of each field of an entity; "" for missing and placeholders.

    They are those of the edition in force when the event arrived.
    """
    place = id(event), entity.fields, entity.form
    if place not in _KEYS:
        rules = IdRules(entity.form, frozenset(entity.deny), _EDITION[0])
        found = []
        for name in entity.fields:
            text = getattr(event, name)
            key = rules.key(text) if text else ""
            found.append("" if key and rules.is_placeholder(text, key) else key)
        _KEYS[place] = event, found
    return _KEYS[place][1]


def own_value(definition: Own, event: Any) -> float:
    if event is None:
        return 0.0 if definition.equals else NAN
    value = getattr(event, definition.field)
    if definition.equals:
        wanted = normal_category(definition.equals)
        return float(value is not None and normal_category(value) == wanted)
    if definition.order:
        known = [normal_category(each) for each in definition.order]
        written = normal_category(value) if value is not None else None
        return float(known.index(written)) if written in known else NAN
    plain = number_of(value)
    return math.floor(plain / definition.unit) if definition.unit != 1 and plain == plain else plain


def window_value(definition: WindowFeature, now: Any, past: list[Any], labels: list[Any]) -> float:
    """`past` are applied claims before this one, `labels` are (known_ms, claim, is_fraud)."""
    event, t = now["event"], now["time"]
    mine = keys_of(event, definition.entity)[0]
    if not mine or now["late"]:
        return NAN
    low, high = t - definition.delay_ms - definition.width_ms, t - definition.delay_ms
    theirs = [c for c in past if mine in keys_of(c["event"], definition.entity)]
    inside = [c for c in theirs if low < c["time"] <= high]
    if definition.aggregate == "since_last":
        return (t - max(c["time"] for c in inside)) / 86_400_000 if inside else definition.empty
    if definition.known:
        arrived = [
            fraud
            for known_ms, c, fraud in labels
            if low < known_ms <= high
            and c["applied"]
            and mine in keys_of(c["event"], definition.entity)
        ]
        if definition.aggregate == "outcomes":
            return float(sum(arrived))
        return sum(arrived) / len(arrived) if arrived else definition.empty
    own = definition.current and definition.delay_ms == 0
    counted = inside + ([now] if own else [])
    if definition.aggregate == "count":
        return float(len(counted))
    if definition.aggregate in ("outcomes", "rate"):
        frauds = sum(outcome_of(c) == "fraud" for c in inside)
        if definition.aggregate == "outcomes":
            return float(frauds)
        return frauds / len(counted) if counted else definition.empty
    if definition.aggregate == "distinct":
        return float(len({k for c in counted if (k := distinct_key(definition, c["event"]))}))
    values = [v for c in counted if (v := getattr(c["event"], definition.value)) is not None]
    return aggregate(definition, values)


def verdict_of(claim: Any) -> tuple[int, int, int, str] | None:
    """The outcome decided last, of equal ones the one later on the log, since edition 2."""
    return max(claim["outcomes"], default=None)


def outcome_of(claim: Any) -> str:
    """What is known of a claim: its verdict, or without one its last outcome under edition 1."""
    verdict = verdict_of(claim)
    return str(verdict[3] if verdict else claim["outcome"])


def labels_of(counted: list[Any], claims: list[Any]) -> list[tuple[int, Any, bool]]:
    """All labels that are counted: every one under edition 1, one a claim since edition 2."""
    found = list(counted)
    for claim in claims:
        verdict = verdict_of(claim)
        if verdict is not None and verdict[3] in ("fraud", "legit"):
            found.append((verdict[2], claim, verdict[3] == "fraud"))
    return found


def distinct_key(definition: WindowFeature, event: Any) -> str:
    from featurestore.definitions.features import Entity

    by_key: dict[str, Entity] = definition_entities(definition)
    entity = by_key.get(definition.value) or Entity("value", key=definition.value)
    return keys_of(event, Entity(entity.name, definition.value, (), entity.form, entity.deny))[0]


_ENTITIES: dict[str, Any] = {}


def definition_entities(_: WindowFeature) -> dict[str, Any]:
    return _ENTITIES


def aggregate(definition: WindowFeature, values: list[int]) -> float:
    n = len(values)
    if definition.aggregate == "sum":
        return float(sum(values))
    if definition.aggregate == "mean":
        return float(sum(values)) / n if n else definition.empty
    if definition.aggregate == "std":
        if n < 2:
            return definition.empty
        exact = n * sum(v * v for v in values) - sum(values) ** 2
        return math.sqrt(float(exact) / (float(n) * float(n - 1)))
    if not values:
        return definition.empty
    return float(min(values) if definition.aggregate == "min" else max(values))


def evaluate(expression: Expression, names: dict[str, float]) -> float:
    if expression.operator == "name":
        return names[str(expression.operands[0])]
    if expression.operator == "number":
        return float(expression.operands[0])  # type: ignore[arg-type]
    a, b = (evaluate(o, names) for o in expression.operands)  # type: ignore[arg-type]
    match expression.operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return NAN if b == 0 else a / b
        case "<":
            return float(a < b)
        case "<=":
            return float(a <= b)
        case ">":
            return float(a > b)
        case ">=":
            return float(a >= b)
        case "==":
            return float(a == b)
        case "&":
            return float(a == 1 and b == 1)
        case _:
            return float(a == 1 or b == 1)


def naive_vectors(
    domain: Domain,
    facts: list[tuple[str, Any, int, int]],
    lateness_ms: int,
    edition: int = NEWEST,
) -> list[list[float]]:
    """One vector for each claim, in log order; `edition` is the one that the log begins with."""
    _ENTITIES.clear()
    _ENTITIES.update({e.key: e for e in domain.entities})
    past: list[Any] = []
    by_id: dict[str, Any] = {}
    labels: list[Any] = []
    profiles: dict[tuple[str, str], tuple[int, Any]] = {}
    watermark = -(10**18)
    vectors = []
    _KEYS.clear()
    _EDITION[0] = edition
    for order, (kind, event, time_ms, known_ms) in enumerate(facts):
        if kind == "edition":
            edition = _EDITION[0] = event
            continue
        if kind == "label":
            claim = by_id.get(event.claim_id)
            if edition >= 2:
                if claim is not None and event.outcome in ("fraud", "legit", "retracted"):
                    claim["outcomes"].append((time_ms, order, known_ms, event.outcome))
            elif claim is not None and event.outcome in ("fraud", "legit"):
                claim["outcome"] = event.outcome
                labels.append((known_ms, claim, event.outcome == "fraud"))
            continue
        if kind == "change":
            group = next(g for g in domain.groups if g.event is type(event))
            key = keys_of(event, group.entity)[0]
            stored = profiles.get((group.name, key))
            if key and (stored is None or time_ms >= stored[0]):
                profiles[group.name, key] = (time_ms, event)
            continue
        watermark = max(watermark, time_ms)
        late = time_ms < watermark - lateness_ms
        now = {"event": event, "time": time_ms, "late": late, "applied": not late,
               "outcome": "", "outcomes": []}  # fmt: skip
        known = labels_of(labels, list(by_id.values()))
        vectors.append(_vector(domain, now, past, known, profiles))
        by_id[getattr(event, domain.claim.id_field)] = now
        if now["applied"]:
            past.append(now)
    return vectors


def _vector(domain: Domain, now: Any, past: Any, labels: Any, profiles: Any) -> list[float]:
    event = now["event"]
    names: dict[str, float] = {}
    for field in domain.claim.__struct_fields__:
        value = getattr(event, field)
        if value is None or isinstance(value, int | float) or hasattr(value, "tzinfo"):
            names[FIELD_PREFIX + field] = number_of(value)
    found = {}
    for group in domain.groups:
        key = keys_of(event, group.entity)[0]
        found[group.name] = profiles.get((group.name, key), (0, None))[1]
        for field in group.event.__struct_fields__:
            value = getattr(found[group.name], field) if found[group.name] is not None else None
            if value is None or isinstance(value, int | float) or hasattr(value, "tzinfo"):
                names[f"{PROFILE_PREFIX}{group.name}.{field}"] = number_of(value)
    vector = []
    for definition in domain.features:
        if isinstance(definition, Own):
            value = own_value(definition, found[definition.group] if definition.group else event)
        elif isinstance(definition, WindowFeature):
            value = window_value(definition, now, past, labels)
        else:
            assert isinstance(definition, Computed)
            value = evaluate(definition.expression, names)
        names[definition.name] = value
        vector.append(value + 0.0)
    return vector
