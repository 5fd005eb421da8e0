"""Read the cells of a table exactly: texts, whole numbers, numbers, amounts, booleans.

A cell is a text, or what a typed file holds. A reader returns None for a missing cell, and raises
`Unreadable` for one that it would have to guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Final

from claimtrace.encoding.missing_values import is_missing

Reader = Callable[[Any], Any]

_EXACT: Final = Context(prec=120)
"""Arithmetic that never rounds numbers of up to `_MAX_CHARS` characters."""
_MAX_CHARS: Final = 60
_MAX_EXPONENT_CHARS: Final = 8
_SHORT: Final = 16
_MAX_ADJUSTED: Final = 18
"""Whole numbers and amounts from 10**19 on are refused before they are computed."""
_FLOAT_NOISE: Final = 1e-12
"""A binary float holds 1234.56 only about: relative error that arithmetic on it leaves."""

_SPACES: Final = " \u00a0\u202f\u2009"
"""Kinds of spaces that are written between thousands."""
_SIGNIFICANT: Final = re.compile(r"[^\W_]")
_AMBIGUOUS: Final = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_TYPE_NAMES: Final = {
    "bool": "boolean", "date": "date", "datetime": "timestamp", "dict": "struct", "int": "integer",
    "float": "number", "str": "text", "time": "time of day", "timedelta": "duration",
}  # fmt: skip


class Unreadable(ValueError):
    """A cell, or a whole row, that can't be read without guessing.

    Args:
        reason: a key of `claimtrace.refusals.REASONS`.
        why: what is wrong; follows the value in a message.
        hint: how to fix it; empty when only the file can be fixed.
    """

    def __init__(self, reason: str, why: str, hint: str = "") -> None:
        self.reason, self.why, self.hint = reason, why, hint
        super().__init__(why)


class BadCell:
    """A cell whose value Python can't hold, such as a timestamp beyond the year 9999."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def type_name(value: object) -> str:
    """Return the name of a cell's type in a table.

    >>> type_name(["7"]), type_name({"a": 1}), type_name(True)
    ('list', 'struct', 'boolean')
    """
    name = type(value).__name__
    return _TYPE_NAMES.get(name, name)


def text_of(value: object) -> str | None:
    """Return a cell as text; None for a missing cell of a typed file.

    Whole numbers have one spelling, whether the column holds integers, floats or decimals: a
    column of integers with one missing cell becomes floats in many programs.

    >>> text_of(7), text_of(7.0), text_of(7.5), text_of(float("nan")), text_of(True), text_of(b"7")
    ('7', '7', '7.5', None, 'true', '7')

    Raises:
        Unreadable: bytes that aren't UTF-8, a list, a struct, a timestamp.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            why = f"holds bytes that aren't UTF-8 (byte {error.start})"
            raise Unreadable("bad_utf8", why) from None
    hint = "give the field kind = 'time'" if type_name(value) in ("timestamp", "date") else ""
    raise Unreadable("bad_type", f"is a {type_name(value)}, not a text", hint)


def text_reader(prefix: str) -> Reader:
    """Return a reader of texts that puts a prefix before each that isn't a spelling of missing.

    >>> read = text_reader("usa-")
    >>> read("7"), read(7.0), read("NULL"), read("0")
    ('usa-7', 'usa-7', 'NULL', 'usa-0')
    """
    if not prefix:
        return text_of

    def read(value: object) -> str | None:
        text = text_of(value)
        if text is None or is_missing(text):
            return text  # with a prefix it would look like an id
        return prefix + text

    return read


def boolean(value: object) -> bool | None:
    """Read true or false; also 1 and 0.

    >>> boolean("TRUE"), boolean(0), boolean("N/A")
    (True, False, None)
    """
    text = text_of(value)
    if text is None or is_missing(text):
        return None
    found = {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower())
    if found is None:
        raise Unreadable("bad_type", "is not true or false")
    return found


def without(missing: frozenset[str], read: Reader) -> Reader:
    """Return a reader for which some more texts are missing."""
    if not missing:
        return read

    def checked(value: object) -> Any:
        text = text_of(value) if isinstance(value, str | int | float | bytes | Decimal) else None
        return None if text in missing else read(value)

    return checked


class Numbers:
    """Readers of numbers in the notation of one table.

    Args:
        decimal: the sign before decimals; empty: a point, and a text such as `1.234`, which may be
            a thousand or one and a bit, is refused where it matters.
        thousands: the sign between groups of three digits; empty: there is none.
    """

    def __init__(self, decimal: str = "", thousands: str = "") -> None:
        point = re.escape(decimal or ".")
        whole = r"\d+"
        self._group = ""
        if thousands:
            self._group = f"[{_SPACES}]" if thousands in _SPACES else re.escape(thousands)
            whole = rf"(?:\d{{1,3}}(?:{self._group}\d{{3}})+|\d+)"
        pattern = rf"([+-]?)({whole})?(?:{point}(\d*))?(?:[eE]([+-]?\d+))?"
        self._pattern = re.compile(pattern, re.ASCII)
        self._decimal = decimal or "."
        self._unsaid = not decimal and not thousands

    def exact(self, value: object, *, grouped: bool = False) -> Decimal | None:
        """Read a cell as an exact decimal; None when it is missing.

        Args:
            value: the cell.
            grouped: refuse a text that may be meant with a sign between thousands.
        """
        if isinstance(value, str):
            return self._of_text(value, grouped=grouped)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bool):
            raise Unreadable("bad_type", "is a boolean, not a number")
        if isinstance(value, int | float):
            return Decimal(repr(value))
        if isinstance(value, Decimal):
            return value if value.is_finite() else None
        if isinstance(value, bytes):
            return self._of_text(text_of(value) or "", grouped=grouped)
        raise Unreadable("bad_type", f"is a {type_name(value)}, not a number")

    def integer(self, value: object) -> int | None:
        """Read a whole number.

        >>> Numbers().integer("12"), Numbers().integer(12.0), Numbers().integer("n/a")
        (12, 12, None)
        """
        if isinstance(value, str) and value.isdigit() and value.isascii() and len(value) <= _SHORT:
            return int(value)  # the usual case, quickly
        exact = self.exact(value, grouped=True)
        if exact is None:
            return None
        whole = _whole(exact, 1)
        if whole is None:
            raise Unreadable("bad_type", "is not a whole number")
        return whole

    def number(self, value: object) -> float | None:
        """Read a number as a float."""
        exact = self.exact(value)
        if exact is None:
            return None
        number = float(exact)
        if not math.isfinite(number):
            raise Unreadable("out_of_range", "is too large for a number")
        return number

    def cents(self, scale: int) -> Reader:
        """Return a reader of amounts that gives whole minor units, `scale` of them a unit.

        >>> cents = Numbers().cents(100)
        >>> cents("1234.5"), cents(0.1), cents("")
        (123450, 10, None)
        >>> Numbers(decimal=",", thousands=".").cents(100)("1.234,50")
        123450
        """
        factor, mark = Decimal(scale), self._decimal
        places = len(str(scale)) - 1 if scale == 10 ** (len(str(scale)) - 1) else -1

        def read(value: object) -> int | None:
            if isinstance(value, str) and len(value) <= _SHORT:  # the usual case, quickly
                whole, _, decimals = value.partition(mark)
                short = len(decimals) <= places and len(decimals) <= 2
                if short and (digits := whole + decimals).isdigit() and digits.isascii() and whole:
                    cents: int = int(digits) * 10 ** (places - len(decimals))
                    return cents
            exact = self.exact(value, grouped=True)
            if exact is None:
                return None
            amount = _whole(exact, factor)
            if amount is None and isinstance(value, float):
                nearest = round(value * scale)
                if math.isclose(value * scale, nearest, rel_tol=_FLOAT_NOISE):
                    amount = nearest
            if amount is None:
                raise Unreadable("bad_type", "has more decimals than the currency")
            return amount

        return read

    def _of_text(self, value: str, *, grouped: bool) -> Decimal | None:
        text = value.strip()
        found = self._pattern.fullmatch(text) if len(text) <= _MAX_CHARS else None
        if found is None or (found[2] is None and not found[3]):
            if is_missing(text):
                return None
            raise Unreadable("bad_type", "is not a number", self._notation_hint(text))
        sign, whole, decimals, exponent = found.groups("")
        if len(exponent) > _MAX_EXPONENT_CHARS:
            raise Unreadable("out_of_range", "is out of range")
        if grouped and self._unsaid and _AMBIGUOUS.fullmatch(text):
            raise Unreadable(
                "bad_type",
                "has more decimals than the currency, or a point between thousands",
                "say decimal = '.' or thousands = '.' in the mapping",
            )
        if self._group:
            whole = re.sub(self._group, "", whole)
        return Decimal(f"{sign}{whole or 0}.{decimals or 0}{exponent and 'e' + exponent}")

    def _notation_hint(self, text: str) -> str:
        signs = {each for each in text if each in ".,'" or each in _SPACES}
        if not signs or not any(each.isdigit() for each in text):
            return ""
        return "say decimal and thousands in the mapping, such as decimal = ',' thousands = '.'"


def _whole(exact: Decimal, factor: Decimal | int) -> int | None:
    """Return the product if it is whole, else None; refuse what would be a huge number."""
    if exact.adjusted() > _MAX_ADJUSTED:
        raise Unreadable("out_of_range", "is too large")
    if exact and exact.adjusted() < -_MAX_CHARS:
        return None
    product = _EXACT.multiply(exact, factor)
    whole = int(product)
    return whole if whole == product else None


def is_blank(value: object) -> bool:
    """Whether a cell is empty, or holds a text that means "no value".

    >>> is_blank(""), is_blank("NULL"), is_blank(float("nan")), is_blank("0"), is_blank(["7"])
    (True, True, True, False, False)
    """
    if isinstance(value, str):
        return not _SIGNIFICANT.search(value) or is_missing(value)
    return value is None or (isinstance(value, float | Decimal) and text_of(value) is None)
