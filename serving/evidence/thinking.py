"""What-if: the decision on a changed claim, and the smallest change that leaves the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from claimtrace.events import Event, Record
from featurestore.definitions.domain import Domain
from featurestore.definitions.expressions import FIELD_PREFIX
from featurestore.definitions.features import Computed, Own, WindowFeature
from featurestore.fields.event_columns import known_values
from stream.decisions.outcomes import OUTCOMES
from stream.engine.looked import Looked

from .evidence import SmallestChange, Thought, WhatIf
from .explained import or_none
from .small_replay import Replayed

_STEPS: Final = 32
"""Values of a number that are tried on each side of it, evenly up to `_FARTHEST` times away."""
_FARTHEST: Final = 4.0
_ROUNDS: Final = 3
"""How often the space between the last value that stays and the first that leaves is searched."""

_encode: Final = msgspec.json.Encoder().encode


class _Outcome(NamedTuple):
    """The verdict of a look."""

    outcome: str
    score: float | None


class _Verdict(msgspec.Struct):
    """The fields of a looked-at decision that the search reads."""

    outcome: str
    score: float | None


_verdicts: Final = msgspec.json.Decoder(_Verdict)


def what_if(
    now: Replayed,
    then: Replayed,
    domain: Domain,
    event: Event,
    changes: Mapping[str, Any],
    smallest: Sequence[SmallestChange],
) -> WhatIf:
    """Compare the decision on a claim with the one on the changed claim."""
    as_json = msgspec.json.decode(msgspec.json.encode(event))
    names = domain.feature_names
    features = [
        Thought(name, or_none(before), or_none(behind))
        for name, before, behind in zip(
            names, now.vector.tolist(), then.vector.tolist(), strict=True
        )
        if before != behind and not (before != before and behind != behind)
    ]
    fields = {
        name: (msgspec.Raw(_encode(as_json.get(name))), msgspec.Raw(_encode(value)))
        for name, value in changes.items()
    }
    decision = then.decision
    return WhatIf(fields, decision.outcome, decision.score, decision.margin, then.reasons,
                  [hit.rule for hit in decision.rules], features, list(smallest))  # fmt: skip


def smallest_changes(
    domain: Domain,
    look: Callable[[Sequence[Record]], list[Looked]],
    record: Record,
    event: Event,
    outcome: str,
) -> list[SmallestChange]:
    """Return for each field its smallest change to a milder outcome, the smallest first.

    Numbers are searched on both sides of the value, evenly and then between the last value that
    stays and the first that leaves: it is the smallest that this finds, not a proof that none is
    smaller. Of a category all known values are tried.

    Args:
        domain: the definitions.
        look: looks at changed claims.
        record, event: the claim.
        outcome: the one to get away from; of an approved claim nothing is searched.
    """
    level = OUTCOMES.index(outcome)
    if not level:
        return []
    fields = msgspec.json.decode(msgspec.json.encode(event))

    def tried(pairs: Sequence[tuple[str, Any]]) -> list[_Outcome | None]:
        records = [
            Record(*record[:4], _encode({**fields, name: value}), record.log_time_ms)
            for name, value in pairs
        ]
        found: list[_Outcome | None] = []
        for each in look(records):
            verdict = _verdicts.decode(each.decision) if each.decision else None
            found.append(_Outcome(verdict.outcome, verdict.score) if verdict else None)
        return found

    def is_milder(each: _Outcome | None) -> bool:
        return each is not None and OUTCOMES.index(each.outcome) < level

    found = []
    numbers = [name for name in numbers_of(domain) if _is_number(fields.get(name))]
    for name in numbers:
        best = _smallest_number(name, fields[name], tried, is_milder)
        if best is not None:
            found.append(best)
    options = [
        (name, value)
        for name, values in categories_of(domain).items()
        for value in values
        if value != fields.get(name)
    ]
    seen: set[str] = set()
    for (name, value), each in zip(options, tried(options), strict=True):
        if each is not None and is_milder(each) and name not in seen:
            seen.add(name)
            found.append(SmallestChange(name, msgspec.Raw(_encode(fields.get(name))),
                                        msgspec.Raw(_encode(value)), None, *each))  # fmt: skip
    return sorted(found, key=lambda each: (each.share is None, each.share or 0.0, each.field))


_Try = Callable[[Sequence[tuple[str, Any]]], "list[_Outcome | None]"]


def _smallest_number(
    name: str, now: float, tried: _Try, is_milder: Callable[[_Outcome | None], bool]
) -> SmallestChange | None:
    """Search one number; None where no value that was tried leaves the queue."""
    is_whole = isinstance(now, int)
    span = max(abs(now), 1)
    best: tuple[float, float, _Outcome] | None = None
    for sign in (-1, 1):
        farthest = abs(now) if sign < 0 and now > 0 else span * _FARTHEST
        low, high = 0.0, float(farthest)
        hit: tuple[float, float, _Outcome] | None = None
        for _ in range(_ROUNDS):
            sizes = [low + (high - low) * (i + 1) / _STEPS for i in range(_STEPS)]
            values = [now + sign * size for size in sizes]
            written = [round(value) if is_whole else value for value in values]
            answers = tried([(name, value) for value in written])
            first = next((i for i, each in enumerate(answers) if is_milder(each)), None)
            if first is None:
                break
            answer = answers[first]
            assert answer is not None
            hit = abs(written[first] - now), written[first], answer
            low, high = (sizes[first - 1] if first else low), sizes[first]
        if hit is not None and hit[0] > 0 and (best is None or hit[0] < best[0]):
            best = hit
    if best is None:
        return None
    return SmallestChange(name, msgspec.Raw(_encode(now)), msgspec.Raw(_encode(best[1])),
                          best[0] / span, *best[2])  # fmt: skip


def numbers_of(domain: Domain) -> list[str]:
    """Return the numeric fields of the claim that features or rules read."""
    names: set[str] = {domain.amount} - {""}
    expressions = [f.expression for f in domain.features if isinstance(f, Computed)]
    expressions += [rule.when for rule in domain.rules]
    for expression in expressions:
        names |= {
            name.removeprefix(FIELD_PREFIX)
            for name in expression.names()
            if name.startswith(FIELD_PREFIX)
        }
    for feature in domain.features:
        if isinstance(feature, Own) and not feature.group and not known_values(feature):
            names.add(feature.field)
        elif isinstance(feature, WindowFeature) and feature.current and feature.value:
            names.add(feature.value)
    return sorted(names - {domain.claim.time_field})


def categories_of(domain: Domain) -> dict[str, tuple[str, ...]]:
    """Return the known values of each category of the claim that features read."""
    return {
        f.field: known_values(f)
        for f in domain.features
        if isinstance(f, Own) and not f.group and known_values(f)
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
