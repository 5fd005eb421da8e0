"""Durations, the manual clock and the system clock."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.adapters.process.system_clock import SystemClock
from claimtrace.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, ManualClock, duration_ms

UNITS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


@given(st.integers(0, 10**9), st.sampled_from(sorted(UNITS)))
@settings(deadline=None)
def test_durations(number, unit):
    assert duration_ms(f"{number}{unit}") == number * UNITS[unit]


@given(st.text(max_size=6))
@settings(deadline=None)
def test_anything_else_is_refused(text):
    digits = text.rstrip("".join(UNITS))
    if digits.isdecimal() and text[len(digits) :] in UNITS:
        return
    with pytest.raises(ValueError, match="not a duration"):
        duration_ms(text)


@pytest.mark.parametrize(
    "text", ["", "d", "7", "7 d", "-7d", "1.5h", "7D", "7w", "1_0d", "²d", "7dd", "1h30m"]
)
def test_near_misses_are_refused(text):
    with pytest.raises(ValueError, match="write 30d"):
        duration_ms(text)


def test_the_manual_clock_moves_when_told_to():
    clock = ManualClock(500)
    clock.sleep(0.25)
    assert (clock.now_ms(), clock.monotonic_s()) == (750, 0.75)


def test_the_real_clock_is_this_machines():
    clock = SystemClock()
    before = clock.monotonic_s()
    clock.sleep(0.001)
    assert clock.monotonic_s() > before
    assert abs(clock.now_ms() - time.time() * 1000) < 60_000
