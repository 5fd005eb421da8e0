"""The definition language of a domain: entities, features, rules and feature groups.

    shop = Entity("repair_shop", key="repair_shop_id")
    count("repair_shop.claims.count.30d", of=shop, window="30d")
    total("policy.claimed.sum_cents.365d", of=policy, value="total_claim_cents", window="365d")
    rate("terminal.fraud.rate.7d", of=terminal, outcome="fraud", window="7d", delay="7d")

A window is `(t - delay - width, t - delay]` on event time, over the events that had arrived. The
current event is included when `current="in"`. A feature's name reads left to right: entity, value,
aggregate, window.

`digest_word` is the word for a class in the digest of the definitions; it never changes. A field
that is added to a class later must be listed in its `digest_later` or `digest_never`: see
`featurestore.definitions.digests`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypedDict, Unpack

from claimtrace.clock import duration_ms
from claimtrace.errors import DefinitionError
from claimtrace.events import Event

from .expressions import Expression, field

Current = Literal["in", "out"]
More = Literal["", "worse", "better"]
KNOWN_WHEN_ARRIVED = "when the label arrived"

MAX_VALUES: Final = 6
"""The most fields that the windows of one entity may aggregate: the byte `mark` of an entry has one
bit for each, beside two bits for the outcome."""


@dataclass(frozen=True)
class Entity:
    """A kind of entity that features describe, such as a policy, a repair shop or a phone.

    Args:
        name: the name of the kind, such as `repair_shop`.
        key: the claim's field that identifies the entity whose features the claim gets.
        also: further fields that may identify an entity of this kind; the claim counts for these
            entities too (once, when two fields identify the same entity).
        form: the normalisation of ids before they are compared: `id` (Unicode NFKC, case folded,
            no control characters), `code` (letters and digits only: VIN, IBAN), `phone` (digits).
        deny: placeholder values that must not link claims, such as the insurer's own account.
    """

    digest_word: ClassVar[str] = "Entity"

    name: str
    key: str
    also: tuple[str, ...] = ()
    form: Literal["id", "code", "phone"] = "id"
    deny: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that identify entities of this kind, the primary field first."""
        return (self.key, *self.also)


@dataclass(frozen=True)
class Own:
    """A feature read from the claim itself, or from the profile of one of its entities.

    Args:
        name: the feature's name.
        field: the field of the claim, or of the profile group `group`.
        order: for an ordered category, its values; the feature is the index of the value, from 0.
        equals: for a one-hot category, the value for which the feature is 1; otherwise it is 0.
        among: for a one-hot category, all known values of the field.
        unit: for a number, the divisor; the quotient is rounded down.
        moving: whether values follow the calendar: a difference from training is then no drift.
        group: the profile group to read from; empty for the claim itself.
        text: the feature in words, for reasons.
        baseline: the name of the feature that reasons compare the value with.
        more: what a greater value means for the suspicion: `worse`, `better`, or empty if it may
            go either way. Training keeps models to it (`training.directions`).
    """

    digest_word: ClassVar[str] = "Own"
    digest_never: ClassVar[frozenset[str]] = frozenset({"more"})

    name: str
    field: str
    order: tuple[str, ...] = ()
    equals: str = ""
    among: tuple[str, ...] = ()
    unit: int = 1
    moving: bool = False
    group: str = ""
    text: str = ""
    baseline: str = ""
    more: More = ""


@dataclass(frozen=True)
class WindowFeature:
    """An exact aggregate over the past events of an entity.

    Args:
        name: the feature's name.
        entity: the kind of entity.
        aggregate: a key of `featurestore.windows.aggregates.AGGREGATES`.
        width_ms: the width of the window.
        delay_ms: the time from the end of the window to the current event.
        value: the aggregated field; empty for counts.
        known: whether the window is over labels, by their arrival, instead of over claims.
        current: whether the current event is included.
        empty: the value where the aggregate is undefined; NaN is missing.
        text: the feature in words, for reasons.
        baseline: the name of the feature that reasons compare the value with.
        more: what a greater value means for the suspicion: `worse`, `better`, or empty if it may
            go either way. Training keeps models to it (`training.directions`).
    """

    digest_word: ClassVar[str] = "WindowFeature"
    digest_never: ClassVar[frozenset[str]] = frozenset({"more"})

    name: str
    entity: Entity
    aggregate: str
    width_ms: int
    delay_ms: int = 0
    value: str = ""
    known: bool = False
    current: bool = False
    empty: float = math.nan
    text: str = ""
    baseline: str = ""
    more: More = ""


@dataclass(frozen=True)
class Computed:
    """A feature computed from fields and from features defined before it; `more` as in `Own`."""

    digest_word: ClassVar[str] = "Computed"
    digest_never: ClassVar[frozenset[str]] = frozenset({"more"})

    name: str
    expression: Expression
    text: str = ""
    baseline: str = ""
    more: More = ""


Feature = Own | WindowFeature | Computed


@dataclass(frozen=True)
class Rule:
    """A named condition over features; a claim that meets it gets at least `outcome`."""

    digest_word: ClassVar[str] = "Rule"

    name: str
    when: Expression
    outcome: Literal["review", "refer"]
    text: str


@dataclass(frozen=True)
class Group:
    """A feature group: the newest profile of each entity, updated by events of type `event`."""

    digest_word: ClassVar[str] = "Group"

    name: str
    entity: Entity
    event: type[Event]


def number(
    name: str, source: str, *, unit: int = 1, moving: bool = False, text: str = "",
    baseline: str = "", more: More = "",
) -> Own:  # fmt: skip
    """Define a number or amount of the claim; `unit=100` turns cents into whole currency units."""
    return Own(name, source, unit=unit, moving=moving, text=text, baseline=baseline, more=more)


def ordered(
    name: str, source: str, values: Sequence[str], *, text: str = "", more: More = ""
) -> Own:
    """Define an ordered category: the index of the value in `values`, from 0."""
    return Own(name, source, order=tuple(values), text=text, more=more)


def one_hot(prefix: str, source: str, values: Sequence[str], *, text: str = "") -> list[Own]:
    """Define an unordered category: for each value a feature `prefix_value`, which is 1 or 0.

    An unseen value gives 0 in every feature and flags the claim `unseen_category`; a missing
    value gives 0 in every feature.
    """
    known = tuple(values)
    return [
        Own(
            f"{prefix}_{value}",
            source,
            equals=value,
            among=known,
            text=text or f"{source} is {value}",
        )
        for value in values
    ]


def latest(
    name: str,
    *,
    of: Entity,
    group: str,
    source: str = "",
    order: Sequence[str] = (),
    text: str = "",
    more: More = "",
) -> Own:
    """Define the newest profile value of an entity; `source` defaults to the name's last part."""
    del of  # the group has its entity; the argument only makes definitions easy to read
    field_name = source or name.rsplit(".", 1)[-1]
    return Own(name, field_name, order=tuple(order), group=group, text=text, more=more)


def latest_one_hot(
    prefix: str,
    *,
    of: Entity,
    group: str,
    source: str,
    values: Sequence[str],
    known: Sequence[str] = (),
) -> list[Own]:
    """Define a 0/1 feature for each value of a profile's category; `known` values get none."""
    del of  # as in `latest`
    among = (*values, *known)
    return [
        Own(
            f"{prefix}_{value}",
            source,
            equals=value,
            among=among,
            group=group,
            text=f"{source} is {value}",
        )
        for value in values
    ]


def _window(
    aggregate: str,
    name: str,
    of: Entity,
    window: str,
    *,
    value: str = "",
    delay: str = "0s",
    known: str = "",
    current: Current = "out",
    empty: float = math.nan,
    text: str = "",
    baseline: str = "",
    more: More = "",
) -> WindowFeature:
    try:
        width_ms, delay_ms = duration_ms(window), duration_ms(delay)
    except ValueError as error:
        raise DefinitionError(str(error), where=name) from error
    if width_ms == 0:
        raise DefinitionError("the window has no width", where=name)
    if known not in ("", KNOWN_WHEN_ARRIVED):
        raise DefinitionError(f"known={known!r}", where=name, hint=f"write {KNOWN_WHEN_ARRIVED!r}")
    return WindowFeature(
        name, of, aggregate, width_ms, delay_ms, value, bool(known), current == "in", empty,
        text, baseline, more,
    )  # fmt: skip


class Counting(TypedDict, total=False):
    """Options of a count: its `delay`, the `current` event in or out, its `text` for reasons, and
    what `more` of it means."""

    delay: str
    current: Current
    text: str
    more: More


class Measuring(Counting, total=False):
    """Options of a measure: also the value of an `empty` window, missing (NaN) by default."""

    empty: float


def count(name: str, *, of: Entity, window: str, **options: Unpack[Counting]) -> WindowFeature:
    """Define the number of the entity's claims in the window."""
    return _window("count", name, of, window, **options)


def total(
    name: str, *, of: Entity, value: str, window: str, **options: Unpack[Counting]
) -> WindowFeature:
    """Define the exact sum of an integer field, such as an amount in cents."""
    return _window("sum", name, of, window, value=value, **options)


def mean(
    name: str, *, of: Entity, value: str, window: str, **options: Unpack[Measuring]
) -> WindowFeature:
    """Define the mean of a field: sum / count of the claims that have the value."""
    return _window("mean", name, of, window, value=value, **options)


def std(
    name: str, *, of: Entity, value: str, window: str, **options: Unpack[Measuring]
) -> WindowFeature:
    """Define the sample standard deviation (n - 1), from an exact integer numerator."""
    return _window("std", name, of, window, value=value, **options)


def smallest(
    name: str, *, of: Entity, value: str, window: str, **options: Unpack[Measuring]
) -> WindowFeature:
    """Define the minimum of a field."""
    return _window("min", name, of, window, value=value, **options)


def largest(
    name: str, *, of: Entity, value: str, window: str, **options: Unpack[Measuring]
) -> WindowFeature:
    """Define the maximum of a field."""
    return _window("max", name, of, window, value=value, **options)


def distinct(
    name: str, *, of: Entity, value: str, window: str, **options: Unpack[Counting]
) -> WindowFeature:
    """Define the exact number of distinct values of a field, such as policies of one phone."""
    return _window("distinct", name, of, window, value=value, **options)


def since_last(
    name: str, *, of: Entity, within: str, text: str = "", more: More = ""
) -> WindowFeature:
    """Define the days since the entity's previous claim, if that claim is in the window."""
    return _window("since_last", name, of, within, text=text, more=more)


def outcomes(
    name: str, *, of: Entity, window: str, outcome: str = "fraud", delay: str = "0s",
    known: str = "", text: str = "", more: More = "",
) -> WindowFeature:  # fmt: skip
    """Define the number of frauds: among claims in the window, or labels that arrived in it."""
    _only_fraud(name, outcome)
    return _window("outcomes", name, of, window, delay=delay, known=known, text=text, more=more)


def rate(
    name: str, *, of: Entity, window: str, outcome: str = "fraud", delay: str = "0s",
    known: str = "", empty: float = math.nan, text: str = "", more: More = "",
) -> WindowFeature:  # fmt: skip
    """Define the share of frauds: of the claims in the window, or labels that arrived in it."""
    _only_fraud(name, outcome)
    return _window(
        "rate", name, of, window, delay=delay, known=known, empty=empty, text=text, more=more
    )


def _only_fraud(name: str, outcome: str) -> None:
    if outcome != "fraud":
        raise DefinitionError(f"outcome={outcome!r}", where=name, hint="only 'fraud' is counted")


def computed(
    name: str, expression: Expression, *, text: str = "", baseline: str = "", more: More = ""
) -> Computed:
    """Define a computed feature: `computed("delay_days", (field("a") - field("b")) / DAY_MS)`."""
    return Computed(name, expression, text, baseline, more)


def ratio(
    name: str, numerator: str, denominator: str, *, text: str = "", more: More = ""
) -> Computed:
    """Define a field of the claim divided by another; missing where the denominator is zero."""
    return Computed(name, field(numerator) / field(denominator), text, more=more)


def rule(name: str, when: Expression, *, outcome: Literal["review", "refer"], text: str) -> Rule:
    """Define a rule; `text` is the reason that a person reads."""
    return Rule(name, when, outcome, text)
