"""The language in which a domain is written down: entities, features, rules; and its digest.

    shop = Entity("repair_shop", key="repair_shop_id")
    count("repair_shop.claims.count.30d", of=shop, window="30d")
    total("policy.claimed.sum_cents.365d", of=policy, value="total_claim_cents", window="365d")
    rate("terminal.fraud.rate.7d", of=terminal, outcome="fraud", window="7d", delay="7d")

A window is `(t - delay - width, t - delay]` on event time, over what had arrived. The current event
counts itself when `current="in"`. Names read left to right: entity, what, aggregate, window.

`digest_word` stands for a class in the digest of the definitions and never changes. A field that is
added to a class goes into its `digest_later` or `digest_never`: see
`featurestore.definitions.domain`.
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
KNOWN_WHEN_ARRIVED = "when the label arrived"

MAX_VALUES: Final = 6
"""How many different values the windows of one entity may hold; the series has a bit for each."""


@dataclass(frozen=True)
class Entity:
    """What features are about.

    Args:
        name: such as `repair_shop`.
        key: the claim's field that names the entity whose features the claim gets.
        also: further fields that may name an entity of this kind; the claim counts for those too
            (once, when two fields name the same one).
        form: how ids are normalised before they are compared: `id` (Unicode NFKC, case folded,
            no control characters), `code` (letters and digits only: VIN, IBAN), `phone` (digits).
        deny: placeholder values, such as the insurer's own account, that link nothing.
    """

    digest_word: ClassVar[str] = "Entity"

    name: str
    key: str
    also: tuple[str, ...] = ()
    form: Literal["id", "code", "phone"] = "id"
    deny: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that name entities of this kind, the primary one first."""
        return (self.key, *self.also)


@dataclass(frozen=True)
class Own:
    """A feature read from the claim itself, or from the profile of one of its entities.

    `order` maps categories to 0, 1, 2 ...; `equals` is 1 where the value is this category, `among`
    lists all that are known; a number is divided by `unit`, rounded down. The values of a `moving`
    feature follow the calendar: that they differ from training is no drift.
    """

    digest_word: ClassVar[str] = "Own"

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


@dataclass(frozen=True)
class WindowFeature:
    """An exact aggregate over an entity's past; see `featurestore.windows.aggregates` for the
    aggregates."""

    digest_word: ClassVar[str] = "WindowFeature"

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


@dataclass(frozen=True)
class Computed:
    """A feature that is arithmetic over fields and features defined before it."""

    digest_word: ClassVar[str] = "Computed"

    name: str
    expression: Expression
    text: str = ""
    baseline: str = ""


Feature = Own | WindowFeature | Computed


@dataclass(frozen=True)
class Rule:
    """A named condition over features; when it holds, the claim gets at least this outcome."""

    digest_word: ClassVar[str] = "Rule"

    name: str
    when: Expression
    outcome: Literal["review", "refer"]
    text: str


@dataclass(frozen=True)
class Group:
    """Profiles by key: events of `topic` carry the newest values of an entity's fields."""

    digest_word: ClassVar[str] = "Group"

    name: str
    entity: Entity
    event: type[Event]


def number(
    name: str, source: str, *, unit: int = 1, moving: bool = False, text: str = "",
    baseline: str = "",
) -> Own:  # fmt: skip
    """A whole number or amount of the claim; `unit=100` makes whole currency units of cents."""
    return Own(name, source, unit=unit, moving=moving, text=text, baseline=baseline)


def ordered(name: str, source: str, values: Sequence[str], *, text: str = "") -> Own:
    """A category with an order: the place of the value among `values`, from 0."""
    return Own(name, source, order=tuple(values), text=text)


def one_hot(prefix: str, source: str, values: Sequence[str], *, text: str = "") -> list[Own]:
    """A category without an order: one feature `prefix_value` a value, 1 or 0.

    An unseen value is 0 everywhere and is counted; a missing one is 0 everywhere.
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
) -> Own:
    """The newest profile value of an entity; `source` defaults to the last part of the name."""
    del of  # the group knows its entity; the word makes definitions read well
    return Own(name, source or name.rsplit(".", 1)[-1], order=tuple(order), group=group, text=text)


def latest_one_hot(
    prefix: str,
    *,
    of: Entity,
    group: str,
    source: str,
    values: Sequence[str],
    known: Sequence[str] = (),
) -> list[Own]:
    """One 0/1 feature for each value of a profile's category; `known` ones have none."""
    del of
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
) -> WindowFeature:
    try:
        width_ms, delay_ms = duration_ms(window), duration_ms(delay)
    except ValueError as error:
        raise DefinitionError(str(error), where=name) from error
    if width_ms == 0:
        raise DefinitionError("a window of no width counts nothing", where=name)
    if known not in ("", KNOWN_WHEN_ARRIVED):
        raise DefinitionError(f"known={known!r}", where=name, hint=f"write {KNOWN_WHEN_ARRIVED!r}")
    return WindowFeature(
        name, of, aggregate, width_ms, delay_ms, value, bool(known), current == "in", empty,
        text, baseline,
    )  # fmt: skip


class Counting(TypedDict, total=False):
    """How a window counts: `delay` before it ends, `current` event in or out, `text` in words."""

    delay: str
    current: Current
    text: str


class Measuring(Counting, total=False):
    """How a window measures: also its value when it is `empty`, missing (NaN) by default."""

    empty: float


def count(name: str, *, of: Entity, window: str, **how: Unpack[Counting]) -> WindowFeature:
    """How many claims of the entity lie in the window."""
    return _window("count", name, of, window, **how)


def total(
    name: str, *, of: Entity, value: str, window: str, **how: Unpack[Counting]
) -> WindowFeature:
    """The exact sum of an integer field, such as an amount in cents."""
    return _window("sum", name, of, window, value=value, **how)


def mean(
    name: str, *, of: Entity, value: str, window: str, **how: Unpack[Measuring]
) -> WindowFeature:
    """Sum / count of the entries that have the value."""
    return _window("mean", name, of, window, value=value, **how)


def std(
    name: str, *, of: Entity, value: str, window: str, **how: Unpack[Measuring]
) -> WindowFeature:
    """The sample standard deviation (n - 1), from an exact integer numerator."""
    return _window("std", name, of, window, value=value, **how)


def smallest(
    name: str, *, of: Entity, value: str, window: str, **how: Unpack[Measuring]
) -> WindowFeature:
    """The minimum."""
    return _window("min", name, of, window, value=value, **how)


def largest(
    name: str, *, of: Entity, value: str, window: str, **how: Unpack[Measuring]
) -> WindowFeature:
    """The maximum."""
    return _window("max", name, of, window, value=value, **how)


def distinct(
    name: str, *, of: Entity, value: str, window: str, **how: Unpack[Counting]
) -> WindowFeature:
    """How many different values of a field, such as policies on one phone; exact."""
    return _window("distinct", name, of, window, value=value, **how)


def since_last(name: str, *, of: Entity, within: str, text: str = "") -> WindowFeature:
    """Days since the entity's claim before this one, if it lies within the window."""
    return _window("since_last", name, of, within, text=text)


def outcomes(
    name: str, *, of: Entity, window: str, outcome: str = "fraud", delay: str = "0s",
    known: str = "", text: str = "",
) -> WindowFeature:  # fmt: skip
    """How many are known as fraud: of the window's claims, or of the labels that arrived in it."""
    _only_fraud(name, outcome)
    return _window("outcomes", name, of, window, delay=delay, known=known, text=text)


def rate(
    name: str, *, of: Entity, window: str, outcome: str = "fraud", delay: str = "0s",
    known: str = "", empty: float = math.nan, text: str = "",
) -> WindowFeature:  # fmt: skip
    """The share known as fraud: of the window's claims, or of the labels that arrived in it."""
    _only_fraud(name, outcome)
    return _window("rate", name, of, window, delay=delay, known=known, empty=empty, text=text)


def _only_fraud(name: str, outcome: str) -> None:
    if outcome != "fraud":
        raise DefinitionError(f"outcome={outcome!r}", where=name, hint="only 'fraud' is counted")


def computed(name: str, expression: Expression, *, text: str = "", baseline: str = "") -> Computed:
    """A feature by arithmetic: `computed("delay_days", (field("a") - field("b")) / DAY_MS)`."""
    return Computed(name, expression, text, baseline)


def ratio(name: str, numerator: str, denominator: str, *, text: str = "") -> Computed:
    """One field of the claim over another; missing where the denominator is zero."""
    return Computed(name, field(numerator) / field(denominator), text)


def rule(name: str, when: Expression, *, outcome: Literal["review", "refer"], text: str) -> Rule:
    """A condition with a reason that a person can read."""
    return Rule(name, when, outcome, text)
