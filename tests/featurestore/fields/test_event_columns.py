"""Columns of events: numbers, times, NaN for missing values, a single zero, category codes."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.events import Event, EventId
from featurestore.definitions.features import Own
from featurestore.fields import event_columns as columns
from featurestore.fields.event_columns import (
    UNSEEN_CODE,
    CategoryReader,
    EventColumns,
    known_values,
    own_feature,
)
from featurestore.fields.normalisation import normal_category


class Odd(Event, topic="odd", id="odd_id"):
    odd_id: EventId
    amount: float | None = None
    when: datetime | None = None


def events(**fields):
    n = len(next(iter(fields.values())))
    return EventColumns(
        [Odd(odd_id=f"o{i}", **{k: v[i] for k, v in fields.items()}) for i in range(n)], Odd
    )


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False), st.integers(-(2**53), 2**53))))
@settings(deadline=None)
def test_numbers(values):
    found = events(amount=values).number("amount") if values else np.empty(0)
    for got, written in zip(found, values, strict=True):
        if written is None:
            assert math.isnan(got)
        elif abs(written) < sys.float_info.min:
            assert got == 0
            assert math.copysign(1, got) == 1 or written == 0
        else:
            assert got == written


def test_numbers_too_small_to_be_normal_become_the_one_zero():
    found = events(amount=[5e-324, -5e-324, -1e-310, 1.0]).number("amount")
    assert found.tobytes() == np.array([0.0, 0.0, 0.0, 1.0]).tobytes()


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))
@settings(deadline=None)
def test_times_are_milliseconds_of_1970_rounded_down(when, minutes):
    zone = timezone(timedelta(minutes=minutes))
    naive, zoned = events(when=[None, when, when.replace(tzinfo=zone)]).number("when")[1:]
    exact = (when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        milliseconds=1
    )
    assert naive == exact, "without a zone it is UTC"
    assert zoned == exact - minutes * 60_000


def test_no_events_have_empty_columns():
    empty = EventColumns([], Odd)
    assert len(empty) == 0
    assert empty.number("amount").shape == empty.number("when").shape == (0,)
    assert list(empty.raw("odd_id")) == []


@given(
    st.lists(
        st.one_of(
            st.none(), st.sampled_from(["A", "a", " a ", "N/A", "na", "?", "b\u0301"]), st.text()
        ),
        max_size=20,
    )
)
@settings(deadline=None)
def test_categories_are_their_place_or_unseen(values):
    reader = CategoryReader(["a", "NA", "b"])
    want = []
    for value in values:
        written = None if value is None else normal_category(value)
        known = ["a", "na", "b"]
        want.append(np.nan if written is None else known.index(written) if written in known else -1)
    for _ in range(2):
        np.testing.assert_array_equal(reader.codes(values), np.array(want, np.float64))


def test_hostile_spellings_cannot_fill_memory(monkeypatch):
    monkeypatch.setattr(columns, "_CACHE_LIMIT", 5)
    reader = CategoryReader(["a"])
    assert reader.codes([str(i) for i in range(100)] + ["a"]).tolist() == [UNSEEN_CODE] * 100 + [
        0.0
    ]
    assert len(reader._codes) <= 5


def test_own_features():
    codes = np.array([0.0, 1.0, UNSEEN_CODE, np.nan])
    ordered = Own("x", "x", order=("low", "high"))
    np.testing.assert_array_equal(own_feature(ordered, codes), [0, 1, np.nan, np.nan])
    one = Own("x_b", "x", equals="b", among=("a", "b"))
    np.testing.assert_array_equal(own_feature(one, codes), [0, 1, 0, 0])
    whole = own_feature(Own("x", "x", unit=100), np.array([199.0, -1.0, np.nan]))
    np.testing.assert_array_equal(whole, [1, -1, np.nan])
    assert known_values(ordered) == ("low", "high")
    assert known_values(one) == ("a", "b")
    assert known_values(Own("x", "x")) == ()
