"""Definitions as nested lists of plain values, the same on every machine, for digests.

Used by the digest of all definitions of a domain (`domain.Domain.definitions_digest`) and by the
digest of each feature (`featurestore.fields.feature_digests`).
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from .expressions import Expression


def plain(thing: Any) -> Any:
    """Return definitions as nested lists of plain values, the same on every machine, for a digest.

    A definition becomes the word of its class, followed by the values of its fields in order,
    without their names. A class can change this by attributes:

    - `digest_word`: the word for the class; by default the class's name. With a word of its own a
      class can be renamed without changing any digest.
    - `digest_later`: fields that were added to the class after digests of it were in use, with a
      word for each. A field that has its default, which must never change, is left out, so that
      definitions which don't use it keep their digest; otherwise `[word, value]` follows after
      the other fields.
    - `digest_never`: fields that can't change a served vector or a decision.

    The `digest_later` and `digest_never` of a base class also apply to its subclasses.
    """
    if isinstance(thing, Expression):
        return thing.tree()
    if isinstance(thing, type):
        return [word_of(thing), getattr(thing, "topic", "")]
    if is_dataclass(thing):
        return [word_of(type(thing)), *field_values(thing)]
    if isinstance(thing, tuple):
        return [plain(each) for each in thing]
    return str(thing) if isinstance(thing, float) else thing


def word_of(kind: type) -> str:
    """Return the word for a class in digests; a subclass doesn't inherit it."""
    word: str = vars(kind).get("digest_word", kind.__name__)
    return word


def field_values(thing: Any, without: Set[str] = frozenset()) -> Iterator[Any]:
    """Yield the values of a definition's fields for a digest; see `plain`.

    Args:
        thing: a dataclass object of the language.
        without: names of fields that are left out too.
    """
    later: dict[str, str] = {}
    never = set(without)
    for base in type(thing).__mro__:
        later |= vars(base).get("digest_later", {})
        never |= vars(base).get("digest_never", set())
    added = []
    for each in fields(thing):
        if each.name in never:
            continue
        value = getattr(thing, each.name)
        if each.name not in later:
            yield plain(value)
        elif not _is_default(each, value):
            added.append([later[each.name], plain(value)])
    yield from sorted(added, key=lambda pair: pair[0])


def _is_default(each: Field[Any], value: Any) -> bool:
    """Whether a value is its field's default; NaN equals NaN, and 0 equals 0.0."""
    default = each.default if each.default_factory is MISSING else each.default_factory()
    return bool(value == default or plain(value) == plain(default))
