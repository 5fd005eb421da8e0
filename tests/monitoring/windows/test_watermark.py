"""Windows close by the order of rows: each once, in order, never more open than announced."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitoring.windows.watermark import WindowClock

TIMES = st.lists(st.integers(-500, 500), max_size=80)


def _run(clock, batches):
    """(closed windows, first open window of each row), row by row."""
    closed, firsts = [], []
    for batch in batches:
        for start, end, first in clock.stretches(np.array(batch, dtype=np.int64)):
            closed += clock.closing(first)
            firsts += [first] * (end - start)
    return closed, firsts


@given(TIMES, st.integers(1, 50), st.integers(0, 200))
def test_a_window_closes_when_its_end_and_the_lateness_have_passed(times, window_ms, lateness_ms):
    clock = WindowClock(window_ms, lateness_ms)
    closed, firsts = _run(clock, [times])
    for row, first in enumerate(firsts):
        watermark = max(times[: row + 1])
        assert first * window_ms + lateness_ms <= watermark < (first + 1) * window_ms + lateness_ms
        assert times[row] // window_ms < first + clock.slots
    assert closed == sorted(set(closed))
    assert clock.watermark_ms == (max(times) if times else None)


@given(TIMES, st.integers(1, 50), st.integers(0, 200))
def test_row_by_row_is_the_same_as_at_once(times, window_ms, lateness_ms):
    whole, single = WindowClock(window_ms, lateness_ms), WindowClock(window_ms, lateness_ms)
    found = _run(whole, [times])
    first_of_rows = _run(single, [[time] for time in times])
    assert found[1] == first_of_rows[1]
    assert whole.numbers() == single.numbers()
    # Windows that never were open may be named by one and not by the other; used ones by both.
    used = {time // window_ms for time, first in zip(times, found[1], strict=True)}
    assert [w for w in found[0] if w in used] == [w for w in first_of_rows[0] if w in used]


def test_closing_everything_leaves_only_later_windows():
    clock = WindowClock(10, 100)
    assert list(clock.close_all()) == []
    _run(clock, [[25, 3]])
    assert set(clock.close_all()) >= {0, 1, 2}
    assert list(clock.close_all()) == []
    assert [first for _, _, first in clock.stretches(np.array([26, 31]))] == [3]


def test_numbers_are_the_whole_state():
    clock, other = WindowClock(10, 5), WindowClock(10, 5)
    _run(clock, [[7, 25]])
    other.set(*clock.numbers())
    assert _run(clock, [[9, 99]]) == _run(other, [[9, 99]])
