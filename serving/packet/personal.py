"""Personal fields of a domain, and how much of them each profile of a packet shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from msgspec import inspect

from claimtrace.errors import UsageError
from claimtrace.events import Event
from featurestore.definitions.domain import Domain
from featurestore.definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX
from featurestore.definitions.features import Computed, Feature, Own, WindowFeature

_KEPT_CHARS: Final = 3
_COUNTS: Final = ("count", "distinct", "since", "outcomes", "rate")
"""Aggregates whose number isn't a value of the field that they read."""


@dataclass(frozen=True)
class Profile:
    """A reader of packets, and what the reader is shown.

    Args:
        name: as given to `--profile`.
        about: who reads it and what it leaves out, in words.
        personal: personal fields: `whole`, `hidden`, or `end`: of numbers such as an account's the
            last characters, to compare by.
        others: whether ids of other claims and what they hold are shown.
        scores: whether score, thresholds and weights are shown.
        people: whether the names of those who approved the model are shown.
    """

    name: str
    about: str
    personal: str
    others: bool
    scores: bool
    people: bool


PROFILES: Final = {
    each.name: each
    for each in (
        Profile("siu", "for investigators: of personal values only the end of numbers",
                "end", others=True, scores=True, people=True),
        Profile("customer", "for the claimant: no personal values, other claims, scores or names",
                "hidden", others=False, scores=False, people=False),
        Profile("full", "for auditors with access to personal data: everything",
                "whole", others=True, scores=True, people=True),
    )
}  # fmt: skip


def profile_of(name: str) -> Profile:
    """Return the profile of a name.

    Raises:
        UsageError: there is none.

    >>> profile_of("customer").scores
    False
    """
    if name not in PROFILES:
        hint = f"one of {', '.join(PROFILES)}"
        raise UsageError(f"there is no profile {name!r}", where="--profile", hint=hint)
    return PROFILES[name]


def masked(value: object, profile: Profile) -> str:
    """Return a personal value as a profile shows it.

    >>> [masked("DE77123456", PROFILES[name]) for name in ("siu", "customer", "full")]
    ['\u2022\u2022\u2022456', '(personal)', 'DE77123456']
    """
    said = str(value)
    if profile.personal == "whole":
        return said
    # a short value, or the end of a name or an address, would give the person away
    digits = sum(each.isdigit() for each in said)
    is_number = len(said) > 2 * _KEPT_CHARS and 2 * digits >= len(said)
    if profile.personal == "end" and is_number:
        return "\u2022" * 3 + said[-_KEPT_CHARS:]
    return "(personal)"


def personal_fields(kind: type[Event]) -> frozenset[str]:
    """Return the fields of an event type that are marked as personal (`claimtrace.events.Pii`).

    >>> from claimtrace_examples.auto_claims import DOMAIN
    >>> "phone" in personal_fields(DOMAIN.claim), "policy_id" in personal_fields(DOMAIN.claim)
    (True, False)
    """
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return frozenset(each.name for each in found.fields if _is_marked(each.type))


def _is_marked(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return bool((kind.extra or {}).get("pii")) or _is_marked(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(_is_marked(each) for each in kind.types)
    return False


class Personal:
    """The personal fields, entities and features of a domain.

    Args:
        domain: its events carry the marks.
    """

    def __init__(self, domain: Domain) -> None:
        self.fields = personal_fields(domain.claim)
        """Personal fields of the claim."""
        self.profiles = {g.name: personal_fields(g.event) for g in domain.groups}
        self.features = frozenset(self._features(domain.features))
        """Features whose value is that of a personal field, or is computed from it."""
        self.entities = frozenset(
            each.name for each in domain.entities if self.fields.intersection(each.fields)
        )
        """Entities whose ids are personal."""
        self.texts = frozenset(
            each.name
            for each in domain.features
            if isinstance(each, WindowFeature) and each.value in self.fields
        )
        """Features whose counted rows hold personal values."""

    def is_personal(self, name: str) -> bool:
        """Whether a name that an expression reads is personal: a field, a profile's, a feature."""
        if name.startswith(FIELD_PREFIX):
            return name.removeprefix(FIELD_PREFIX) in self.fields
        if name.startswith(PROFILE_PREFIX):
            group, _, field = name.removeprefix(PROFILE_PREFIX).partition(".")
            return field in self.profiles.get(group, ())
        if name in self.features or name in self.fields:
            return True
        group, _, field = name.partition(".")
        return field in self.profiles.get(group, ())

    def _features(self, features: tuple[Feature, ...]) -> Iterator[str]:
        found: set[str] = set()
        for each in features:
            if self._is_personal_feature(each, found):
                found.add(each.name)
                yield each.name

    def _is_personal_feature(self, each: Feature, before: set[str]) -> bool:
        if isinstance(each, Own):
            return each.field in (self.profiles.get(each.group, ()) if each.group else self.fields)
        if isinstance(each, WindowFeature):
            return each.value in self.fields and each.aggregate not in _COUNTS
        assert isinstance(each, Computed)
        self.features = frozenset(before)  # `is_personal` knows those defined before
        return any(self.is_personal(name) for name in each.expression.names())


def plain_value(value: Any) -> str:
    """Write a value from JSON for people; a text stays as it is.

    >>> plain_value(None), plain_value(True), plain_value("a"), plain_value([1])
    ('-', 'yes', 'a', '[1]')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
