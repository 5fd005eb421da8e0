"""The rules by which the ids of one kind are read, as of an edition.

Edition 1 is `normalisation`. Since edition 2 dashes and white space of every kind are one, and all
spellings of `claimtrace.encoding.missing_values` link no claims. The rules are written down once,
slowly, in `IdRules.key` and `IdRules.is_placeholder`; `keys` and the kernel of `claim_columns` are
faster ways to the same result.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from claimtrace.buffers.jit import kernel
from claimtrace.encoding.missing_values import (
    MISSING_IDS,
    MISSING_WORDS,
    PLAIN,
    ZEROS,
    is_filler,
)

from .normalisation import (
    NOT_IN_CODES,
    NOT_IN_PHONES,
    Form,
    canonical,
    is_padded,
    is_placeholder,
    normal_key,
    normal_keys,
)

MORE_MISSING: Final = 2
"""The first edition with the spellings of `claimtrace.encoding.missing_values`."""

FILTER_SIZE: Final = 16_384
"""Slots of the kernel's filter of placeholders; a power of two."""


class IdRules:
    """The rules for ids of one kind: their keys, and which of them are placeholders.

    Args:
        form: the form of the ids.
        deny: values that link no claims, as in the definitions.
        edition: see `claimtrace.editions`.

    >>> rules = IdRules("id", frozenset(), 2)
    >>> rules.keys(["Shop\\u00a0 \\u2014 7", None, "n.a.", "(null)"])
    (['shop - 7', '', '', ''], [2, 3])
    """

    def __init__(self, form: Form, deny: frozenset[str], edition: int) -> None:
        self.form: Form = form
        self.deny = deny
        self.is_first = edition < MORE_MISSING
        self._suspects: frozenset[str] = frozenset()
        """A superset of the keys of placeholders of ASCII, apart from fillers."""
        if self.is_first:
            return
        self._denied = frozenset(self.key(text) for text in deny) - {""}
        words = frozenset(self.key(text) for text in MISSING_WORDS) - {""}
        self._placeholders = self._denied | (words if form == "code" else frozenset())
        self._suspects = self._denied | frozenset(self.key(text) for text in MISSING_IDS)

    def key(self, text: str) -> str:
        """Normalise an id; may return an empty string."""
        if self.is_first:
            return normal_key(text, self.form)
        if self.form == "id":
            return _id(text)
        if not (text.isascii() and text.isprintable()):
            text = canonical(text.translate(PLAIN), self.form).translate(PLAIN)
        if self.form == "code":
            return text.translate(NOT_IN_CODES).upper()
        return "".join(c for c in text if c.isdecimal())

    def is_placeholder(self, text: str, key: str) -> bool:
        """Whether an id means "not known" and must link no claims; `key` is its key, not empty."""
        if self.is_first:
            return is_placeholder(key, self.deny)
        if key in self._placeholders or is_filler(key):
            return True
        plain = key if self.form == "id" else _id(text)
        return plain in MISSING_IDS

    def keys(self, texts: list[str | None]) -> tuple[list[str], list[int]]:
        """Normalise a batch; returns the keys, and the indices of placeholders.

        Missing ids and placeholders become "".
        """
        if self.is_first:
            return normal_keys(texts, self.form, self.deny)
        keys = self._keys(texts)
        placeholders = [
            i
            for i, (key, text) in enumerate(zip(keys, texts, strict=True))
            if key and text and self._is_suspect(text, key) and self.is_placeholder(text, key)
        ]
        for i in placeholders:
            keys[i] = ""
        return keys, placeholders

    def _keys(self, texts: list[str | None]) -> list[str]:
        """Normalise a batch; one of printable ASCII takes only a few calls."""
        joined = "\0".join([text or "" for text in texts])
        if not (joined.isascii() and joined.replace("\0", "").isprintable()):
            return [self.key(text) if text else "" for text in texts]
        if self.form == "code":
            joined = joined.translate(NOT_IN_CODES).upper()
        elif self.form == "phone":
            joined = joined.translate(NOT_IN_PHONES)
        elif is_padded(joined) or "  " in joined:
            return [self.key(text) if text else "" for text in texts]
        else:
            joined = joined.lower()
        return joined.split("\0") if texts else []

    def _is_suspect(self, text: str, key: str) -> bool:
        """Whether an id may be a placeholder; a cheap test for almost all ids."""
        may_be_filler = key[0] == key[-1] or key[0] in ZEROS
        return key in self._suspects or may_be_filler or not text.isascii()

    @cached_property
    def filter(self) -> NDArray[np.bool_]:
        """The slots (`slot_of`) of keys that may be those of placeholders, for the kernel."""
        found = np.zeros(FILTER_SIZE, np.bool_)
        for key in self._suspects - {""}:
            if key.isascii():
                code = key.encode()
                found[slot_of(len(code), code[0], code[len(code) // 2], code[-1])] = True
        return found

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """The sorted hashes (`hash_of`) of the keys whose slots are in `filter`."""
        keys = [key.encode() for key in self._suspects if key and key.isascii()]
        found = [hash_of(np.frombuffer(key, np.uint8), 0, len(key)) for key in keys]
        return np.array(sorted(found), np.uint64)


@kernel
def hash_of(buffer, start, end):  # type: ignore[no-untyped-def]
    """Return the 64-bit FNV-1a hash of the bytes [start, end)."""
    found = np.uint64(14695981039346656037)
    for j in range(start, end):
        found = (found ^ np.uint64(buffer[j])) * np.uint64(1099511628211)
    return found


@kernel
def slot_of(size, first, middle, last):  # type: ignore[no-untyped-def]
    """Return the slot of a key in the filter, from its length and three of its bytes."""
    mixed = np.int64(size) * 2657 + np.int64(first) * 677
    return (mixed + np.int64(middle) * 29 + np.int64(last) * 5) & (FILTER_SIZE - 1)


def _id(text: str) -> str:
    """Return the key of an id of form `id` since edition 2."""
    if not (text.isascii() and text.isprintable()):
        # before characters that can't be seen are removed, because some of them are white space or
        # dashes; and after, because compatibility forms become white space or dashes
        text = canonical(text.translate(PLAIN), "id").translate(PLAIN)
    return " ".join(text.casefold().split())


@lru_cache(maxsize=256)
def id_rules(form: Form, deny: frozenset[str], edition: int) -> IdRules:
    """Return the rules of one kind of ids; they are made once."""
    return IdRules(form, deny, edition)
