"""Golden digests of definitions and rules: these values must never change.

Digests are stored in journals, decisions, models and offline rows, which refuse to work together
when the same definitions have different digests. So fix a failure here in the code, not in the
values: see `digest_word`, `digest_later` and `digest_never` in `featurestore.definitions.digests`.
Change the values of an example domain only if its definitions are changed on purpose.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from dataclasses import field as dataclass_field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest

from claimtrace.events import Category, EntityId, Event, EventId, Pii
from featurestore import definitions
from featurestore.definitions import Entity, Facet, Feature, Group, Own, Rule, number, rule
from featurestore.domain import Domain, Labels
from featurestore.expressions import feature, field
from tests.worlds import every_kind

EXAMPLES = "claimtrace_examples"
"""The package of the example domains."""
DOMAINS = {
    domain.name: domain
    for domain in (
        import_module(f"{EXAMPLES}.auto_claims").DOMAIN,
        import_module(f"{EXAMPLES}.card_payments").DOMAIN,
        *every_kind.DOMAINS,
    )
}
GOLDEN = {
    "auto_claims": (
        "37ef3657b9ebfdee29fb153a9ae58d66ea759fe88cfbe3ab39ac7551ece5ec47",
        "96a925d8f15ec6b540fe4a0cdf218627f5deaf64dbcb24fec68d1a43343ac037",
    ),
    "card_payments": (
        "9d8496f46a6737ca81b9c324cc0ddaf02d97fd8cf259f5d5330ec305a6e6288b",
        "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
    ),
    "every_kind": (
        "060b3a6f043c9b087d47b14ad2621e0dc3e8d463e4c75f88837130701d0a1cf3",
        "7e5a01ab80b3a41d49509bebb2180f14ad15d0ad415ea048ec7c7212a5d0a26b",
    ),
    "every_kind_directed": (
        "be3d2cb50a9b3f70da490d385844a000f651f4ce70fc622e0ec9b856d309b370",
        "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
    ),
}
"""The digests of the definitions and of the rules, by domain."""
Expression = type(field("x"))
KINDS = [
    each
    for each in vars(definitions).values()
    if isinstance(each, type) and is_dataclass(each)
    if each not in (Domain, Labels, Expression, Facet)
]
"""The classes of the language whose objects are digested as a whole; a facet is in no digest."""


def makes_a_definition(word: Any) -> bool:
    if not inspect.isfunction(word):
        return False
    made = get_type_hints(word).get("return")
    return bool({made, *get_args(made)} & {*KINDS, Expression})


WORDS = {
    name: each
    for name, each in vars(definitions).items()
    if makes_a_definition(each) and not name.startswith("_")
}
"""The functions of the language."""


@pytest.mark.parametrize("name", DOMAINS)
def test_digests_are_these_for_ever(name):
    domain = DOMAINS[name]
    assert (domain.definitions_digest, domain.rules_digest) == GOLDEN[name]


def test_a_direction_is_part_of_no_digest():
    plain, directed = every_kind.UNDIRECTED, every_kind.DIRECTED
    assert (plain.directions, len(directed.directions)) == ({}, len(directed.features))
    assert plain.definitions_digest == directed.definitions_digest


# -- every_kind uses the whole language -----------------------------------------------------------


def parts_of(thing: Any) -> Iterator[Any]:
    """Yield a definition and all definitions nested in it."""
    if isinstance(thing, tuple):
        for each in thing:
            yield from parts_of(each)
    elif is_dataclass(thing) and not isinstance(thing, type):
        yield thing
        for each in fields(thing):
            yield from parts_of(getattr(thing, each.name))


def parts_of_every_kind() -> list[Any]:
    domains = every_kind.DOMAINS
    return list(parts_of(tuple((each.features, each.groups, each.rules) for each in domains)))


def test_every_class_is_in_the_domain():
    assert {Own, Rule, Group, Entity, *get_args(Feature)} <= set(KINDS)
    assert set(KINDS) - {type(part) for part in parts_of_every_kind()} == set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_is_at_its_default_and_at_another_value(kind):
    """Fails for a new field until a further domain of every_kind uses the field.

    The golden digests fail for a new field until it is in `digest_later`.
    """
    parts = [part for part in parts_of_every_kind() if type(part) is kind]
    for each in fields(kind):
        values = [repr(getattr(part, each.name)) for part in parts]
        assert each.default_factory is MISSING
        if each.default is not MISSING:
            assert repr(each.default) in values, each.name
            assert set(values) - {repr(each.default)}, each.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_choice_of_a_field_is_made(kind):
    parts = [part for part in parts_of_every_kind() if type(part) is kind]
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal:
            assert {getattr(part, name) for part in parts} == set(get_args(hint)), name


def calls_in_every_kind() -> dict[str, set[str]]:
    """Return the names of the options that every_kind passes to each function of the language."""
    called: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(Path(every_kind.__file__).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            named = {each.arg for each in node.keywords if each.arg is not None}
            called.setdefault(node.func.id, set()).update(named)
    return called


def options_of(word: str) -> set[str]:
    options = set()
    for each in inspect.signature(WORDS[word]).parameters.values():
        if each.kind is each.VAR_KEYWORD:  # **options: Unpack[Counting]
            options |= set(get_type_hints(get_args(get_type_hints(WORDS[word])[each.name])[0]))
        elif each.kind is each.KEYWORD_ONLY:
            options.add(each.name)
    return options


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_written_with_every_option(word):
    assert options_of(word) - calls_in_every_kind()[word] == set()


def test_the_words_are_found():
    assert len(WORDS) >= 19
    assert {"number", "rate", "ratio", "rule", "one_hot", "latest_one_hot"} <= set(WORDS)
    assert options_of("count") == {"of", "window", "delay", "current", "text", "more"}


def operators_of_the_language() -> set[str]:
    """Return the names of all operators in expression trees."""
    found = set()
    for name, method in vars(Expression).items():
        is_private = name.startswith("_") and not name.endswith("__")
        if is_private or not inspect.isfunction(method):
            continue
        if get_type_hints(method).get("return") is Expression:
            found.add(method(field("a"), field("b")).operator)
    return found


def test_every_operator_is_in_the_domain():
    def operators(tree: list[Any]) -> Iterator[str]:
        yield tree[0]
        for each in tree[1:]:
            if isinstance(each, list):
                yield from operators(each)

    trees = [
        value.tree()
        for part in parts_of_every_kind()
        for value in (getattr(part, each.name) for each in fields(part))
        if isinstance(value, Expression)
    ]
    used = {operator for tree in trees for operator in operators(tree)}
    assert used == operators_of_the_language() | {"name", "number"}
    assert {"+", "-", "*", "/", "<", "<=", ">", ">=", "==", "&", "|"} <= used


# -- the rules for digests ------------------------------------------------------------------------


class Filed(Event, topic="filed", id="claim_id"):
    claim_id: EventId
    shop_id: EntityId | None = None
    amount: int | None = None


class Changed(Event, topic="changed", id="change_id"):
    change_id: EventId
    shop_id: EntityId | None = None
    age: Category | None = None


shop = Entity("shop", key="shop_id")


def digest_with(**changes: Any) -> tuple[str, str]:
    parts: dict[str, Any] = {
        "name": "small",
        "currency": "USD",
        "claim": Filed,
        "split_by": shop,
        "groups": (Group("shops", shop, Changed),),
        "features": (number("amount", "amount"),),
        "rules": (rule("large", feature("amount") > 9, outcome="refer", text="large"),),
    }
    domain = Domain(**{**parts, **changes})
    return domain.definitions_digest, domain.rules_digest


SMALL = digest_with()


@pytest.fixture
def renamed_classes() -> Iterator[None]:
    """All classes of the language under other names in Python."""
    names = [kind.__name__ for kind in KINDS]
    for kind in KINDS:
        kind.__name__ = f"Another{kind.__name__}"
    yield
    for kind, name in zip(KINDS, names, strict=True):
        kind.__name__ = name


@pytest.mark.usefixtures("renamed_classes")
@pytest.mark.parametrize("name", DOMAINS)
def test_a_renamed_class_keeps_its_word(name):
    test_digests_are_these_for_ever(name)


def test_every_class_of_the_language_has_a_word_of_its_own():
    words = {vars(kind)["digest_word"] for kind in KINDS}
    assert words == {"Entity", "Own", "WindowFeature", "Computed", "Rule", "Group"}
    assert len(words) == len(KINDS)


def test_another_word_is_another_digest(monkeypatch):
    monkeypatch.setattr(Own, "digest_word", "another")
    assert digest_with() != SMALL


def test_names_of_fields_stand_in_no_digest():
    @dataclass(frozen=True)
    class Profile:
        """A group whose fields have other names."""

        digest_word: ClassVar[str] = "Group"
        title: str
        about: Entity
        told_by: type[Event]
        name = property(lambda self: self.title)
        entity = property(lambda self: self.about)
        event = property(lambda self: self.told_by)

    assert digest_with(groups=(Profile("shops", shop, Changed),)) == SMALL


def test_a_renamed_event_type_keeps_its_word():
    class ShopChanged(Event, topic="changed", id="change_id"):
        digest_word: ClassVar[str] = "Changed"
        change_id: EventId
        age: Category | None = None

    class Unnamed(Event, topic="changed", id="change_id"):
        change_id: EventId
        age: Category | None = None

    assert digest_with(groups=(Group("shops", shop, ShopChanged),)) == SMALL
    assert digest_with(groups=(Group("shops", shop, Unnamed),)) != SMALL
    assert "digest_word" not in ShopChanged.__struct_fields__


@dataclass(frozen=True)
class Grown(Own):
    """The class of a later version, with more fields."""

    digest_word: ClassVar[str] = "Own"
    digest_later: ClassVar[Mapping[str, str]] = {
        "scale": "scale", "least": "least", "tags": "tags", "place": "position",
    }  # fmt: skip
    digest_never: ClassVar[frozenset[str]] = frozenset({"owner", "direction", "facet"})
    owner: str = ""
    scale: float = math.nan
    least: float = 0.0
    facet: str = ""
    tags: tuple[str, ...] = dataclass_field(default_factory=tuple)
    place: int = 0
    direction: int = 0


def grown(**values: Any) -> tuple[str, str]:
    return digest_with(features=(Grown("amount", "amount", **values),))


def test_a_field_that_was_added_leaves_digests_while_it_has_its_default():
    assert grown() == SMALL
    assert grown(scale=math.nan, least=0.0, tags=(), place=0) == SMALL
    assert grown(scale=float("nan"), least=0, tags=[]) == SMALL


def test_a_field_that_was_added_is_digested_when_it_is_used():
    used = [
        grown(scale=2.0),
        grown(least=2.0),
        grown(scale=2.0, least=2.0),
        grown(tags=("a",)),
        grown(tags=("a", "b")),
        grown(place=2),
    ]
    assert len({SMALL, *used}) == 1 + len(used)


def test_the_order_and_the_names_of_added_fields_are_free():
    @dataclass(frozen=True)
    class Renamed(Own):
        digest_word: ClassVar[str] = "Own"
        digest_later: ClassVar[Mapping[str, str]] = {"put_at": "position", "factor": "scale"}
        put_at: int = 0
        factor: float = math.nan

    changed = digest_with(features=(Renamed("amount", "amount", put_at=3, factor=2.0),))
    assert changed == grown(place=3, scale=2.0)


@pytest.mark.parametrize("values", [{"owner": "team"}, {"direction": -1}, {"facet": "money"}])
def test_what_cannot_change_a_vector_is_in_no_digest(values):
    assert grown(**values) == SMALL
    assert grown(**values, scale=2.0) == grown(scale=2.0)


def test_a_subclass_keeps_what_its_base_says():
    @dataclass(frozen=True)
    class Further(Grown):
        digest_word: ClassVar[str] = "Own"
        digest_later: ClassVar[Mapping[str, str]] = {"most": "most"}
        digest_never: ClassVar[frozenset[str]] = frozenset({"team"})
        most: float = 1.0
        team: str = ""

    def further(**values: Any) -> tuple[str, str]:
        return digest_with(features=(Further("amount", "amount", **values),))

    assert further(owner="a", team="b") == SMALL
    assert further(scale=2.0) == grown(scale=2.0)
    assert len({SMALL, further(most=2.0), further(most=2.0, scale=2.0)}) == 3


def test_rules_keep_to_the_same():
    @dataclass(frozen=True)
    class LaterRule(Rule):
        digest_word: ClassVar[str] = "Rule"
        digest_later: ClassVar[Mapping[str, str]] = {"flag": "flag"}
        digest_never: ClassVar[frozenset[str]] = frozenset({"owner"})
        flag: str = ""
        owner: str = ""

    def with_rule(**values: Any) -> tuple[str, str]:
        made = LaterRule("large", feature("amount") > 9, "refer", "large", **values)
        return digest_with(rules=(made,))

    assert with_rule(owner="team") == SMALL
    assert with_rule(flag="x")[0] == SMALL[0]
    assert with_rule(flag="x")[1] != SMALL[1]


def test_marking_personal_data_changes_no_digest():
    class Marked(Event, topic="changed", id="change_id"):
        digest_word: ClassVar[str] = "Changed"
        change_id: EventId
        shop_id: Annotated[EntityId, Pii] | None = None
        age: Annotated[Category, Pii] | None = None

    class MarkedClaim(Event, topic="filed", id="claim_id"):
        claim_id: EventId
        shop_id: Annotated[EntityId, Pii] | None = None
        amount: Annotated[int, Pii] | None = None

    assert digest_with(claim=MarkedClaim, groups=(Group("shops", shop, Marked),)) == SMALL


def test_facets_are_in_no_digest():
    assert DOMAINS["auto_claims"].facets
    facets = (Facet("large", feature="amount", least=9), Facet("one", feature="amount"))
    assert digest_with(facets=facets[:1]) == digest_with(facets=facets) == SMALL


class ChangedElsewhere(Event, topic="elsewhere", id="change_id"):
    digest_word: ClassVar[str] = "Changed"
    change_id: EventId


CHANGES: dict[str, Callable[[], tuple[str, str]]] = {
    "a feature's text": lambda: digest_with(features=(number("amount", "amount", text="t"),)),
    "a topic": lambda: digest_with(groups=(Group("shops", shop, ChangedElsewhere),)),
    "an operator": lambda: digest_with(
        rules=(rule("large", feature("amount") >= 9, outcome="refer", text="large"),)
    ),
    "a rule's text": lambda: digest_with(
        rules=(rule("large", feature("amount") > 9, outcome="refer", text="larger"),)
    ),
    "an entity's form": lambda: digest_with(
        groups=(Group("shops", replace(shop, form="code"), Changed),)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_words_in_definitions_are_data(change):
    assert CHANGES[change]() != SMALL
