"""A digest for each feature of a domain: it changes with whatever can change the feature's value.

A model records the digests of the features that it takes. Under other definitions it can serve if
they have features of the same names with the same digests, whatever else was added, removed or put
in another order.

A digest covers what the value depends on, also by way of other definitions: the fields that are
read and their types, the keys by which claims are linked, the profile group, the features inside of
an expression, and for outcomes the meaning of a label. Not covered is what changes no value:

- words and views: name, text, baseline, `moving`, and every field in `digest_never`;
- the rules of an event's fields that the feature doesn't read. They can refuse an event, which is
  then a dead letter; a field added to an event type doesn't make another feature of every count.
- the edition (`claimtrace.editions`): it stands in the journal, and is the same for all features.

`tests/featurestore/fields/test_feature_digests.py` compares digests with vectors that are served.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from msgspec import NODEFAULT, inspect

from claimtrace.events import Event
from claimtrace.ids import digest_of

from ..definitions.digests import field_values, plain, word_of
from ..definitions.domain import Domain
from ..definitions.expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from ..definitions.features import Computed, Entity, Feature, Group, Own, WindowFeature
from .event_columns import known_values
from .normalisation import normal_category

_WORDS: Final = frozenset({"name", "text", "baseline", "moving"})
"""Fields of features that no value depends on."""
_RESOLVED: Final = {
    Own: {"field", "order", "equals", "among", "group"},
    WindowFeature: {"entity", "value"},
    Computed: {"expression"},
}
"""Fields that are replaced by what they refer to."""


def feature_digests(domain: Domain) -> dict[str, str]:
    """Return the digest of each feature by its name, in vector order: SHA-256 as 64 hex digits.

    >>> from claimtrace_examples.card_payments import DOMAIN
    >>> digests = feature_digests(DOMAIN)
    >>> list(digests) == DOMAIN.feature_names, len(set(digests.values())) == len(digests)
    (True, True)
    """
    reader = _Reader(domain)
    for each in domain.features:
        reader.digests[each.name] = digest_of(reader.feature(each))
    return reader.digests


class _Reader:
    """Describes definitions as nested lists, with all that they refer to in its place.

    Attributes:
        digests: of the features described so far, by name.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._groups = {group.name: group for group in domain.groups}
        self._types = {kind: _types_of(kind) for kind in domain.events}
        # one reader of categories serves all features of a field: the last definition's
        self._categories = {
            (each.group, each.field): tuple(normal_category(v) for v in known_values(each))
            for each in domain.features
            if isinstance(each, Own) and known_values(each)
        }
        self.digests: dict[str, str] = {}

    def feature(self, each: Feature) -> list[Any]:
        """Describe one feature; those that its expression names come before it."""
        if isinstance(each, Own):
            what: list[Any] = [*self._source(each.group, each.field), self._reading(each)]
        elif isinstance(each, WindowFeature):
            what = self._window(each)
        else:
            what = [self._expression(each.expression)]
        own = list(field_values(each, _WORDS | _RESOLVED[_kind(each)]))
        return [word_of(type(each)), *what, own]

    def _source(self, group: str, field: str) -> list[Any]:
        """Describe a field of the claim, or of a profile and how the profile is found."""
        if not group:
            claim = self._domain.claim
            return ["claim", self._event(claim), self._field(claim, field)]
        found = self._groups[group]
        key = found.entity.key
        return [
            "profile",
            self._event(found.event),
            self._is_fed(found),
            [self._field(found.event, name) for name in (found.event.time_field, key, field)],
            self._field(self._domain.claim, key),
            self._key_rules(found.entity),
        ]

    def _is_fed(self, group: Group) -> list[bool]:
        """Describe which group gets the events of a topic, and their place among labels."""
        topic, labels = group.event.topic, self._domain.labels
        last = [each.name for each in self._domain.groups if each.event.topic == topic][-1]
        is_label = labels is not None and labels.event.topic == topic
        return [group.name == last, topic == self._domain.claim.topic, is_label]

    def _reading(self, each: Own) -> list[Any]:
        """Describe how a field becomes a number: a category's code, one category, or the number."""
        known = self._categories.get((each.group, each.field), ())
        if not each.equals:
            return ["order" if each.order else "number", known]
        place = each.among.index(each.equals)
        is_read = place < len(known) and known.index(known[place]) == place
        return ["category", known[place] if is_read else None]

    def _window(self, each: WindowFeature) -> list[Any]:
        claim, entity = self._domain.claim, each.entity
        others = sorted(set(entity.also) - {entity.key})
        what: list[Any] = [
            self._event(claim),
            [self._field(claim, name) for name in (claim.id_field, claim.time_field, entity.key)],
            [self._field(claim, name) for name in others],
            self._key_rules(entity),
            self._field(claim, each.value) if each.value else None,
            self._distinct_rules(each.value) if each.aggregate == "distinct" else None,
        ]
        if each.known or each.aggregate in ("outcomes", "rate"):
            what.append(self._labels())
        return what

    def _key_rules(self, entity: Entity) -> list[Any]:
        """Describe how ids are compared, and which of them link no claims."""
        rules = [entity.form, sorted(set(entity.deny)), sorted(set(self._domain.missing))]
        everybody = self._domain.entities
        if any(each.name == entity.name and each != entity for each in everybody):
            # entities of one name share their numbers: an id of one can take the other's place
            rules.append([plain(each) for each in everybody])
        return rules

    def _distinct_rules(self, field: str) -> list[Any]:
        """Describe how distinct values are compared: as ids of the entity with this key, if any."""
        entities = self._domain.entities
        name = {each.key: each.name for each in entities}.get(field)
        for each in entities:
            if each.name == name and field in each.fields:
                return self._key_rules(each)
        return ["id", [], sorted(set(self._domain.missing))]

    def _labels(self) -> list[Any]:
        labels = self._domain.labels
        assert labels is not None, "checked when the domain was made"
        names = (labels.event.id_field, labels.event.time_field, labels.claim, labels.outcome)
        legit = set(labels.legit) - set(labels.fraud)
        return [
            self._event(labels.event),
            [self._field(labels.event, name) for name in names],
            sorted(set(labels.fraud)),
            sorted(legit),
        ]

    def _expression(self, thing: Expression | str | float) -> Any:
        """Describe an expression: a feature by its digest, a field by its type."""
        if not isinstance(thing, Expression):
            return str(thing)
        if thing.operator != "name":
            return [thing.operator, *(self._expression(each) for each in thing.operands)]
        name = str(thing.operands[0])
        if name.startswith(FIELD_PREFIX):
            return self._source("", name.removeprefix(FIELD_PREFIX))
        if name.startswith(PROFILE_PREFIX):
            group, _, field = name.removeprefix(PROFILE_PREFIX).partition(".")
            return [*self._source(group, field), self._categories.get((group, field), ())]
        return ["feature", self.digests[name]]

    def _event(self, kind: type[Event]) -> list[str]:
        """Describe where events come from, and the currency in which they must be."""
        currency = [self._domain.currency] if "currency" in self._types[kind] else []
        return [kind.topic, *currency]

    def _field(self, kind: type[Event], name: str) -> list[Any]:
        return [name, *self._types[kind].get(name, ())]


def _kind(each: Feature) -> type[Feature]:
    return next(kind for kind in _RESOLVED if isinstance(each, kind))


def _types_of(kind: type[Event]) -> dict[str, list[Any]]:
    """Describe the fields of an event type: name on the log, type with its limits, default."""
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return {
        each.name: [each.encode_name, _type(each.type), _default(each)] for each in found.fields
    }


def _type(kind: inspect.Type) -> list[Any]:
    """Describe a type by its name and limits; marks and descriptions are left out."""
    if isinstance(kind, inspect.Metadata):
        return _type(kind.type)
    if isinstance(kind, inspect.UnionType):
        return ["union", *sorted((_type(each) for each in kind.types), key=str)]
    if isinstance(kind, inspect.EnumType):
        return ["enum", *sorted(str(each.value) for each in kind.cls)]
    limits = [
        [name, _limit(value)]
        for name in kind.__struct_fields__
        if (value := getattr(kind, name)) is not None
    ]
    return [type(kind).__name__, *limits]


def _limit(value: Any) -> Any:
    if isinstance(value, inspect.Type):
        return _type(value)
    if isinstance(value, tuple):
        return [_limit(each) for each in value]
    return str(value)


def _default(each: inspect.Field) -> list[str]:
    if each.default_factory is not NODEFAULT:
        return [str(each.default_factory())]
    if each.default is NODEFAULT:
        return []
    return [str(each.default.value if isinstance(each.default, Enum) else each.default)]
