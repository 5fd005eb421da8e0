"""Normalisation of ids and categories before they are compared.

The same VIN, phone or shop arrives in many spellings: full-width digits, different case, spaces,
composed or decomposed accents. Normalisation maps them to one spelling. Placeholders (UNKNOWN,
000-000, 1111111111) link no claims: claims that share a placeholder share no entity.

What is here is edition 1 and what later editions share with it; `id_rules` chooses by edition.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

Form = Literal["id", "code", "phone"]
"""The normalisation of a kind of ids; see `normal_key`."""

PLACEHOLDERS: Final = frozenset(
    {"unknown", "unkown", "none", "null", "n/a", "na", "nil", "missing", "test", "tbd", "xxx", "-"}
)
_MIN_REPEATED: Final = 3  # shortest placeholder of one repeated digit: "000", "1111111111"

_SYMBOLS: Final = str.maketrans("", "", "!@#$%^&*()_+=-/\\`~{}|<>?")
NOT_IN_CODES: Final = str.maketrans("", "", " -_./:,\t")


def normal_key(text: str, form: Form) -> str:
    """Normalise an id, so that all its spellings become one; may return an empty string.

    >>> normal_key(" Shop-7\\u200b ", "id"), normal_key("1hg cm-826", "code")
    ('shop-7', '1HGCM826')
    >>> normal_key("+1 (555) 010-2233", "phone"), normal_key("\\uff15\\uff15\\uff15", "phone")
    ('15550102233', '555')
    """
    if not (text.isascii() and text.isprintable()):
        text = canonical(text, form)
    if form == "id":
        return text.strip().casefold()
    if form == "code":
        return text.translate(NOT_IN_CODES).upper()
    return "".join(c for c in text if c.isdecimal()) if not text.isdecimal() else text


def canonical(text: str, form: Form) -> str:
    """Remove invisible characters and compatibility forms, unify case, and compose accents.

    Case folding can decompose a composed character, and composition can undo case folding: the two
    rounds are those of Unicode's compatibility caseless match (The Unicode Standard, section 3.13,
    D146). Phones keep their case, because only their digits are used.
    """
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C")
    if form == "phone":
        return unicodedata.normalize("NFKC", text)
    text = unicodedata.normalize("NFD", text)
    for _ in range(2):
        text = text.casefold() if form == "id" else text.upper().translate(NOT_IN_CODES)
        text = unicodedata.normalize("NFKC", text)
    return text


def is_placeholder(key: str, deny: frozenset[str]) -> bool:
    """Whether a normalised key means "not known" and must link no claims.

    >>> is_placeholder("000000", frozenset()), is_placeholder("shop-7", frozenset())
    (True, False)
    """
    if key in deny or key.lower() in PLACEHOLDERS:
        return True
    return len(key) >= _MIN_REPEATED and key.isdecimal() and key == key[0] * len(key)


def normal_category(text: str) -> str:
    r"""Normalise a category to lower case without symbols, as the AWS example's transforms do.

    >>> normal_category("N/A"), normal_category("Break-In"), normal_category(" Below High School")
    ('na', 'breakin', 'below high school')
    """
    return unicodedata.normalize("NFKC", text).strip().lower().translate(_SYMBOLS)


def normal_keys(
    texts: list[str | None], form: Form, deny: frozenset[str]
) -> tuple[list[str], list[int]]:
    """Normalise a batch; returns the keys, and the indices of placeholders.

    Missing ids and placeholders become "". Gives the same result as `normal_key` and
    `is_placeholder` for each id; a batch of printable ASCII takes only a few calls.

    >>> normal_keys(["Shop-7", None, "UNKNOWN"], "id", frozenset())
    (['shop-7', '', ''], [2])
    """
    joined = "\0".join([text or "" for text in texts])
    if joined.isascii() and joined.replace("\0", "").isprintable() and not is_padded(joined):
        if form == "id":
            joined = joined.lower()
        elif form == "code":
            joined = joined.translate(NOT_IN_CODES).upper()
        else:
            joined = joined.translate(NOT_IN_PHONES)
        keys = joined.split("\0") if texts else []
    else:
        keys = [normal_key(text, form) if text else "" for text in texts]
    placeholders = [i for i, key in enumerate(keys) if key and _is_placeholder_fast(key, deny)]
    for i in placeholders:
        keys[i] = ""
    return keys, placeholders


def is_padded(joined: str) -> bool:
    """Whether any of the joined ids begins or ends with a space; inner spaces belong to the id."""
    return "\0 " in joined or " \0" in joined or joined.startswith(" ") or joined.endswith(" ")


NOT_IN_PHONES: Final = {
    code: None for code in range(1, 128) if not chr(code).isdecimal()
}  # keeps NUL, the separator of ids


def _is_placeholder_fast(key: str, deny: frozenset[str]) -> bool:
    # a cheap test first: it is enough for almost all keys
    if key[0] != key[-1] and len(key) > LONGEST_PLACEHOLDER and not deny:
        return False
    return is_placeholder(key, deny)


LONGEST_PLACEHOLDER: Final = max(map(len, PLACEHOLDERS))
