"""Times: exact in every unit, zone and notation, the same under any zone of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import ConfigError
from claimtrace.refusals import REASONS
from producers.replay.cells import BadCell, Numbers, Unreadable
from producers.replay.mapping import TimeColumn
from producers.replay.times import FIRST_MS, LAST_MS, iso, time_reader, unit_hint

ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))


def read(cell: Any, home: str = "", **when: Any) -> int | None:
    return time_reader(TimeColumn(column="T", **when), Numbers(), home)(cell)


@pytest.fixture(params=["UTC", "America/New_York"])
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@given(MOMENTS, st.sampled_from(ZONES))
@settings(deadline=None)
def test_a_time_without_a_zone_is_of_the_zone_that_is_said(moment: datetime, zone: str) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    try:
        right = pd.Timestamp(moment).tz_localize(zone, ambiguous=True, nonexistent="raise")
    except ValueError:  # the hour that spring leaves out
        with pytest.raises(Unreadable, match="doesn't exist"):
            read(moment.isoformat(), zone)
        return
    for cell in (moment.isoformat(), moment.isoformat(" "), moment):
        assert read(cell, zone) == right.value // 1_000_000
        assert read(cell, "Asia/Tokyo", zone=zone) == right.value // 1_000_000


@given(MOMENTS, st.integers(-14 * 60, 14 * 60), st.sampled_from(ZONES))
@settings(deadline=None)
def test_an_offset_in_the_text_beats_the_zone(moment: datetime, minutes: int, zone: str) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0)
    assert read(aware.isoformat(), zone) == round(aware.timestamp() * 1000)


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.sampled_from(ZONES))
@settings(deadline=None)
def test_a_date_alone_is_midnight(day: date, zone: str) -> None:
    found = {read(cell, zone) for cell in (day.isoformat(), f"{day:%Y%m%d}", day)}
    assert len(found) == 1
    midnight = pd.Timestamp(day).tz_localize(zone)
    assert found == {midnight.value // 1_000_000}
    assert read(f"{day:%d.%m.%Y}", zone, format="%d.%m.%Y") in found


@given(st.integers(0, 4_102_444_800_000))
@settings(deadline=None)
def test_numbers_are_exact_in_every_unit(at_ms: int) -> None:
    assert read(at_ms, unit="ms") == read(str(at_ms), unit="ms") == at_ms
    assert read(at_ms * 1000, unit="us") == read(at_ms * 1_000_000, unit="ns") == at_ms
    assert read(at_ms // 1000, unit="s") == at_ms // 1000 * 1000
    assert read(at_ms // 1000, unit="s", origin="2018-04-01") == (
        at_ms // 1000 * 1000 + 1_522_540_800_000
    )


@given(st.integers(FIRST_MS, LAST_MS))
@settings(deadline=None)
def test_times_are_written_as_python_writes_them(at_ms: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    assert iso(at_ms) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(st.text() | st.integers() | st.floats() | st.decimals() | st.lists(st.text()) | st.none()
       | st.booleans() | st.binary() | st.datetimes(timezones=st.timezones()))  # fmt: skip
@settings(deadline=None)
def test_any_cell_is_a_time_missing_or_refused(cell: Any) -> None:
    for when in ({}, {"unit": "ms"}, {"unit": "days"}, {"format": "%d/%m/%Y %Z"}):
        try:
            found: Any = read(cell, "America/New_York", **when)
        except Unreadable as error:
            found = error
        if isinstance(found, Unreadable):
            assert found.reason in REASONS
        else:
            assert found is None or FIRST_MS <= found <= LAST_MS


@given(st.integers(1_000_000_000_000, 1_800_000_000_000))
@settings(deadline=None)
def test_mixed_up_units_are_named(at_ms: int) -> None:
    texts = {"s": at_ms // 1000, "ms": at_ms, "us": at_ms * 1000, "ns": at_ms * 10**6}
    for unit, number in texts.items():
        for said in ("iso", "s", "ms", "us", "ns"):
            hint = unit_hint(str(number), TimeColumn(column="T", unit=said))  # type: ignore[arg-type]
            assert (f"unit = '{unit}'" in hint) == (unit != said)


@pytest.mark.usefixtures("machine_zone")
def test_zone_names_are_exact_or_refused_on_every_machine() -> None:
    pattern = "%Y-%m-%d %H:%M:%S %Z"
    right = datetime(2025, 3, 1, 9, 15, tzinfo=UTC).timestamp() * 1000
    for name in ("UTC", "GMT", "Z", "+0000", "+00:00"):
        assert read(f"2025-03-01 09:15:00 {name}", format=pattern) == right
    assert read("2025-03-01 09:15:00 -0500", format=pattern) == right + 5 * 3_600_000
    for name in ("EST", "EDT", "CST", "CET", "IST", "BST"):
        with pytest.raises(Unreadable, match="exact zone"):
            read(f"2025-03-01 09:15:00 {name}", format=pattern)
        with pytest.raises(Unreadable):
            read(f"2025-03-01T09:15:00 {name}")


def test_hours_that_come_twice_are_the_first() -> None:
    assert read("2025-11-02T01:30:00", "America/New_York") == (
        datetime(2025, 11, 2, 5, 30, tzinfo=UTC).timestamp() * 1000
    )


@pytest.mark.parametrize(
    ("cell", "zone"),
    [
        ("2025-03-09T02:30:00", "America/New_York"), ("2025-03-30 02:00", "Europe/Berlin"),
        ("2025-10-05T02:29:59.999", "Australia/Lord_Howe"),
        (datetime(2025, 3, 9, 2, 59, 59), "America/New_York"),
    ],
)  # fmt: skip
def test_hours_that_spring_leaves_out_are_refused(cell: Any, zone: str) -> None:
    with pytest.raises(Unreadable, match="doesn't exist"):
        read(cell, zone)


@pytest.mark.parametrize(
    ("cell", "when"),
    [
        ("9999-12-31T23:59:59-01:00", {}), ("0001-01-01T00:00:00+01:00", {}), ("1e99999", {}),
        ("1740820500", {}), ("1740820500000000", {"unit": "ms"}), (1e300, {"unit": "days"}),
        (["2025-03-01"], {}), (True, {}), (BadCell("a timestamp[s]"), {}), ("2025-02-30", {}),
        ("31/12/2025", {}), ("2025-03-01", {"format": "%d/%m/%Y"}), (b"\xff", {}),
        ("1,5", {"unit": "days"}),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(cell: Any, when: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(cell, **when)


def test_a_leap_second_is_one_second_less() -> None:
    right = datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000
    assert read("2016-12-31T23:59:60Z") == right
    assert read("2016-12-31 23:59:60", format="%Y-%m-%d %H:%M:%S") == right


def test_missing_times_are_missing() -> None:
    for cell in ("", "NaT", "\\N", None, float("nan")):
        assert read(cell) is None


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"zone": "America/New_Yrok"}, "did you mean America/New_York"),
        ({"zone": "../../etc/passwd"}, "no zone"),
        ({"zone": "America"}, "no zone"),
        ({"zone": "EST5EDT4"}, "no zone"),
        ({"format": "%Q"}, "format '%Q'"),
        ({"format": "%d.%m.%"}, "format"),
        ({"origin": "never"}, "is not a date"),
    ],
)
def test_a_wrong_time_column_is_named(when: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read("2025-03-01", **when)
