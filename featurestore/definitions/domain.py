"""A domain: event types, entities, features and rules in one frozen object, checked when created.

The engine has no code for a particular kind of claim: it reads a `Domain`. The digest of a domain's
definitions is part of every decision and every model.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, get_args

from msgspec import inspect

from claimtrace.errors import ClaimtraceError, DefinitionError
from claimtrace.events import Event
from claimtrace.ids import canonical_json, digest
from claimtrace.rooms import ROOMS

from .digests import plain
from .expressions import FIELD_PREFIX, PROFILE_PREFIX, Expression
from .facets import Facet, check_facets
from .features import MAX_VALUES, Computed, Entity, Feature, Group, More, Own, Rule, WindowFeature


@dataclass(frozen=True)
class Labels:
    """The event type that carries the outcome of a claim, and the outcomes that are labels.

    Args:
        event: the event type.
        claim: its field with the id of the claim.
        outcome: its field with the outcome.
        source: its field with the source of the outcome, such as an investigation.
        fraud: outcomes that count as fraud.
        legit: outcomes that count as legitimate; an outcome in neither list is no label, but
            `retracted` takes back the label before it (`featurestore.definitions.verdicts`).
    """

    event: type[Event]
    claim: str = "claim_id"
    outcome: str = "outcome"
    source: str = "source"
    fraud: tuple[str, ...] = ("fraud",)
    legit: tuple[str, ...] = ("legit",)


@dataclass(frozen=True)
class Domain:
    """The complete definition of one kind of claim.

    Args:
        name: the domain's name, also written to its decisions as their policy.
        currency: the currency of all amounts; a domain has exactly one.
        claim: the event type that gets a decision.
        labels: the event type that carries outcomes; None if outcomes never arrive.
        groups: profiles of entities, kept up to date by other event types.
        features: the features, in the order of the served vector.
        rules: conditions over features and fields.
        split_by: the entity whose claims are never divided between the splits of a training run.
        amount: the field with the claim's value in cents, for the money found at a capacity.
        missing: more spellings of ids that identify nothing, for all entities of the domain, beside
            those of `claimtrace.encoding.missing_values`.
        facets: groups of people between whom training compares the outcomes; in no digest.
    """

    name: str
    currency: str
    claim: type[Event]
    features: tuple[Feature, ...]
    split_by: Entity
    labels: Labels | None = None
    groups: tuple[Group, ...] = ()
    rules: tuple[Rule, ...] = ()
    amount: str = ""
    missing: tuple[str, ...] = ()
    facets: tuple[Facet, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    @property
    def events(self) -> tuple[type[Event], ...]:
        """All event types, the claim first; this order breaks ties of log time."""
        kinds = [self.claim, *(group.event for group in self.groups)]
        if self.labels is not None:
            kinds.append(self.labels.event)
        return tuple(dict.fromkeys(kinds))

    @property
    def topics(self) -> tuple[str, ...]:
        """The input topics; at equal log times, events of profiles and labels precede claims."""
        return tuple(kind.topic for kind in (*self.events[1:], self.claim))

    def tie_order(self, edition: int) -> tuple[str, ...]:
        """Return the input topics in their order among equal log times, as of an edition.

        Edition 1: profiles, labels, claims. Since edition 2: profiles, claims, labels, so that a
        label of the same millisecond joins its claim.
        """
        if edition < JOINS_AT_ONCE or self.labels is None:
            return self.topics
        others = [topic for topic in self.topics if topic != self.labels.event.topic]
        return (*others, self.labels.event.topic)

    @property
    def entities(self) -> tuple[Entity, ...]:
        """All entities of features and groups, in order of first use, `split_by` first."""
        found = [f.entity for f in self.features if isinstance(f, WindowFeature)]
        found += [group.entity for group in self.groups]
        return tuple(dict.fromkeys([self.split_by, *found]))

    def missing_ids(self, edition: int) -> frozenset[str]:
        """Return the domain's own spellings of missing ids that an edition knows."""
        return frozenset(self.missing) if edition >= MISSING_BY_DOMAIN else frozenset()

    @property
    def feature_names(self) -> list[str]:
        """The names of the features, in vector order."""
        return [each.name for each in self.features]

    @property
    def moving_features(self) -> frozenset[str]:
        """Features that follow the calendar; drift detection only watches their missing values."""
        return frozenset(f.name for f in self.features if isinstance(f, Own) and f.moving)

    @property
    def directions(self) -> dict[str, int]:
        """The features that say what more of them means: 1 worse, -1 better."""
        return {f.name: 1 if f.more == "worse" else -1 for f in self.features if f.more}

    @property
    def definitions_digest(self) -> str:
        """A digest that changes whenever a served vector could change."""
        return digest(self.definitions_text)

    @property
    def definitions_text(self) -> bytes:
        """The definitions as JSON, whose SHA-256 is `definitions_digest`."""
        later = [["missing", plain(self.missing)]] if self.missing else []
        return canonical_json(
            [self.name, self.currency, plain(self.features), plain(self.groups), *later]
        )

    @property
    def rules_digest(self) -> str:
        """A digest that changes whenever a rule could decide differently."""
        return digest(self.rules_text)

    @property
    def rules_text(self) -> bytes:
        """The rules as JSON, whose SHA-256 is `rules_digest`."""
        return canonical_json(plain(self.rules))


MISSING_BY_DOMAIN: Final = 2
"""The first edition that knows `Domain.missing`."""

JOINS_AT_ONCE: Final = 2
"""The first edition in which labels follow claims of the same log time."""

RENAMED: Final = {
    "examples.auto_claims": "claimtrace_examples.auto_claims",
    "examples.card_payments": "claimtrace_examples.card_payments",
}
"""Former module names of the example domains; settings that name them keep working."""

EXAMPLES: Final = "claimtrace_examples"
_SETTING: Final = "setting domain"


def load_domain(module_name: str, notify: Callable[[str], None] = lambda _: None) -> Domain:
    """Import the domain that a Python module holds as `DOMAIN`.

    Args:
        module_name: the module's name, as in the setting `domain`.
        notify: called with a message for the user when the module has been renamed.

    Raises:
        DefinitionError: the module doesn't exist, can't be imported, has a name that belongs to
            claimtrace, or has no `DOMAIN`.

    >>> load_domain("claimtrace_examples.no_such_domain")
    Traceback (most recent call last):
    ...
    claimtrace.errors.DefinitionError: no module claimtrace_examples.no_such_domain ...
    """
    if module_name in RENAMED:
        renamed = RENAMED[module_name]
        notify(f"the domain {module_name} is called {renamed} now: change the setting `domain`")
        return load_domain(renamed)
    _check_module_name(module_name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = "name a Python module in this folder, or " + " or ".join(RENAMED.values())
        raise DefinitionError(f"no module {error.name}", where=_SETTING, hint=hint) from None
    except ClaimtraceError:
        raise
    except Exception as error:
        raise DefinitionError(
            f"the module {module_name} can't be imported: {type(error).__name__}: {error}",
            where=_SETTING,
            hint="correct the module; python -c 'import NAME' shows where it fails",
        ) from error
    found = getattr(module, "DOMAIN", None)
    if not isinstance(found, Domain):
        at = getattr(module, "__file__", None) or "a module of Python's own"
        raise DefinitionError(
            f"{module_name} holds no DOMAIN", where=f"{_SETTING}: {at}",
            hint="end the module with DOMAIN = Domain(...); if that isn't your module, another one "
            "has its name: rename yours",
        )  # fmt: skip
    return found


def _check_module_name(module_name: str) -> None:
    """Refuse what is no module's name, and the names of rooms, which can't be a user's module.

    Raises:
        DefinitionError: says how to name the module.
    """
    if not all(part.isidentifier() for part in module_name.split(".")):
        stem = module_name.replace("/", ".").removesuffix(".py")
        is_path = "/" in module_name and all(part.isidentifier() for part in stem.split("."))
        hint = f"write {stem}" if is_path else "write it as in an import statement: my_domain"
        raise DefinitionError(f"{module_name!r} is no module's name", where=_SETTING, hint=hint)
    room = module_name.split(".", maxsplit=1)[0]
    if room in ROOMS and room != EXAMPLES:
        raise DefinitionError(
            f"{room} is a package of claimtrace: a domain can't have its name", where=_SETTING,
            hint=f"rename the module, such as my_{room}.py, and set domain = \"my_{room}\"",
        )  # fmt: skip
    if module_name.endswith(".py"):
        raise DefinitionError(f"{module_name} is a file's name", where=_SETTING,
                              hint=f"write {module_name.removesuffix('.py')}")  # fmt: skip


def _near(name: str, among: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(among), n=1)
    return f"did you mean {found[0]}?" if found else ""


_NUMBERS: Final = (inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.DateTimeType)


def _fields_of(kind: type[Event]) -> dict[str, bool]:
    """Return the fields of an event type, and whether each holds numbers or times."""
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return {each.name: _is_number(each.type) for each in found.fields}


def _is_number(kind: inspect.Type) -> bool:
    """Whether all values of a type but a missing one are numbers or times."""
    if isinstance(kind, inspect.Metadata):
        return _is_number(kind.type)
    if isinstance(kind, inspect.UnionType):
        return all(_is_number(t) for t in kind.types if not isinstance(t, inspect.NoneType))
    return isinstance(kind, _NUMBERS)


def _check(domain: Domain) -> None:
    claim_fields = _fields_of(domain.claim)
    groups = {group.name: group for group in domain.groups}
    seen: set[str] = set()
    for each in domain.features:
        if each.name in seen:
            raise DefinitionError("a feature is defined twice", where=each.name)
        if each.more not in get_args(More):
            raise DefinitionError(f"more={each.more!r}, not worse or better", where=each.name)
        if isinstance(each, Own):
            _check_own(each, claim_fields, groups)
        elif isinstance(each, WindowFeature):
            _check_window(each, claim_fields, domain)
        else:
            _check_names(each, each.expression, seen, claim_fields, groups)
        seen.add(each.name)
    for each in domain.features:
        if each.baseline and each.baseline not in seen:
            raise DefinitionError(f"the baseline {each.baseline} is not defined", where=each.name,
                                  hint=_near(each.baseline, seen))  # fmt: skip
    for entity in domain.entities:
        for name in entity.fields:
            _check_field(name, claim_fields, entity.name)
    if domain.amount:
        _check_number(domain.amount, claim_fields, "amount of the domain")
    for rule in domain.rules:
        _check_names(rule, rule.when, seen, claim_fields, groups)
    check_facets(domain.facets, seen)


def _check_number(name: str, known: dict[str, bool], where: str) -> None:
    """Refuse a field that isn't there, or is a text where a number is needed."""
    _check_field(name, known, where)
    if not known[name]:
        hint = "use ordered or one_hot for a category, distinct for ids"
        raise DefinitionError(f"the field {name} holds text, not numbers", where=where, hint=hint)


def _check_field(name: str, known: Iterable[str], where: str) -> None:
    if name not in known:
        raise DefinitionError(
            f"the event has no field {name}", where=where, hint=_near(name, known)
        )


def _check_own(each: Own, claim_fields: dict[str, bool], groups: dict[str, Group]) -> None:
    check = _check_field if each.order or each.equals else _check_number
    if not each.group:
        check(each.field, claim_fields, each.name)
        return
    group = groups.get(each.group)
    if group is None:
        raise DefinitionError(f"there is no group {each.group}", where=each.name,
                              hint=_near(each.group, groups))  # fmt: skip
    check(each.field, _fields_of(group.event), each.name)


def _check_window(each: WindowFeature, claim_fields: dict[str, bool], domain: Domain) -> None:
    if each.value:
        check = _check_field if each.aggregate == "distinct" else _check_number
        check(each.value, claim_fields, each.name)
    if each.aggregate in ("outcomes", "rate") and domain.labels is None:
        raise DefinitionError("the domain has no labels to count", where=each.name)
    values = {
        f.value
        for f in domain.features
        if isinstance(f, WindowFeature) and f.entity == each.entity and f.aggregate != "distinct"
    } - {""}
    if len(values) > MAX_VALUES:
        raise DefinitionError(f"more than {MAX_VALUES} values over one entity", where=each.name)


def _check_names(
    thing: Computed | Rule,
    expression: Expression,
    features: set[str],
    claim_fields: dict[str, bool],
    groups: dict[str, Group],
) -> None:
    for name in expression.names():
        if name.startswith(FIELD_PREFIX):
            _check_number(name.removeprefix(FIELD_PREFIX), claim_fields, thing.name)
        elif name.startswith(PROFILE_PREFIX):
            group, _, source = name.removeprefix(PROFILE_PREFIX).partition(".")
            _check_own(Own(thing.name, source, group=group), claim_fields, groups)
        elif name not in features:
            raise DefinitionError(f"{name} is not defined before it is used", where=thing.name,
                                  hint=_near(name, features))  # fmt: skip
