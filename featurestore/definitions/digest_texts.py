"""Definitions and rules in words, from the JSON text that their digest is of.

The text has values without names (`digests.plain`). They are named by the classes of the language
as they are now, which keep their fields in order; what these don't know is shown as JSON.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import msgspec

from claimtrace.errors import StateError

from .catalogue import duration_text
from .digests import word_of
from .expressions import FIELD_PREFIX, PROFILE_PREFIX
from .features import Computed, Entity, Group, Own, Rule, WindowFeature

_MOST_DEPTH: Final = 60
"""Levels of an expression that are written out."""
_OPERANDS: Final = 3
"""Length of an expression with two operands."""


def _names(kind: type) -> list[str]:
    """Return the names of a class's fields that are always in its text, in order."""
    added: set[str] = set()
    for base in kind.__mro__:
        added |= set(vars(base).get("digest_later", ())) | vars(base).get("digest_never", set())
    return [each.name for each in fields(kind) if each.name not in added]


_KINDS: Final = {
    word_of(kind): _names(kind) for kind in (Entity, Own, WindowFeature, Computed, Rule, Group)
}
_EXPRESSIONS: Final = {"when", "expression"}


def lines_of(text: bytes) -> list[str]:
    """Return the lines that describe the definitions or the rules of a text.

    Args:
        text: JSON as in `Domain.definitions_text` or `Domain.rules_text`.

    Raises:
        StateError: it is no such text.

    >>> lines_of(b'[["Rule","large",[">",["name","field:cents"],["number",9]],"review","much"]]')
    ['rule large: review where cents > 9 ("much")']
    """
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise StateError(f"the text is no definitions: {error}", where="journal") from error
    if not isinstance(found, list):
        raise StateError("the text is no definitions", where="journal")
    if not found or isinstance(found[0], list):
        return [_line(each) for each in found] or ["no rules"]
    head, features, groups = found[:2], found[2:3], found[3:4]
    lines = [f"domain {' in '.join(map(_plain, head))}"]
    for each in (*features, *groups):
        lines += [_line(one) for one in each] if isinstance(each, list) else [_plain(each)]
    return [*lines, *map(_plain, found[4:])]


def _line(thing: Any) -> str:
    """Describe one feature, group or rule."""
    values = _named(thing)
    if values is None:
        return _plain(thing)
    kind, name = thing[0], values.pop("name")
    if kind == word_of(Rule):
        said = _plain(values["text"])
        return f"rule {name}: {values['outcome']} where {_infix(values['when'])} ({said})"
    words = [
        f"{key.removesuffix('_ms')}={_value(key, value)}"
        for key, value in values.items()
        if value not in ("", 0, False, [], "nan") and (key, value) != ("unit", 1)
    ]
    return f"{_TITLES.get(kind, kind)} {name}: {', '.join(words)}"


_TITLES: Final = {
    word_of(Own): "own",
    word_of(WindowFeature): "window",
    word_of(Computed): "computed",
    word_of(Group): "group",
}


def _named(thing: Any) -> dict[str, Any] | None:
    """Return the values of a definition by name; None for what the language doesn't know."""
    if not isinstance(thing, list) or not thing or not isinstance(thing[0], str):
        return None
    names = _KINDS.get(thing[0], ())
    values, added = thing[1 : len(names) + 1], thing[len(names) + 1 :]
    pairs = [each for each in added if isinstance(each, list) and len(each) == len("ab")]
    if not names or len(values) != len(names) or len(pairs) != len(added):
        return None
    return {**dict(zip(names, values, strict=True)), **{str(k): v for k, v in pairs}}


def _value(key: str, value: Any) -> str:
    if key in _EXPRESSIONS:
        return _infix(value)
    if key.endswith("_ms") and isinstance(value, int):
        return duration_text(value)
    inner = _named(value)
    if inner is not None and "key" in inner:
        more = [
            f"{word}={_plain(inner[word])}"
            for word in ("also", "form", "deny")
            if inner[word] not in ([], "id")
        ]
        said = ", ".join([f"by {inner['key']}", *more])
        return f"{inner['name']} ({said})"
    return _plain(value)


def _infix(tree: Any, depth: int = 0) -> str:
    """Write an expression as people do, with brackets around what is inside."""
    if isinstance(tree, list) and depth < _MOST_DEPTH and tree and isinstance(tree[0], str):
        if tree[0] in ("name", "number") and len(tree) == len("ab"):
            return str(tree[1]).removeprefix(FIELD_PREFIX).removeprefix(PROFILE_PREFIX)
        if len(tree) == _OPERANDS:
            written = f"{_infix(tree[1], depth + 1)} {tree[0]} {_infix(tree[2], depth + 1)}"
            return f"({written})" if depth else written
    return _plain(tree)


def _plain(value: Any) -> str:
    return msgspec.json.encode(value).decode()
