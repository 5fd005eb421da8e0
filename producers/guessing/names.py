"""Names in a generated domain: from any text, a Python name that hides nothing."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable, Set
from typing import Final

MAX_NAME_CHARS: Final = 32

CLAIM_ID, CLAIM_TIME, CURRENCY = "claim_id", "filed_at", "currency"
"""Fields that every generated claim has."""

_LANGUAGE: Final = """annotated category cents claim claims count datetime distinct domain entity
    entityid event eventid feature features field id_field labels largest latest mean meta number
    one_hot ordered outcomes pii rate ratio rule schema_version since_last smallest std text
    time_field topic total whole"""
RESERVED: Final = frozenset(
    [*_LANGUAGE.split(), *keyword.kwlist, *keyword.softkwlist, *map(str.lower, dir(builtins)),
     CLAIM_ID, CLAIM_TIME, CURRENCY]
)  # fmt: skip
"""Names that a field or an entity of a generated module must not have."""


def snake_case(text: str) -> str:
    """Return a text as lower-case words of ASCII letters and digits; empty when nothing is left.

    >>> snake_case("Schaden-Höhe (EUR)"), snake_case("policyNumber"), snake_case("金額")
    ('schaden_hohe_eur', 'policy_number', '')
    """
    plain = unicodedata.normalize("NFKD", text[:400]).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:MAX_NAME_CHARS].strip("_")


def name_for(text: str, taken: Iterable[str], place: int) -> str:
    """Return a new Python name for a column.

    Args:
        text: the column's name, any text.
        taken: names that are in use.
        place: the column's place, from 1, for a name that has no usable letter.

    >>> name_for("class", [], 1), name_for("Make", ["make"], 2), name_for("2nd", [], 3)
    ('class_', 'make_2', 'column_2nd')
    >>> name_for("金額", [], 4)
    'column_4'
    """
    base = snake_case(text) or f"column_{place}"
    if not base[0].isalpha():
        base = f"column_{base}"
    if base in RESERVED:
        base += "_"
    name, number, used = base, 2, set(taken)
    while name in used or name in RESERVED:
        name = f"{base.rstrip('_')}_{number}"
        number += 1
    return name


def entity_word(field: str) -> str:
    """Return the word for what an id identifies: `policy_number` is about a policy.

    >>> entity_word("policy_number"), entity_word("repair_shop_id"), entity_word("id")
    ('policy', 'repair_shop', 'id')
    """
    word = re.sub(r"_(id|ids|number|num|no|nr|key|code|ref|hash|name)$", "", field)
    return word or field


def literal(text: str) -> str:
    r"""Return a text as a Python literal in the form that ruff gives it.

    >>> print(literal('a"b'), literal("it's"), literal("x\ny"))
    'a"b' "it's" "x\ny"
    """
    shown = repr(text)
    if shown[0] == '"':
        return shown
    inner = shown[1:-1]
    if '"' not in inner:
        return f'"{inner}"'
    if text.count("'") >= text.count('"'):  # ruff takes the quotes that need fewer escapes
        return '"' + inner.replace("\\'", "'").replace('"', '\\"') + '"'
    return shown


def plain(text: str, most: int = 60) -> str:
    """Return a text from outside for a sentence: printable, on one line, cut.

    >>> plain("a\\nb`|c")
    'a b c'
    """
    kept = "".join(c if c.isprintable() and c not in "`|\\\\<>" else " " for c in text[: 4 * most])
    short = " ".join(kept.split())
    return short if len(short) <= most else short[: most - 3] + "..."


def refused_name(name: str, taken: Set[str]) -> str:
    """Return why a domain can't have a name; empty when it can.

    Args:
        name: the name that was asked for.
        taken: names of rooms and of importable modules.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,23}", name):
        return "a domain's name has 1 to 24 lower-case letters, digits and _, a letter first"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return f"{name} is a word of Python"
    if name in taken:
        return f"{name} is the name of another module, which would be found in its place"
    return ""
