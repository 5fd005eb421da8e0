"""Spellings of "missing": one list for every way in, whether a value comes from a table or a log.

Texts are compared in their plain spelling (`plain_spelling`), so case, full-width letters, kinds of
dashes and white space don't matter. Two questions are asked of a text:

- `is_missing`: does a field of any kind hold no value? For numbers, times, categories and ids.
- `is_missing_id`: does an id identify nothing? It also knows placeholders that would be values
  elsewhere, such as `0`, `-1` or `99999`.
"""

from __future__ import annotations

import string
import unicodedata
from typing import Final

DASHES: Final = (
    "\u00ad\u02d7\u058a\u05be\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u207b\u208b\u2212"
    "\u2796\u2e3a\u2e3b\ufe31\ufe32\ufe58\ufe63\uff0d"
)
"""Characters that people and word processors write for "-": hyphens, dashes, minus signs, and the
soft hyphen. A closed list: Python versions differ in their Unicode tables."""

SPACES: Final = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Characters other than " " that are white space (Unicode's property White_Space, and the
separators of ASCII)."""

PLAIN: Final = str.maketrans(dict.fromkeys(DASHES, "-") | dict.fromkeys(SPACES, " "))
"""For `str.translate`: every dash becomes "-", every white space character a space."""

_PANDAS: Final = (
    "", "#n/a", "#n/a n/a", "#na", "<na>", "n/a", "na", "nan", "nat", "none", "null", "-nan",
    "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "pd.na", "pd.nat", "np.nan", "numpy.nan",
    "float('nan')", "na_character_", "na_integer_", "na_real_", "inf", "-inf", "+inf",
)  # fmt: skip
"""pandas' `na_values`, how its missing values and numpy's print, and R's names of them."""
_EXCEL: Final = (
    "#n/a", "#div/0!", "#null!", "#num!", "#ref!", "#value!", "#name?", "#spill!", "#calc!",
    "#getting_data", "#field!", "#blocked!", "#connect!", "#unknown!", "#busy!", "#error!",
    "#nv", "#bezug!", "#wert!", "#zahl!", "#leer!", "#valeur!", "#nom?", "#nombre!", "#nul!",
    "(blank)", "(leer)", "(vide)",
)  # fmt: skip
"""Errors of Excel and other spreadsheets in English, German and French; empty pivot labels."""
_SQL: Final = (
    "\\n", "(null)", "[null]", "<null>", "{null}", "null!", "nil", "(nil)", "(none)", "<none>",
    "[none]", "undefined", "[object object]", "dbnull", "db_null", "\\null", "nullptr", "(nan)",
)  # fmt: skip
"""NULL in dumps of MySQL and PostgreSQL, in Oracle's and other clients, in JSON and scripts."""
_SAS: Final = ("._", *(f".{letter}" for letter in string.ascii_lowercase), "sysmis", "$sysmis")
"""Special missing values of SAS and Stata, and SPSS's; the plain "." has no letter or digit."""
_PEOPLE: Final = (
    "n.a.", "n.a", "n/a.", "n a", "n-a", "n\\a", "n,a", "not available", "not applicable",
    "not known", "not provided", "not given", "not specified", "not stated", "not reported",
    "not recorded", "not disclosed", "not entered", "not found", "not set", "not assigned",
    "not supplied", "unknown", "unkown", "unknwon", "unknow", "uknown", "(unknown)", "<unknown>",
    "[unknown]", "unk", "unspecified", "(unspecified)", "unavailable", "unassigned", "undisclosed",
    "undetermined", "unidentified", "missing", "(missing)", "<missing>", "[missing]",
    "missing value", "blank", "<blank>", "[blank]", "empty", "(empty)", "<empty>", "[empty]",
    "none provided", "none given", "none listed", "none available", "none specified", "no data",
    "no value", "no info", "no information", "no record", "no entry", "nothing", "no id",
    "to be determined", "to be advised", "to be confirmed", "to be announced", "tbd", "tba", "tbc",
    "t.b.d.", "unbekannt", "keine angabe", "nicht vorhanden", "nicht bekannt", "inconnu",
    "inconnue", "non renseigné", "non disponible", "desconocido", "desconocida", "no disponible",
    "sin datos", "sconosciuto", "non disponibile", "desconhecido", "onbekend", "不明", "未知",
)  # fmt: skip
"""What people type, and what data sets for competitions hold; typing errors of `unknown`."""
_ONLY_IDS: Final = ("test", "dummy", "placeholder", "default", "fake")

_AS_WRITTEN: Final = frozenset(
    {*_SAS, "n a", "n,a", "-nan", "inf", "-inf", "+inf", "\\n"}
    | {text for text in _PANDAS if "#" in text or "." in text}
)
"""Without their punctuation and spaces these would be the codes `A`, `1` or `INF`."""
_NUMBERS_FOR_NONE: Final = frozenset(
    {"-1", "-9", "-99", "-999", "-9999", "-99999", "-999999", "-1.0", "-9.0", "-99.0", "-999.0"}
)  # fmt: skip
_MIN_REPEATED: Final = 3  # shortest placeholder of one repeated digit: "111", "9999999999"

MISSING_VALUES: Final = frozenset({*_PANDAS, *_EXCEL, *_SQL, *_SAS, *_PEOPLE})
"""Plain spellings that mean "no value" in a field of any kind. The texts of punctuation alone, such
as `-`, `--`, `?` or `.`, are missing too, and not listed."""

MISSING_IDS: Final = MISSING_VALUES | frozenset(_ONLY_IDS) | _NUMBERS_FOR_NONE
"""Plain spellings that identify nothing; zeros, repeated digits and repeated x
are not listed."""

MISSING_WORDS: Final = MISSING_IDS - _AS_WRITTEN - _NUMBERS_FOR_NONE - {""}
"""The spellings in `MISSING_IDS` that also mean "missing" in ids of the form `code`, which lose
their punctuation before they are compared."""

_PUNCTUATION: Final = frozenset(string.punctuation + " ")
ZEROS: Final = _PUNCTUATION | {"0"}
"""An id of these characters alone identifies nothing."""


def plain_spelling(text: str) -> str:
    """Return a text in the spelling in which it is compared with the lists of this module.

    >>> plain_spelling(" Not\\u00a0 Available "), plain_spelling("\\u2014"), plain_spelling("ＮＡ")
    ('not available', '-', 'na')
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(PLAIN))
    return " ".join(text.translate(PLAIN).casefold().split())


def is_missing(text: str) -> bool:
    """Whether a text in a field of any kind means that there is no value.

    >>> [is_missing(text) for text in ("N/A", "\\\\N", " - ", "#REF!", ".", "0", "no")]
    [True, True, True, True, True, False, False]
    """
    plain = plain_spelling(text)
    return plain in MISSING_VALUES or _PUNCTUATION.issuperset(plain)


def is_missing_id(text: str) -> bool:
    """Whether an id identifies nothing, so that claims which share it share no entity.

    >>> [is_missing_id(text) for text in ("n.a.", "0", "000-000", "99999", "-1", "X", "7", "s-0")]
    [True, True, True, True, True, True, False, False]
    """
    plain = plain_spelling(text)
    return plain in MISSING_IDS or is_filler(plain)


def is_filler(plain: str) -> bool:
    """Whether a plain spelling is punctuation alone, zeros, one repeated digit, or x.

    >>> [is_filler(text) for text in ("--", "00", "000-000", "7777", "xxxx", "77", "x7")]
    [True, True, True, True, True, False, False]
    """
    if ZEROS.issuperset(plain):
        return True
    if plain != plain[0] * len(plain):
        return False
    return plain[0] in "xX" or (len(plain) >= _MIN_REPEATED and plain[0].isdecimal())
