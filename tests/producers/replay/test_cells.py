"""Cells: one spelling of whole numbers, exact amounts in any notation, nothing guessed."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.encoding.missing_values import MISSING_VALUES
from claimtrace.refusals import REASONS
from producers.replay.cells import BadCell, Numbers, Unreadable, boolean, is_blank, text_of, without

WHOLE = st.integers(-(2**53), 2**53)
CELLS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text()
    | st.binary(max_size=30) | st.dates() | st.datetimes() | st.timedeltas() | st.times()
    | st.lists(st.text(), max_size=2) | st.dictionaries(st.text(), st.integers(), max_size=2)
    | st.builds(BadCell, st.text())
)  # fmt: skip
NOTATIONS = [("", ""), (".", ""), (",", ""), (",", "."), (".", ","), (",", " "), (".", "'")]


def written(cents: int, decimal: str, thousands: str, places: int) -> str:
    """Write an amount the long way: digits from the right, a sign after each three."""
    whole, rest = divmod(abs(cents), 100)
    digits = str(whole)
    if thousands:
        groups = []
        while digits:
            groups.append(digits[-3:])
            digits = digits[:-3]
        digits = thousands.join(reversed(groups))
    decimals = {0: "", 1: f"{rest // 10}", 2: f"{rest:02d}"}[places]
    return ("-" if cents < 0 else "") + digits + (decimal + decimals if decimals else "")


@given(WHOLE)
@settings(deadline=None)
def test_a_whole_number_has_one_spelling_in_every_type(number: int) -> None:
    spellings = {
        text_of(number), text_of(float(number)), text_of(Decimal(number)),
        text_of(Decimal(number).quantize(Decimal("0.00"))), text_of(str(number).encode()),
        text_of(str(number)),
    }  # fmt: skip
    assert spellings == {str(number)}


@given(CELLS)
@settings(deadline=None)
def test_a_cell_is_read_missing_or_refused_with_a_reason(cell: Any) -> None:
    numbers = Numbers()
    readers = (text_of, boolean, numbers.integer, numbers.number, numbers.cents(100))
    for read in readers:
        try:
            found: Any = read(cell)
        except Unreadable as error:
            found = error
        if isinstance(found, Unreadable):
            assert found.reason in REASONS
            continue
        assert found is None or isinstance(found, str | bool | int | float)
        if isinstance(found, float):
            assert math.isfinite(found)


@given(st.lists(st.text()) | st.dictionaries(st.text(), st.text()) | st.timedeltas())
@settings(deadline=None)
def test_a_list_or_a_struct_is_no_text(cell: Any) -> None:
    with pytest.raises(Unreadable, match=r"is a (list|struct|duration)"):
        text_of(cell)


@given(st.text().filter(lambda text: not text.isascii()))
@settings(deadline=None)
def test_bytes_are_utf8_or_refused(text: str) -> None:
    if "\ud800" <= max(text) <= "\udfff":
        return
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return
    assert text_of(encoded) == text
    with pytest.raises(Unreadable, match="UTF-8"):
        text_of(b"\xff" + encoded)


@given(st.integers(-(10**14), 10**14), st.sampled_from(NOTATIONS), st.integers(0, 2))
@settings(deadline=None)
def test_an_amount_is_exact_in_every_notation(
    cents: int, notation: tuple[str, str], places: int
) -> None:
    decimal, thousands = notation
    cents -= cents % (10 ** (2 - places))
    text = written(cents, decimal or ".", thousands, places)
    assert Numbers(decimal, thousands).cents(100)(text) == cents
    assert Numbers(decimal, thousands).cents(100)(f"  {text} ") == cents
    if decimal in ("", ".") and not thousands:
        assert Numbers().cents(100)(cents / 100) == cents
        assert Numbers().cents(100)(Decimal(cents) / 100) == cents


@given(st.decimals(-(10**9), 10**9, allow_nan=False, places=5), st.sampled_from([1, 10, 100, 1000]))
@settings(deadline=None)
def test_more_decimals_than_the_currency_has_are_refused(amount: Decimal, scale: int) -> None:
    exact = Fraction(amount) * scale
    read = Numbers(decimal=".").cents(scale)
    for cell in (str(amount), amount):
        if exact.denominator == 1:
            assert read(cell) == exact.numerator
        else:
            with pytest.raises(Unreadable, match="more decimals"):
                read(cell)


@given(st.integers(1, 999), st.integers(0, 999))
@settings(deadline=None)
def test_a_point_that_may_be_between_thousands_is_refused(first: int, last: int) -> None:
    text = f"{first}.{last:03d}"
    for read in (Numbers().cents(100), Numbers().integer):
        with pytest.raises(Unreadable, match="thousands"):
            read(text)
    assert Numbers(decimal=",", thousands=".").cents(1)(text) == first * 1000 + last
    assert Numbers().number(text) == float(text), "a ratio may have three decimals"


@pytest.mark.parametrize(
    ("cell", "notation"),
    [
        ("1,50", ("", "")), ("1.50", (",", "")), ("1.23.456", (",", ".")), ("12.34", (",", ".")),
        ("1,234", ("", "")), ("1 234", ("", "")), ("$12.00", ("", "")), ("12 USD", ("", "")),
        ("(12.00)", ("", "")), ("1_000", ("", "")), ("0x10", ("", "")), ("--1", ("", "")),
        ("\u0661\u0662", ("", "")), ("12.", (",", "")), ("1e99999", ("", "")),
        ("1e-99999", ("", "")), ("9" * 200, ("", "")), (True, ("", "")), ("1.2e", ("", "")),
        ("1e999999999999999999999", ("", "")), (1e300, ("", "")), (10.005, ("", "")),
    ],
)  # fmt: skip
def test_an_amount_that_must_be_guessed_is_refused(cell: Any, notation: tuple[str, str]) -> None:
    with pytest.raises(Unreadable):
        Numbers(*notation).cents(100)(cell)


def test_noise_of_binary_floats_is_no_third_decimal() -> None:
    read = Numbers().cents(100)
    assert read(0.1 + 0.2) == 30
    assert read(1234.56 * 3) == 370368
    assert read(-0.0) == 0


@given(st.sampled_from(sorted(MISSING_VALUES)), st.sampled_from(["", " ", "\u00a0"]))
@settings(deadline=None)
def test_spellings_of_missing_are_no_numbers(text: str, space: str) -> None:
    for cell in (text, text.upper(), space + text + space):
        assert Numbers().cents(100)(cell) is None
        assert Numbers().integer(cell) is None
        assert is_blank(cell)


def test_more_texts_can_be_missing() -> None:
    read = without(frozenset({"99999", "-"}), text_of)
    assert [read(cell) for cell in ("99999", 99999, 99999.0, b"-", "9", ["9"][0])] == [
        None, None, None, None, "9", "9",
    ]  # fmt: skip
    with pytest.raises(Unreadable):
        read(["99999"])


def test_booleans() -> None:
    assert [boolean(cell) for cell in (True, "False", 1, "0", "", None)] == [
        True, False, True, False, None, None,
    ]  # fmt: skip
    with pytest.raises(Unreadable):
        boolean("perhaps")
